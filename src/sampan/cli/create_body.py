"""From the flags of `run` and `create` to the body of `/containers/create`. Lean (decision 0002).

Says what docker's client says with the same flags; fields that docker sends with a neutral value are left
out, which means the same (Engine API 1.51, "ContainerCreate"). tests/system/test_cli_docker_body.py compares.
"""

from __future__ import annotations

from sampan.cli import values
from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.flags import Flags

    Body = dict[str, object]

_SIZES = (
    ("memory", "Memory"), ("memory-reservation", "MemoryReservation"), ("shm-size", "ShmSize"),
)  # fmt: skip
_NUMBERS = (
    ("cpu-shares", "CpuShares"), ("cpu-period", "CpuPeriod"), ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"), ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("pids-limit", "PidsLimit"), ("blkio-weight", "BlkioWeight"), ("oom-score-adj", "OomScoreAdj"),
)  # fmt: skip
_TEXTS = (
    ("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems"), ("cgroup-parent", "CgroupParent"),
    ("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode"), ("userns", "UsernsMode"),
    ("cgroupns", "CgroupnsMode"), ("runtime", "Runtime"), ("isolation", "Isolation"),
    ("volume-driver", "VolumeDriver"), ("cidfile", "ContainerIDFile"),
)  # fmt: skip
_TRUTHS = (
    ("rm", "AutoRemove"), ("privileged", "Privileged"), ("read-only", "ReadonlyRootfs"),
    ("publish-all", "PublishAllPorts"), ("oom-kill-disable", "OomKillDisable"),
)  # fmt: skip
_LISTS = (
    ("group-add", "GroupAdd"), ("dns", "Dns"),
    ("dns-search", "DnsSearch"), ("device-cgroup-rule", "DeviceCgroupRules"), ("volumes-from", "VolumesFrom"),
    ("link", "Links"),
)  # fmt: skip
_REFUSED = (("gpus", "GPUs are not supported"), ("use-api-socket", "mount the socket with -v instead"))
_HEALTH = (
    ("health-interval", "Interval"), ("health-timeout", "Timeout"), ("health-start-period", "StartPeriod"),
    ("health-start-interval", "StartInterval"),
)  # fmt: skip
_FILE_FLAGS = frozenset(("volume", "mount", "tmpfs", "device", "blkio-weight-device"))
_RATES = (
    ("device-read-bps", "BlkioDeviceReadBps"), ("device-write-bps", "BlkioDeviceWriteBps"),
    ("device-read-iops", "BlkioDeviceReadIOps"), ("device-write-iops", "BlkioDeviceWriteIOps"),
)  # fmt: skip


def create_body(flags: Flags, arguments: list[str]) -> Body:
    """Return the request for IMAGE [COMMAND…] with these flags.

    Raises:
        UsageError: a value is wrong, or two flags contradict each other.
    """
    for name, reason in _REFUSED:
        if flags.given(name):
            raise UsageError(f"--{name}: {reason}")
    body = _config(flags, arguments)
    host = _host_config(flags)
    body["HostConfig"] = host
    _add_networks(flags, body, host)
    if any(flags.given(name) for name in _FILE_FLAGS):
        from sampan.cli import mount_flags

        mount_flags.add_files(flags, body, host)
    if flags.given("publish") or flags.given("expose"):
        from sampan.cli import port_flags

        port_flags.add_ports(flags, body, host)
    return body


def attached(flags: Flags) -> tuple[bool, bool, bool]:
    """Return which of stdin, stdout and stderr are attached.

    Raises:
        UsageError: `--attach` names another stream.
    """
    wanted = [text.lower() for text in flags.items("attach")]
    for text in wanted:
        if text not in ("stdin", "stdout", "stderr"):
            raise UsageError(f"-a, --attach: {text!r} is not stdin, stdout or stderr")
    if flags.truth("detach"):
        if wanted:
            raise UsageError("conflicting options: cannot specify both --attach and --detach")
        return False, False, False
    stdin = flags.truth("interactive") or "stdin" in wanted
    return stdin, not wanted or "stdout" in wanted, not wanted or "stderr" in wanted


