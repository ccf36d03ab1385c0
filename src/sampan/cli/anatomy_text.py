"""The tree of `sampan inspect --anatomy`: what a running container is made of. Lean."""

from __future__ import annotations

from sampan.cli.table import human_size
from sampan.cli.tree import Branch, shorten_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.fastjson import JsonValue

    Part = dict[str, JsonValue]

_NAMESPACES = {
    "mnt": "files: which file systems are mounted where",
    "pid": "processes: its first one is number 1",
    "net": "network: interfaces, addresses, ports",
    "uts": "its host name",
    "ipc": "shared memory and message queues",
    "cgroup": "which part of the cgroup tree looks like /",
    "user": "users: who is root",
    "time": "clocks since boot",
}
_MOUNTS = (
    ("/", "the image's layers and its own changes on top"),
    ("/proc/", "masked or read-only: the host's kernel"),
    ("/proc", "only its own processes"),
    ("/sys/fs/cgroup", "its own limits, to look at"),
    ("/sys/", "masked: tells about the host"),
    ("/sys", "devices of the machine, read-only"),
    ("/dev/pts", "terminals of its own"),
    ("/dev/shm", "shared memory"),  # noqa: S108 -- a mount point inside, named for the reader
    ("/dev/mqueue", "message queues"),
    ("/dev", "only harmless devices"),
    ("/etc/resolv.conf", "written by sampan"),
    ("/etc/hostname", "written by sampan"),
    ("/etc/hosts", "written by sampan"),
)
_FILES = {
    "memory.limit_in_bytes": "memory, at most",
    "memory.max": "memory, at most",
    "memory.memsw.limit_in_bytes": "memory and swap, at most",
    "memory.swap.max": "swap, at most",
    "memory.usage_in_bytes": "memory in use",
    "memory.current": "memory in use",
    "cpu.shares": "weight against others, 1024 is usual",
    "cpu.weight": "weight against others, 100 is usual",
    "cpu.cfs_quota_us": "microseconds of CPU a period, -1 without limit",
    "cpu.cfs_period_us": "that period",
    "cpu.max": "microseconds of CPU, and in which period",
    "cpuset.cpus": "CPUs it may run on",
    "cpuset.mems": "memory nodes it may use",
    "pids.max": "processes, at most",
    "pids.current": "processes now",
    "freezer.state": "FROZEN while paused",
    "devices.list": "devices it may read, write, make",
    "io.weight": "weight for disks",
}
_BYTES = frozenset(name for name in _FILES if name.startswith("memory"))
_UNLIMITED = 1 << 62  # v1 writes a number near 2^63 for "no limit"


def anatomy_tree(document: JsonValue, name: str) -> Branch:
    """Return the tree of a container that the daemon has read back from the kernel (docs/api.md)."""
    found = _part(document)
    sees, may, program = _part(found.get("sees")), _part(found.get("may_use")), _part(found.get("is"))
    title = f"{found.get('name') or name} ({str(found.get('id'))[:12]}), process {found.get('pid')} outside"
    return Branch(
        title,
        children=[
            Branch("what it is", "a program on a root file system", list(_is(program)), heading=True),
            Branch("what it sees", "its own view of the machine", list(_sees(sees)), heading=True),
            Branch("what it may use", "how much, and which powers", list(_may(may)), heading=True),
            Branch("processes", "by their numbers outside and inside", list(_processes(found)), heading=True),
        ],
        heading=True,
    )


def _part(value: JsonValue) -> Part:
    return value if isinstance(value, dict) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _is(program: Part) -> Iterator[Branch]:
    yield Branch("command  " + " ".join(str(word) for word in _list(program.get("command"))))
    executable = str(program.get("executable"))
    built_in = not executable.startswith("/")
    note = "built in: passes signals on, reaps orphans; its child is the program"
    yield Branch(f"program  {executable}", note if built_in else "as the container names it")
    yield Branch(f"in       {program.get('working_directory')}", "its working directory")
    groups = " ".join(str(group) for group in _list(program.get("groups")))
    who = f"user     {program.get('uid')}:{program.get('gid')}" + (f", groups {groups}" if groups else "")
    yield Branch(who, "0 is root, with only the capabilities below")
    root = _part(program.get("root"))
    yield Branch(f"root     {root.get('type')}", "", list(_layers(root)))


