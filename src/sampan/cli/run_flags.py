"""The flags of `run`, `create` and `explain run`, in the groups of their help page. Lean (decision 0002)."""

from __future__ import annotations

from sampan.cli.flag_table import HEALTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.flags import Group

_DETACH: Group = (
    "Running",
    (
        ("detach", "d", "bool", "Run in the background and print the container's id"),
        ("detach-keys", "", "string", 'Keys that leave the container running (default "ctrl-p,ctrl-q")'),
        ("sig-proxy", "", "bool", "Pass signals on to the container (default true)"),
    ),
)

_COMMON: tuple[Group, ...] = (
    (
        "Container",
        (
            ("name", "", "string", "Name of the container; a random one if not given"),
            ("rm", "", "bool", "Remove the container when it ends"),
            ("cidfile", "", "string", "Write the container's id to this new file"),
            ("label", "l", "list", "Label the container: key=value"),
            ("label-file", "", "list", "Read labels from a file, one a line"),
            ("annotation", "", "map", "Annotation for the OCI runtime: key=value"),
            ("platform", "", "string", "Platform of the image: os/arch[/variant]"),
            ("pull", "", "string", 'Fetch the image: "always", "missing", "never" (default "missing")'),
            ("quiet", "q", "bool", "Do not show the progress of a pull"),
            ("runtime", "", "string", "OCI runtime to use"),
            ("restart", "", "string", "When to start again: no, always, unless-stopped, on-failure[:max]"),
            ("disable-content-trust", "", "bool", "Accepted for docker's sake; nothing is verified"),
        ),
    ),
    (
        "Process",
        (
            ("interactive", "i", "bool", "Keep standard input open"),
            ("tty", "t", "bool", "Give the process a terminal"),
            ("attach", "a", "list", "Attach only to stdin, stdout or stderr"),
            ("env", "e", "list", "Set a variable: NAME=value, or NAME to take over ours"),
            ("env-file", "", "list", "Read variables from a file, one a line"),
            ("entrypoint", "", "string", "Program to run instead of the image's entry point"),
            ("workdir", "w", "string", "Directory to start in"),
            ("user", "u", "string", "User to run as: name or uid, and :group"),
            ("group-add", "", "list", "Further groups of the process"),
            ("init", "", "bool", "Put a small init in front that passes signals on and reaps"),
            ("stop-signal", "", "string", "Signal that asks the process to end"),
            ("stop-timeout", "", "int", "Seconds until it is killed"),
        ),
    ),
    (
        "Files",
        (
            ("volume", "v", "list", "Mount a path or volume: source:target[:options]"),
            ("mount", "", "mount", "Mount: type=bind|tmpfs|volume,source=…,target=…[,readonly]…"),
            ("tmpfs", "", "list", "Mount a file system in memory: target[:options]"),
            ("read-only", "", "bool", "Make the root file system read-only"),
            ("volumes-from", "", "list", "Take over the mounts of another container"),
            ("volume-driver", "", "string", "Driver for volumes that are made"),
            ("storage-opt", "", "list", "Option of the storage driver: key=value"),
            ("shm-size", "", "bytes", "Size of /dev/shm (default 64m)"),
            ("use-api-socket", "", "bool", "Give the container the daemon's socket"),
        ),
    ),
    (
        "Limits",
        (
            ("memory", "m", "bytes", "Memory, such as 512m or 2g"),
            ("memory-reservation", "", "bytes", "Memory kept free for it when it gets scarce"),
            ("memory-swap", "", "bytes", "Memory and swap together; -1 for no limit"),
            ("memory-swappiness", "", "int", "How eagerly to swap, 0 to 100"),
            ("oom-kill-disable", "", "bool", "Stop the processes instead of killing one when memory is out"),
            ("oom-score-adj", "", "int", "Preference as a victim when memory is out, -1000 to 1000"),
            ("cpus", "", "decimal", "Number of CPUs, such as 1.5"),
            ("cpu-shares", "c", "int", "Weight against other containers"),
            ("cpu-period", "", "int", "Period of the CPU quota in microseconds"),
            ("cpu-quota", "", "int", "Microseconds of CPU in each period"),
            ("cpu-rt-period", "", "int", "Period of real-time scheduling in microseconds"),
            ("cpu-rt-runtime", "", "int", "Microseconds of real-time CPU in each period"),
            ("cpuset-cpus", "", "string", "CPUs to run on, such as 0-2,4"),
            ("cpuset-mems", "", "string", "Memory nodes to use"),
            ("pids-limit", "", "int", "Number of processes; -1 for no limit"),
            ("blkio-weight", "", "int", "Weight of disk access, 10 to 1000"),
            ("blkio-weight-device", "", "list", "Weight for one device: path:weight"),
            ("device-read-bps", "", "list", "Bytes a second read from a device: path:10m"),
            ("device-write-bps", "", "list", "Bytes a second written to a device: path:10m"),
            ("device-read-iops", "", "list", "Reads a second from a device: path:1000"),
            ("device-write-iops", "", "list", "Writes a second to a device: path:1000"),
            ("ulimit", "", "ulimit", "Limit of a process: name=soft[:hard]"),
            ("kernel-memory", "", "bytes", "Accepted for docker's sake; kernels no longer have it"),
            ("cgroup-parent", "", "string", "Cgroup to put the container's cgroup under"),
        ),
    ),
    (
        "Rights",
        (
            ("privileged", "", "bool", "Give all capabilities and devices: no protection is left"),
            ("cap-add", "", "list", "Add a capability, or ALL"),
            ("cap-drop", "", "list", "Take a capability away, or ALL"),
            ("security-opt", "", "list", "seccomp=FILE|unconfined, no-new-privileges, label=…, apparmor=…"),
            ("device", "", "list", "Device to show: host[:container[:rwm]]"),
            ("device-cgroup-rule", "", "list", "Device access to allow: 'c 42:* rmw'"),
            ("gpus", "", "string", "GPUs to add, or all"),
            ("sysctl", "", "map", "Kernel setting of the container: name=value"),
        ),
    ),
    (
        "Namespaces",
        (
            ("hostname", "h", "string", "Host name inside"),
            ("domainname", "", "string", "NIS domain name inside"),
            ("pid", "", "string", "Processes to see: host, or container:name"),
            ("ipc", "", "string", "Shared memory to see: host, private, shareable, none, container:name"),
            ("uts", "", "string", "Host name to use: host"),
            ("userns", "", "string", "Users to see: host"),
            ("cgroupns", "", "string", "Cgroups to see: host or private"),
            ("isolation", "", "string", "Accepted for docker's sake: default"),
        ),
    ),
    (
        "Network",
        (
            ("network", "", "network", "Network to join: none, host, bridge, container:name, or a name"),
            ("net", "", "network", "The same as --network"),
            ("publish", "p", "list", "Publish a port: [address:][host:]container[/protocol]"),
            ("show-ports", "", "bool", "With -d: print where it listens, as `port` does, on standard error"),
            ("publish-all", "P", "bool", "Publish all exposed ports at free host ports"),
            ("expose", "", "list", "Expose a port or a range of ports"),
            ("add-host", "", "list", "Add a name to /etc/hosts: name:address"),
            ("dns", "", "list", "Address of a name server"),
            ("dns-option", "", "list", "Option for resolv.conf"),
            ("dns-opt", "", "list", "The same as --dns-option"),
            ("dns-search", "", "list", "Domain to search"),
            ("ip", "", "string", "IPv4 address"),
            ("ip6", "", "string", "IPv6 address"),
            ("link-local-ip", "", "list", "Link-local address"),
            ("mac-address", "", "string", "MAC address"),
            ("network-alias", "", "list", "Further name in its network"),
            ("net-alias", "", "list", "The same as --network-alias"),
            ("link", "", "list", "Name another container can be reached by"),
        ),
    ),
    (
        "Health and logs",
        (
            *HEALTH,
            ("log-driver", "", "string", "Where output goes: json-file, local, journald, syslog, none"),
            ("log-opt", "", "list", "Option of the log: max-size=20m, max-file=5"),
        ),
    ),
)

CREATE: tuple[Group, ...] = _COMMON
RUN: tuple[Group, ...] = (_DETACH, *_COMMON)
EXPLAIN: tuple[Group, ...] = (
    ("Output", (("format", "", "string", 'Form of the report: "tree" or "json"'),)),
    *_COMMON,
)