def _config(flags: Flags, arguments: list[str]) -> Body:
    stdin, stdout, stderr = attached(flags)
    body: Body = {"Image": arguments[0], "AttachStdin": stdin, "AttachStdout": stdout, "AttachStderr": stderr}
    if arguments[1:]:
        body["Cmd"] = arguments[1:]
    if flags.truth("tty"):
        body["Tty"] = True
    if flags.truth("interactive"):
        body["OpenStdin"] = True
        body["StdinOnce"] = stdin
    for name, field in (("hostname", "Hostname"), ("domainname", "Domainname"), ("user", "User"),
                        ("workdir", "WorkingDir"), ("stop-signal", "StopSignal")):  # fmt: skip
        if flags.text(name):
            body[field] = flags.text(name)
    if flags.given("stop-timeout"):
        body["StopTimeout"] = flags.number("stop-timeout")
    if flags.given("entrypoint"):
        body["Entrypoint"] = [flags.text("entrypoint")]  # [""] takes the image's away
    if flags.given("env") or flags.given("env-file"):
        body["Env"] = values.environment(flags.items("env-file"), flags.items("env"))
    if flags.given("label") or flags.given("label-file"):
        lines = [
            line
            for path in flags.items("label-file")
            for line in values.read_variables("--label-file", path, None)
        ]
        body["Labels"] = values.pairs([*lines, *flags.items("label")])
    add_health(flags, body)
    return body


def _host_config(flags: Flags) -> Body:
    host: Body = {}
    for name, field in _TRUTHS:
        if flags.truth(name):
            host[field] = True
    for name, field in _LISTS:
        if flags.given(name):
            host[field] = flags.items(name)
    for name, field in _TEXTS:
        if flags.text(name):
            host[field] = flags.text(name)
    for name, field in _NUMBERS:
        if flags.given(name):
            host[field] = flags.number(name)
    for name, field in _SIZES:
        if flags.given(name):
            host[field] = values.parse_size(f"--{name}", flags.text(name))
    if flags.given("init"):
        host["Init"] = flags.truth("init")
    _add_limits(flags, host)
    _add_options(flags, host)
    return host


def _add_limits(flags: Flags, host: Body) -> None:
    if flags.given("memory-swap"):
        host["MemorySwap"] = values.parse_memory_swap("--memory-swap", flags.text("memory-swap"))
    if flags.given("memory-swappiness"):
        swappiness = flags.number("memory-swappiness")
        if not -1 <= swappiness <= 100:
            raise UsageError(f"--memory-swappiness: {swappiness} is not between 0 and 100")
        host["MemorySwappiness"] = swappiness
    if flags.given("cpus"):
        host["NanoCpus"] = values.parse_cpus("--cpus", flags.text("cpus"))
    if flags.given("ulimit"):
        limits = [values.parse_ulimit("--ulimit", text) for text in flags.items("ulimit")]
        by_name = {str(limit["Name"]): limit for limit in limits}  # the last of a name counts
        host["Ulimits"] = [by_name[name] for name in sorted(by_name)]
    for name, field in _RATES:
        if flags.given(name):
            from sampan.cli import mount_flags

            host[field] = [mount_flags.parse_rate(f"--{name}", text) for text in flags.items(name)]


def _add_options(flags: Flags, host: Body) -> None:
    for name, field in (("annotation", "Annotations"), ("sysctl", "Sysctls"), ("storage-opt", "StorageOpt")):
        if flags.given(name):
            host[field] = dict(values.parse_pair(f"--{name}", text) for text in flags.items(name))
    options = [*flags.items("dns-option"), *flags.items("dns-opt")]
    if options:
        host["DnsOptions"] = options
    if flags.given("add-host"):
        host["ExtraHosts"] = [_parse_host(text) for text in flags.items("add-host")]
    if flags.given("log-driver") or flags.given("log-opt"):
        settings = dict(values.parse_pair("--log-opt", text) for text in flags.items("log-opt"))
        host["LogConfig"] = {"Type": flags.text("log-driver"), "Config": settings}
    if flags.given("restart"):
        host["RestartPolicy"] = parse_restart(flags)
    if flags.given("cap-add") or flags.given("cap-drop"):
        _add_capabilities(flags, host)
    if flags.given("security-opt"):
        _add_security(flags.items("security-opt"), host)


