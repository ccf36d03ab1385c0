"""Find the cgroup trees of this machine from two files of /proc, once a program. Lean (decision 0002)."""

from __future__ import annotations

import os

from sampan.lean import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Kind = Literal["none", "v1", "hybrid", "v2"]

# What a v1 superblock shows besides controllers (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
_FLAGS = frozenset(
    ("rw", "ro", "clone_children", "xattr", "noprefix", "cpuset_v2_mode", "favordynmods", "none")
)


@record
class Tree:
    """One mounted cgroup hierarchy.

    device: st_dev of its directories, by which an opened mount point is told from something mounted over it.
    own: the caller's cgroup in it, relative to the mount point, "" for the mount point itself.
    controllers: v1: names as mounted together, `name=systemd` for a tree without any; v2: of the mount point.
    """

    mount_point: str
    version: int
    device: int
    own: str
    controllers: tuple[str, ...]


@record
class Hierarchy:
    """All cgroup trees of this machine.

    kind: "v1": v1 trees only; "hybrid": v1 trees with controllers and a v2 tree beside them; "v2": one v2
    tree has all controllers; "none": nothing is mounted.
    """

    kind: Kind
    v1: tuple[Tree, ...]
    v2: Tree | None

    @property
    def controllers(self) -> dict[str, str]:
        """Return the mount point of each controller; a v1 tree wins over the v2 tree."""
        found: dict[str, str] = {}
        for tree in (*self.v1, self.v2):
            if tree is not None:
                for controller in tree.controllers:
                    found.setdefault(controller, tree.mount_point)
        return found


def detect(proc: str = "/proc") -> Hierarchy:
    """Read the mounted cgroup trees and the caller's own place in each.

    Costs about 0.1 ms; a program that makes many cgroups keeps the answer. proc is a procfs that shows this
    process's mounts.

    Raises:
        OSError: /proc/self/mountinfo or /proc/self/cgroup cannot be read.
    """
    trees = parse_trees(_read(f"{proc}/self/mountinfo"), _read(f"{proc}/self/cgroup"))
    visible = [tree for tree in trees if _is_visible(tree)]
    return classify(_with_controllers(tree) if tree.version == 2 else tree for tree in visible)


def classify(trees: Iterable[Tree]) -> Hierarchy:
    """Decide how trees, in the order they were mounted, are used together."""
    v1: list[Tree] = []
    v2: Tree | None = None
    seen: set[str] = set()
    for tree in trees:
        if tree.version == 2:
            v2 = v2 or tree
        elif not seen.issuperset(tree.controllers):  # the same hierarchy may be mounted twice
            seen.update(tree.controllers)
            v1.append(tree)
    controlled = any(not name.startswith("name=") for name in seen)
    kind: Kind = "v2" if v2 and not controlled else "hybrid" if v2 else "v1" if v1 else "none"
    return Hierarchy(kind=kind, v1=() if kind == "v2" else tuple(v1), v2=v2)


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return os.fsdecode(file.readall() or b"")


def _parse_own(text: str) -> dict[str, str]:
    """Return the caller's cgroup keyed by each controller, `name=…`, or "" for v2. Source: cgroups(7)."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def parse_trees(mountinfo: str, own_cgroups: str) -> list[Tree]:
    """Return the trees of two files, in the order they were mounted; those of v2 without their controllers.

    Source: proc_pid_mountinfo(5), proc_pid_cgroup(5).
    """
    own = _parse_own(own_cgroups)
    return [
        tree
        for line in mountinfo.splitlines()
        if " - cgroup" in line and (tree := _parse_mount(line, own)) is not None
    ]


def _parse_mount(line: str, own: dict[str, str]) -> Tree | None:
    left, _, right = line.partition(" - cgroup")
    version = {" ": 1, "2": 2}.get(right[:1])
    if version is None:
        return None
    controllers: tuple[str, ...] = ()
    if version == 1:
        options = right.rsplit(" ", 1)[1].split(",")
        controllers = tuple(option for option in options if _is_controller(option))
        if not controllers:
            return None
    fields = left.split(" ")
    major, _, minor = fields[2].partition(":")
    place = own.get(controllers[0] if controllers else "", "/")
    return Tree(
        mount_point=_unescape(fields[4]),
        version=version,
        device=os.makedev(int(major), int(minor)),
        own=_relative(place, _unescape(fields[3])),
        controllers=controllers,
    )


def _is_controller(option: str) -> bool:
    return option not in _FLAGS and not option.startswith("release_agent=")


def _with_controllers(tree: Tree) -> Tree:
    return replace(tree, controllers=tuple(_read(f"{tree.mount_point}/cgroup.controllers").split()))


def _is_visible(tree: Tree) -> bool:
    try:
        return os.stat(tree.mount_point).st_dev == tree.device
    except OSError:
        return False


def _relative(path: str, root: str) -> str:
    """Return a path of /proc/self/cgroup as seen below a mount whose root is root.

    Paths outside the cgroup namespace show as `/../…`: then, and when the mount shows another part of the
    tree, the mount point itself is the best there is.
    """
    if root != "/" and path != root and not path.startswith(f"{root}/"):
        return ""
    below = path[len(root) :] if root != "/" else path
    below = below.strip("/")
    return "" if below == ".." or below.startswith("../") else below


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
