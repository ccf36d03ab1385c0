"""The flags of every command but `run` and `create` (those: `run_flags`). Lean (decision 0002)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.flags import Group, Row

_FORMAT: Row = (
    "format",
    "",
    "string",
    'Form of each row: "table", "table TEMPLATE", "json", or a Go template',
)
_FORMAT_F: Row = ("format", "f", "string", 'Form of the answer: "json", or a Go template')
_FILTER: Row = ("filter", "f", "filter", "Show only what matches: key=value")
_NO_TRUNC: Row = ("no-trunc", "", "bool", "Show ids and commands in full")
_QUIET_IDS: Row = ("quiet", "q", "bool", "Show only ids")
_DETACH_KEYS: Row = ("detach-keys", "", "string", 'Keys that leave it running (default "ctrl-p,ctrl-q")')
_SIZE: Row = ("size", "s", "bool", "Show sizes on disk")
_PLATFORM: Row = ("platform", "", "string", "Platform to take: os/arch[/variant]")
_SINCE_UNTIL: tuple[Row, ...] = (
    ("since", "", "string", "Only what is newer: a time, or how long ago (10m)"),
    ("until", "", "string", "Only what is older: a time, or how long ago (10m)"),
)


# Of `run`, `create` and `update`.
HEALTH: tuple[Row, ...] = (
    ("health-cmd", "", "string", "Command that tells whether the container is well"),
    ("health-interval", "", "duration", "Time between two checks, such as 30s"),
    ("health-timeout", "", "duration", "Time a check may take"),
    ("health-retries", "", "int", "Failures in a row that mean unhealthy"),
    ("health-start-period", "", "duration", "Time in which failures do not count"),
    ("health-start-interval", "", "duration", "Time between checks in that period"),
    ("health-on-failure", "", "string", "What to do when it is unhealthy: none, kill, restart, stop"),
    ("no-healthcheck", "", "bool", "Make no health check, whatever the image says"),
)


def _options(*rows: Row) -> tuple[Group, ...]:
    return (("Options", rows),)


NONE = _options()
EXEC = _options(
    ("interactive", "i", "bool", "Keep standard input open"),
    ("tty", "t", "bool", "Give the process a terminal"),
    ("detach", "d", "bool", "Run in the background"),
    _DETACH_KEYS,
    ("env", "e", "list", "Set a variable: NAME=value"),
    ("env-file", "", "list", "Read variables from a file, one a line"),
    ("privileged", "", "bool", "Give the process all capabilities"),
    ("user", "u", "string", "User to run as: name or uid, and :group"),
    ("workdir", "w", "string", "Directory to start in"),
)
PS = _options(
    ("all", "a", "bool", "Show stopped containers as well"),
    _FILTER,
    _FORMAT,
    ("last", "n", "int", "Show the last n containers, whatever their state"),
    ("latest", "l", "bool", "Show the last container, whatever its state"),
    _NO_TRUNC,
    _QUIET_IDS,
    _SIZE,
)
_FORCE: Row = ("force", "f", "bool", "Do not ask")
_PRUNE_FILTER: Row = ("filter", "", "filter", "Remove only what matches: label, label!, until")
PRUNE = _options(_PRUNE_FILTER, _FORCE)
PRUNE_ALL = _options(
    ("all", "a", "bool", "Remove all that no container uses, not only those without a name"),
    _PRUNE_FILTER,
    _FORCE,
)
PRUNE_SYSTEM = _options(
    ("all", "a", "bool", "Remove all images that no container uses, not only those without a name"),
    _PRUNE_FILTER,
    _FORCE,
    ("volumes", "", "bool", "Remove anonymous volumes that no container uses"),
)
DF = _options(_FORMAT, ("verbose", "v", "bool", "Show each image, container and volume"))
CHECK = _options(
    _FORMAT,
    ("images", "", "bool", "Compare every blob with its digest and every layer with its blob"),
    ("repair", "", "bool", "Remove what was found"),
)
STATS = _options(
    ("all", "a", "bool", "Show stopped containers as well"),
    _FORMAT,
    ("no-stream", "", "bool", "Show it once and end"),
    _NO_TRUNC,
)
LOGS = _options(
    ("follow", "f", "bool", "Go on until the container stops"),
    ("tail", "n", "string", 'Number of lines from the end (default "all")'),
    *_SINCE_UNTIL,
    ("timestamps", "t", "bool", "Show when each line was written"),
    ("details", "", "bool", "Show labels and variables that were logged too"),
    ("clear", "", "bool", "Remove what was logged so far, and show nothing"),
)
ATTACH = _options(
    _DETACH_KEYS,
    ("no-stdin", "", "bool", "Do not attach standard input"),
    ("sig-proxy", "", "bool", "Pass signals on to the container (default true)"),
)
START = _options(
    ("attach", "a", "bool", "Attach to its output and pass signals on"),
    ("interactive", "i", "bool", "Attach to its input too"),
    _DETACH_KEYS,
)
STOP = _options(
    ("signal", "s", "string", "Signal to send first"),
    ("timeout", "t", "int", "Seconds until it is killed; -1 waits for ever"),
    ("time", "", "int", "The same as --timeout"),
)
STOP_NOW = _options(
    *STOP[0][1],
    ("now-if-unhandled", "", "bool", "Do not wait when the program cannot notice the signal"),
)
WAIT = _options(
    ("condition", "", "string", "What to wait for: not-running (default), next-exit, removed"),
)
UPDATE = _options(
    ("restart", "", "string", "When to start again: no, always, unless-stopped, on-failure[:max]"),
    ("memory", "m", "bytes", "Memory, such as 512m or 2g"),
    ("memory-reservation", "", "bytes", "Memory kept free for it when it gets scarce"),
    ("memory-swap", "", "bytes", "Memory and swap together; -1 for no limit"),
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
    ("kernel-memory", "", "bytes", "Accepted for docker's sake; kernels no longer have it"),
    ("publish-add", "", "list", "Publish one more port: [address:][host:]container[/protocol]"),
    (
        "publish-rm",
        "",
        "list",
        "Publish a port no more: the same form; without a host port all of it",
    ),
    *HEALTH,
)
KILL = _options(("signal", "s", "string", "Signal to send (default KILL)"))
RM = _options(
    ("force", "f", "bool", "Kill it first if it runs; a missing one is no error"),
    ("volumes", "v", "bool", "Remove its anonymous volumes as well"),
    ("link", "l", "bool", "Remove a link, not the container"),
)
INSPECT = _options(
    _FORMAT_F,
    _SIZE,
    ("type", "", "string", "Look only at this kind: container, image"),
    ("anatomy", "", "bool", "Show what a running container is made of, as the kernel sees it"),
)
INSPECT_CONTAINER = _options(
    _FORMAT_F,
    _SIZE,
    ("anatomy", "", "bool", "Show what a running container is made of, as the kernel sees it"),
)
INSPECT_VOLUME = _options(_FORMAT_F)
INSPECT_NETWORK = _options(
    _FORMAT_F,
    ("anatomy", "", "bool", "Show what it is made of, as the kernel sees it; --format tree, svg or json"),
)
NETWORK_CREATE = _options(
    ("driver", "d", "string", 'Driver: "bridge"'),
    ("subnet", "", "list", "Subnet: address/prefix"),
    ("ip-range", "", "list", "Part of the subnet that addresses are given from"),
    ("gateway", "", "list", "The host's address in it"),
    ("aux-address", "", "map", "Address that no container gets: name=address"),
    ("internal", "", "bool", "No way to the outside"),
    ("attachable", "", "bool", "Shown again; every network is"),
    ("ipv4", "", "bool", "IPv4 addresses; --ipv4=false: none"),
    ("ipv6", "", "bool", "IPv6 addresses as well"),
    ("config-only", "", "bool", "Only a configuration, for other networks"),
    ("config-from", "", "string", "Take subnets, options and labels from that configuration"),
    ("ipam-driver", "", "string", "Who gives addresses: default"),
    ("ipam-opt", "", "map", "Shown again: key=value"),
    ("scope", "", "string", "local"),
    ("label", "", "list", "Label: key=value"),
    ("opt", "o", "map", "Option of the driver, by Docker's name: com.docker.network.driver.mtu=1400"),
)
NETWORK_LS = _options(_FILTER, _FORMAT, _NO_TRUNC, ("quiet", "q", "bool", "Show only ids"))
NETWORK_PRUNE = _options(("filter", "", "filter", "Remove only what matches: label, label!, until"), _FORCE)
NETWORK_CONNECT = _options(
    ("ip", "", "string", "IPv4 address in that network"),
    ("ip6", "", "string", "IPv6 address in that network"),
    ("link-local-ip", "", "list", "Further address, of 169.254.0.0/16"),
    ("alias", "", "list", "Further name in that network"),
    ("link", "", "list", "Another container, by a name of this one's own: container:alias"),
    ("driver-opt", "", "map", "Option by Docker's name: com.docker.network.endpoint.ifname=lan0"),
    ("gw-priority", "", "int", "The highest one's network leads outside"),
)
NETWORK_DISCONNECT = _options(("force", "f", "bool", "Also from a container that does not answer"))
VOLUME_CREATE = _options(
    ("driver", "d", "string", 'Driver: "local" or a plugin'),
    ("label", "", "list", "Label: key=value"),
    ("name", "", "string", "Name, as the argument"),
    ("opt", "o", "map", "Option of the driver: type, device, o, size, uid, gid of the local one"),
)
VOLUME_LS = _options(_FILTER, _FORMAT, ("quiet", "q", "bool", "Show only names"))
VOLUME_RM = _options(("force", "f", "bool", "A missing volume is no error"))
VOLUME_PRUNE = _options(
    ("all", "a", "bool", "Remove volumes with a name as well"),
    ("filter", "", "filter", "Remove only what matches: label, label!"),
    _FORCE,
)
VOLUME_EXPORT = _options(("output", "o", "string", "File to write, instead of standard output"))
INSPECT_IMAGE = _options(_FORMAT_F, _PLATFORM)
ANATOMY = _options(("format", "", "string", 'Form of the report: "tree" or "json"'))
IMAGES = _options(
    ("all", "a", "bool", "Show intermediate images as well"),
    ("digests", "", "bool", "Show digests"),
    _FILTER,
    _FORMAT,
    _NO_TRUNC,
    _QUIET_IDS,
)
BUILD = _options(
    ("add-host", "", "list", "Name and address for /etc/hosts while RUN runs: NAME:ADDRESS"),
    ("attest", "", "list", "Tell about the image in its index: type=provenance[,mode=max] or type=sbom"),
    ("build-context", "", "list", "Another context: NAME=DIRECTORY or NAME=docker-image://IMAGE"),
    ("build-arg", "", "list", "Value of an ARG; a name alone takes it from the environment"),
    (
        "cache-from",
        "",
        "list",
        "Take steps from IMAGE, type=registry,ref=NAME or type=local,src=DIRECTORY, too",
    ),
    (
        "cache-to",
        "",
        "list",
        "Write the steps to type=inline|registry,ref=NAME|local,dest=DIRECTORY[,mode=max]",
    ),
    ("cgroup-parent", "", "string", "Cgroup that the steps run below"),
    ("check", "", "bool", "Look for what is hardly meant in the Dockerfile; build nothing"),
    ("cpuset-cpus", "", "string", "CPUs for RUN"),
    ("cpuset-mems", "", "string", "Memory nodes for RUN"),
    ("debug", "", "bool", "When a RUN fails, open a shell in the files that it has left"),
    ("explain-cache", "", "bool", "Say for each step that is not cached what is different from last time"),
    ("file", "f", "string", "The Dockerfile, - for standard input"),
    ("iidfile", "", "string", "File to write the image's id to"),
    ("label", "", "list", "Label of the image: NAME=VALUE"),
    ("memory", "m", "bytes", "Memory limit for RUN"),
    ("memory-swap", "", "bytes", "Limit of memory and swap for RUN"),
    ("network", "", "string", "Network for RUN: none, host, a network's name"),
    ("no-cache", "", "bool", "Make every step anew"),
    ("no-cache-filter", "", "list", "Make every step of these stages anew: NAME[,NAME…]"),
    (
        "output",
        "o",
        "list",
        "Where the result goes: DIRECTORY, -, or type=local|tar|oci|docker|registry,dest=…",
    ),
    _PLATFORM,
    ("progress", "", "string", "How progress is shown: auto, tty, plain, json, rawjson, quiet"),
    ("provenance", "", "string", "As --attest type=provenance: true, false or mode=min|max"),
    ("pull", "", "bool", "Ask for newer base images"),
    ("push", "", "bool", "Send the image to its registry, as type=registry does"),
    ("quiet", "q", "bool", "Show only the image's id"),
    ("sbom", "", "string", "As --attest type=sbom: true or false"),
    ("secret", "", "list", "Secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]"),
    ("shm-size", "", "bytes", "Size of /dev/shm for RUN"),
    ("squash", "", "bool", "Make one layer of all that the build adds to its base"),
    ("ssh", "", "list", "SSH agent for RUN --mount=type=ssh: default, or ID=SOCKET or KEY"),
    ("tag", "t", "list", "Name of the image: NAME[:TAG]"),
    ("target", "", "string", "Stage to build"),
)
BUILD_PRUNE = _options(
    ("all", "a", "bool", "Remove also the steps of images that are here"),
    (
        "filter",
        "",
        "filter",
        "Remove only what matches: until, unused-for, id, type, description, shared, inuse",
    ),
    _FORCE,
    ("keep-storage", "", "bytes", "Keep so many bytes of what was used last"),
)
BUILD_DEBUG = _options(_FORMAT)
BUILD_CACHE = _options(
    _FORMAT,
    ("input", "i", "string", "import: the archive to read, - for standard input"),
    ("output", "o", "string", "export: the file to write, - for standard output"),
)
BOOTSTRAP = _options(("quiet", "q", "bool", "Show only the image's name"))
PULL = _options(
    ("all-tags", "a", "bool", "Fetch every tag of the name"),
    _PLATFORM,
    ("quiet", "q", "bool", "Show nothing but the name and errors"),
)
PUSH = _options(
    ("all-tags", "a", "bool", "Send every tag of the name"),
    ("quiet", "q", "bool", "Show nothing but the name and errors"),
)
LOGIN = _options(
    ("username", "u", "string", "Name of the user"),
    ("password", "p", "string", "Password; shows in the process list"),
    ("password-stdin", "", "bool", "Read the password from standard input"),
)
LOAD = _options(
    ("input", "i", "string", "Archive to read instead of standard input"),
    _PLATFORM,
    ("quiet", "q", "bool", "Show nothing but errors"),
)
IMPORT = _options(
    ("change", "c", "list", "Instruction of a Dockerfile to apply, such as 'CMD [\"sh\"]'"),
    ("message", "m", "string", "Comment in the image's history"),
    _PLATFORM,
)
CP = _options(
    (
        "archive",
        "a",
        "bool",
        "Keep owners: into a container, its user's; out of one, the files' own (as root)",
    ),
    ("follow-link", "L", "bool", "Copy what a link in SOURCE leads to, not the link"),
    ("quiet", "q", "bool", "Do not tell what was copied"),
)
EXPORT = _options(("output", "o", "string", "File to write instead of standard output"))
COMMIT = _options(
    ("author", "a", "string", "Author of the image"),
    ("change", "c", "list", "Instruction of a Dockerfile to apply, such as 'CMD [\"sh\"]'"),
    ("message", "m", "string", "Comment in the image's history"),
    ("pause", "p", "bool", "Freeze the container meanwhile (default true)"),
    ("no-pause", "", "bool", "Do not freeze the container meanwhile"),
)
SAVE = _options(
    ("output", "o", "string", "File to write instead of standard output"),
    ("platform", "", "list", "Save only this platform"),
)
IMAGE_TREE = _options(("layers", "", "bool", "Show each layer, and the step that made it"))
IMAGE_DIFF = _options(
    _FORMAT,
    ("exit-code", "", "bool", "End with 1 if anything differs"),
)
IMAGE_MOUNT = _options(_FORMAT)
IMAGE_COPY = _options(("quiet", "q", "bool", "Do not tell what is sent"))
IMAGE_VERIFY = _options(
    ("key", "", "list", "Public key, PEM, in place of those that the policy names; may repeat"),
    _FORMAT,
)
IMAGE_UNMOUNT = _options(("all", "a", "bool", "Unmount all that are mounted"))
SEARCH = _options(
    _FILTER,
    _FORMAT,
    ("limit", "", "int", "Names at most (default 25, 100 at most)"),
    _NO_TRUNC,
)
MANIFEST_INSPECT = _options(("verbose", "v", "bool", "Show each image with its descriptor and platform"))
MANIFEST_CREATE = _options(("amend", "a", "bool", "Add to an index that was begun"))
MANIFEST_ANNOTATE = _options(
    ("arch", "", "string", "Architecture, in Go's words"),
    ("os", "", "string", "Operating system"),
    ("os-version", "", "string", "Its version"),
    ("variant", "", "string", "Variant of the architecture"),
)
MANIFEST_PUSH = _options(("purge", "p", "bool", "Throw the draft away afterwards"))
RMI = _options(
    ("force", "f", "bool", "Remove it even if it has several names or a stopped container uses it"),
    ("no-prune", "", "bool", "Keep parents that have no name"),
    ("platform", "", "list", "Remove only this platform"),
)
HISTORY = _options(
    _FORMAT,
    ("human", "H", "bool", "Show sizes and times for people (default true)"),
    _NO_TRUNC,
    _QUIET_IDS,
    _PLATFORM,
)
INFO = _options(_FORMAT_F)
EVENTS = _options(
    _FILTER, ("format", "", "string", 'Form of each event: "json", or a Go template'), *_SINCE_UNTIL
)
REGISTRY_SERVE = _options(
    ("data-root", "", "string", "Where repositories are kept (default /var/lib/sampan-registry)"),
    ("host-images", "", "bool", "Serve the images of this host's sampand, read-only"),
    ("htpasswd", "", "string", "Users and bcrypt hashes; without it nobody logs in"),
    ("tokens", "", "bool", "Let clients log in by the token flow"),
    ("anonymous-pull", "", "bool", "Let anybody pull; pushing needs a login"),
    ("open", "", "bool", "Let anybody who reaches the address push and delete"),
    ("read-only", "", "bool", "Refuse whatever changes something"),
    ("proxy", "", "string", "Be a cache of this registry: docker.io, host[:port] or http://host[:port]"),
    ("proxy-user", "", "string", "Whom that registry knows us as"),
    ("proxy-password-file", "", "string", "File with the password for it"),
    ("tls-cert", "", "string", "Certificate to show, PEM"),
    ("tls-key", "", "string", "Its key, PEM"),
    ("stale-after", "", "string", "Seconds after which half uploads are swept (default: a day)"),
    ("log-level", "", "string", "debug, info, warning or error"),
    ("log-format", "", "string", "text or json"),
)
SYSTEM_START = _options(
    ("data-root", "", "string", "Directory for images and containers"),
    ("run-root", "", "string", "Directory for sockets and the state of running containers"),
)
SYSTEM_STOP = _options(("timeout", "t", "int", "Seconds to wait for it (default 15)"))