def _layers(root: Part) -> Iterator[Branch]:
    options = [str(option) for option in _list(root.get("options"))]
    for option in options:
        key, _, value = option.partition("=")
        if key == "upperdir":
            yield Branch(shorten_ids(value), "its own changes")
    for option in options:
        key, _, value = option.partition("=")
        if key in ("lowerdir", "lowerdir+"):
            for layer in value.split(":"):
                yield Branch(shorten_ids(layer), "a layer of the image, read-only and shared")


def _sees(sees: Part) -> Iterator[Branch]:
    spaces = _part(sees.get("namespaces"))
    rows = []
    for kind, raw in spaces.items():
        space = _part(raw)
        whose = "its own" if space.get("of") == "container" else "the host's"
        rows.append(Branch(f"{kind:<7} {whose:<11} {space.get('inode')}", _NAMESPACES.get(kind, "")))
    yield Branch("namespaces", "made with the process; the number is the kernel's", rows)
    mounts = [_part(mount) for mount in _list(sees.get("mounts"))]
    mounts.sort(key=lambda mount: str(mount.get("on")))
    yield Branch(
        f"mounts ({len(mounts)})", "file systems, and where they show", [_mount(mount) for mount in mounts]
    )
    if sees.get("hostname"):
        yield Branch(f"host name {sees['hostname']}")


def _mount(mount: Part) -> Branch:
    place = str(mount.get("on"))
    access = "ro" if "ro" in str(mount.get("options")).split(",") else "rw"
    note = next(
        (note for start, note in _MOUNTS if place == start or (start != "/" and place.startswith(start))), ""
    )
    return Branch(f"{access} {place:<24} {mount.get('type')}", note or "from outside")


def _may(may: Part) -> Iterator[Branch]:
    groups = []
    for controller, raw in _part(may.get("cgroups")).items():
        group = _part(raw)
        files = [_file(name, str(value)) for name, value in group.items() if name != "path"]
        groups.append(Branch(f"{controller}  {shorten_ids(str(group.get('path')))}", "", files))
    yield Branch("cgroups", "count and limit all its processes together", groups)
    sets = _part(may.get("capabilities"))
    effective = [str(name).removeprefix("CAP_").lower() for name in _list(sets.get("effective"))]
    rows = [Branch(", ".join(effective[at : at + 6])) for at in range(0, len(effective), 6)]
    yield Branch(f"capabilities ({len(effective)})", "root's powers, one by one; the rest is gone", rows)
    seccomp = _part(may.get("seccomp"))
    yield Branch(f"seccomp  {seccomp.get('mode')}", "which system calls the kernel refuses it")
    gains = "no" if may.get("no_new_privileges") else "yes"
    yield Branch(f"setuid programs gain rights: {gains}", "no_new_privileges turns that off")
    yield Branch(f"oom_score_adj  {may.get('oom_score_adj')}", "who is ended first when memory is out")
    yield Branch(
        "limits of each process", "ulimit; unlimited ones left out", list(_limits(_part(may.get("limits"))))
    )


def _file(name: str, value: str) -> Branch:
    if name == "devices.list":
        return Branch(f"{name}  {value.replace(chr(10), ', ')}", _FILES[name])
    if name in _BYTES and value.isdigit():
        shown = "no limit" if int(value) >= _UNLIMITED else human_size(int(value))
        return Branch(f"{name}  {value} ({shown})", _FILES[name])
    return Branch(f"{name}  {value}", _FILES.get(name, ""))


def _limits(limits: Part) -> Iterator[Branch]:
    for name, raw in limits.items():
        limit = _part(raw)
        soft, hard = str(limit.get("soft")), str(limit.get("hard"))
        if soft != "unlimited":
            yield Branch(
                f"{name.removeprefix('Max ')}  {soft}" + (f", may raise it to {hard}" if hard != soft else "")
            )


def _processes(found: Part) -> Iterator[Branch]:
    for raw in _list(found.get("processes")):
        process = _part(raw)
        resident = process.get("resident_kib")
        size = human_size(resident * 1024, digits=3) if isinstance(resident, int) else ""
        numbers = f"{process.get('pid')} outside, {process.get('inside')} inside"
        yield Branch(f"{numbers}  {process.get('command')}", f"{size} of memory")
