"""Device nodes of a container and the rules of its devices cgroup. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "Default Devices", "Devices"; the rules that every runtime
adds: runc, libcontainer/specconv/spec_linux.go (AllowedDevices).
"""

from __future__ import annotations

import errno
import os
from _stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mountcalls
from sampan.lean import record
from sampan.spec.runtime import LinuxDeviceCgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.steps import Child
    from sampan.spec.runtime import Device

_ATTACH = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
_FORMATS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


@record
class Node:
    """A node to make: path in the container, mode with its format bits, device number, owner inside."""

    path: str
    mode: int
    device: int
    uid: int = 0
    gid: int = 0


def _character(path: str, major: int, minor: int) -> Node:
    return Node(path=path, mode=S_IFCHR | 0o666, device=os.makedev(major, minor))


DEFAULT_NODES = (
    _character("/dev/null", 1, 3),
    _character("/dev/zero", 1, 5),
    _character("/dev/full", 1, 7),
    _character("/dev/random", 1, 8),
    _character("/dev/urandom", 1, 9),
    _character("/dev/tty", 5, 0),
)
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
)


def plan_nodes(devices: tuple[Device, ...]) -> tuple[Node, ...]:
    """Return the default nodes and those of linux.devices, which win at the same path."""
    nodes = {node.path: node for node in DEFAULT_NODES}
    for device in devices:
        nodes[device.path] = Node(
            path=device.path,
            mode=_FORMATS[device.type] | (0o666 if device.file_mode is None else device.file_mode),
            device=0 if device.type == "p" else os.makedev(device.major, device.minor),
            uid=device.uid or 0,
            gid=device.gid or 0,
        )
    return tuple(nodes.values())


def _allow(kind: str, major: int, minor: int, access: str) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=access)


# Nodes of any number may be made, but not opened; Docker's behaviour, which package builds rely on.
RUNTIME_RULES = (
    _allow("c", -1, -1, "m"),
    _allow("b", -1, -1, "m"),
    *(_allow("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    _allow("c", 5, 0, "rwm"),
    _allow("c", 5, 2, "rwm"),
    _allow("c", 136, -1, "rwm"),
    _allow("c", 10, 200, "rwm"),
)
DENY_ALL = LinuxDeviceCgroup(allow=False)


def plan_rules(rules: tuple[LinuxDeviceCgroup, ...]) -> tuple[LinuxDeviceCgroup, ...]:
    """Return the rules in the order in which they hold, the last match winning.

    Everything is denied first, whatever the document says or leaves out (GHSA-g54h-m393-cpwq).
    """
    return (DENY_ALL, *rules, *RUNTIME_RULES)


def make_nodes(child: Child, nodes: tuple[Node, ...], bind: bool) -> None:
    """Make device nodes; bind takes the host's own instead, for a user namespace that cannot make any.

    The host's are still reachable by path: this runs before the root is changed.
    """
    for node in nodes:
        if not bind or S_IFMT(node.mode) == S_IFIFO:
            try:
                _make_node(child.root_fd, node)
                continue
            except PermissionError:
                if S_IFMT(node.mode) == S_IFIFO:
                    raise
        _bind_node(child.root_fd, node)


def _make_node(root_fd: int, node: Node) -> None:
    folder, _, name = node.path.rpartition("/")
    parent = files.mkdir_in_root(root_fd, folder or "/")
    try:
        try:
            os.mknod(name, node.mode, node.device, dir_fd=parent)
        except FileExistsError:
            if _is_same(name, parent, node):
                return
            _bind_node(root_fd, node)  # something else lies there: cover it, change nothing of it
            return
        os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _is_same(name: str, parent: int, node: Node) -> bool:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return S_IFMT(status.st_mode) == S_IFMT(node.mode) and status.st_rdev == node.device


def _bind_node(root_fd: int, node: Node) -> None:
    source = mountcalls.open_tree(k.AT_FDCWD, node.path, k.OPEN_TREE_CLONE)
    try:
        status = os.fstat(source)
        if S_IFMT(status.st_mode) != S_IFMT(node.mode) or status.st_rdev != node.device:
            raise SampanError(f"cannot bind {node.path}: the host's is another device")
        target = files.touch_in_root(root_fd, node.path)
        try:
            mountcalls.move_mount(source, "", target, "", _ATTACH)
        finally:
            os.close(target)
    finally:
        os.close(source)


def make_links(child: Child, with_core: bool) -> None:
    """Make the links of /dev: fd, stdin, stdout, stderr, ptmx, and core where the kernel has /proc/kcore."""
    dev = files.mkdir_in_root(child.root_fd, "/dev")
    try:
        for target, name in (*_LINKS, *((("/proc/kcore", "core"),) if with_core else ())):
            try:
                os.symlink(target, name, dir_fd=dev)
            except FileExistsError:
                pass  # the image's own choice
        _replace_ptmx(dev)
    finally:
        os.close(dev)


def _replace_ptmx(dev: int) -> None:
    """Lead /dev/ptmx to the container's own terminals; dev is inside the root: nothing else is unlinked."""
    try:
        os.unlink("ptmx", dir_fd=dev)
    except OSError as exc:
        if exc.errno != errno.ENOENT:
            raise
    os.symlink("pts/ptmx", "ptmx", dir_fd=dev)