def _parse_host(text: str) -> str:
    """Return `name:address`; docker also takes `name=address` and brackets round an IPv6 address."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    address = address.strip("[]")
    if not separator or not name or not address:
        raise UsageError(f"--add-host: {text!r} is not name:address")
    return f"{name}:{address}"


def parse_restart(flags: Flags) -> Body:
    """Return the restart policy of `--restart`.

    Raises:
        UsageError: it is none.
    """
    text = flags.text("restart")
    name, colon, count = text.partition(":")
    if name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise UsageError(
            f"--restart: {text!r} is no policy", hint="no, always, unless-stopped or on-failure[:max]"
        )
    if colon and (name != "on-failure" or not count.isascii() or not count.isdigit()):
        raise UsageError(f"--restart: {text!r}: only on-failure takes a number of tries")
    if flags.truth("rm") and name not in ("", "no"):
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    return {"Name": name or "no", "MaximumRetryCount": int(count or "0")}


def _add_capabilities(flags: Flags, host: Body) -> None:
    """Put both lists in the kernel's names; what is added wins over the same name dropped."""
    added, dropped = (
        sorted({_capability(text) for text in flags.items(name)}) for name in ("cap-add", "cap-drop")
    )
    dropped = [name for name in dropped if name == "ALL" or name not in added]
    if added:
        host["CapAdd"] = added
    if dropped:
        host["CapDrop"] = dropped


def _capability(text: str) -> str:
    name = text.strip().upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _add_security(options: list[str], host: Body) -> None:
    kept = []
    for text in options:
        key, found, value = text.partition("=") if "=" in text else text.partition(":")
        if not found and key != "no-new-privileges":
            raise UsageError(f"--security-opt: {text!r} is not key=value")
        if text == "systempaths=unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
        elif key == "seccomp" and value not in ("unconfined", "builtin"):
            kept.append("seccomp=" + _read_seccomp(value))
        else:
            kept.append(text)
    if kept:
        host["SecurityOpt"] = kept


def _read_seccomp(path: str) -> str:
    from sampan import fastjson
    from sampan.errors import InvalidArgument

    text = values.read_text("--security-opt", path)
    try:
        return fastjson.dumps(fastjson.loads(text))
    except InvalidArgument as exc:
        raise UsageError(f"--security-opt: seccomp profile {path!r}: {exc}") from exc


def add_health(flags: Flags, body: Body) -> None:
    """Set `Healthcheck` as the flags ask for it, if they do.

    Raises:
        UsageError: flags that contradict each other, or a wrong value.
    """
    given = [name for name, _ in _HEALTH if flags.given(name)]
    given += [name for name in ("health-cmd", "health-retries", "health-on-failure") if flags.given(name)]
    if flags.truth("no-healthcheck"):
        if given:
            raise UsageError(f"conflicting options: cannot specify both --no-healthcheck and --{given[0]}")
        body["Healthcheck"] = {"Test": ["NONE"]}
    elif given:
        health: Body = {
            field: values.parse_duration(f"--{name}", flags.text(name))
            for name, field in _HEALTH
            if flags.given(name)
        }
        if flags.text("health-cmd"):
            health["Test"] = ["CMD-SHELL", flags.text("health-cmd")]
        if flags.given("health-retries"):
            health["Retries"] = flags.number("health-retries")
        if flags.text("health-on-failure"):
            health["OnFailure"] = flags.text("health-on-failure")
        body["Healthcheck"] = health


def _add_networks(flags: Flags, body: Body, host: Body) -> None:
    """Set `NetworkMode`, and the endpoint's settings where there are any."""
    wanted = [*flags.items("network"), *flags.items("net")]
    aliases = [*flags.items("network-alias"), *flags.items("net-alias")]
    settings = [name for name in ("ip", "ip6", "mac-address", "link-local-ip") if flags.given(name)]
    if not wanted and not aliases and not settings:
        return
    if len(wanted) == 1 and "=" not in wanted[0] and not aliases and not settings:
        host["NetworkMode"] = wanted[0]
        return
    from sampan.cli import endpoint_flags

    endpoint_flags.add_endpoints(flags, wanted or ["default"], aliases, body, host)
