"""From `mounts` of config.json to a list of simple mounts, decided before anything is done. Lean.

The one entry of type `cgroup` becomes what the machine's cgroup version needs: on v1 a tmpfs with one mount a
hierarchy. Source: OCI runtime-spec v1.2, config.md, "Mounts"; runc, libcontainer/rootfs_linux.go (cgroups).
"""

from __future__ import annotations

import posixpath

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel import constants as k
from sampan.lean import record, replace
from sampan.runtime.mount_options import MountOptions, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from sampan.kernel.cgroups import Hierarchy
    from sampan.spec.runtime import IdMap, Mount, Spec

    Kind = Literal["file system", "bind", "link", "read-only"]


@record
class PlannedMount:
    """One thing to do in `mounts` order, at destination (absolute, without `..`).

    kind "file system": make one of type fstype. "bind": attach a clone of source. "link": make a symbolic
    link to source. "read-only": make the mount at destination read-only. maps: ids of an idmapped mount,
    None for none, empty for those of the container's own user namespace.
    """

    kind: Kind
    destination: str
    fstype: str = ""
    source: str = ""
    options: MountOptions = MountOptions()
    maps: tuple[tuple[IdMap, ...], tuple[IdMap, ...]] | None = None
    cgroup: bool = False

    @property
    def made_by_parent(self) -> bool:
        """Whether the parent makes it, detached: bind sources and overlays name paths of the host."""
        return self.kind == "bind" or self.fstype == "overlay"

    def describe(self) -> str:
        """Return a few words for errors and `sampan explain`."""
        if self.kind == "bind":
            return f"bind {self.source} at {self.destination}{self._shown_options()}"
        if self.kind == "link":
            return f"link {self.destination} to {self.source}"
        if self.kind == "read-only":
            return f"make {self.destination} read-only"
        return f"mount {self.fstype} at {self.destination}{self._shown_options()}"

    def _shown_options(self) -> str:
        bits = self.options.attr_set | self.options.tree_set
        words = [word for bit, word in _WORDS if bits & bit]
        words += ["idmap"] if self.maps is not None else []
        words += self.options.data
        return f" ({','.join(words)})" if words else ""


_WORDS = (
    (k.MOUNT_ATTR_RDONLY, "ro"),
    (k.MOUNT_ATTR_NOSUID, "nosuid"),
    (k.MOUNT_ATTR_NODEV, "nodev"),
    (k.MOUNT_ATTR_NOEXEC, "noexec"),
    (k.MOUNT_ATTR_NOATIME, "noatime"),
    (k.MOUNT_ATTR_STRICTATIME, "strictatime"),
    (k.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)


def plan_mounts(
    spec: Spec, bundle: str, hierarchy: Hierarchy, cgroup_paths: Mapping[str, str]
) -> tuple[PlannedMount, ...]:
    """Return the mounts in order. cgroup_paths: the container's own directories, as CgroupManager.paths().

    Raises:
        InvalidArgument: an entry contradicts itself; the message names the field.
        Unsupported: mountLabel, or no cgroup file system to show.
    """
    if spec.linux.mount_label:
        raise Unsupported("linux.mountLabel: sampan does not label mounts", hint="leave the field out")
    plan: list[PlannedMount] = []
    for index, mount in enumerate(spec.mounts):
        where = f"mounts[{index}]"
        if mount.type in ("cgroup", "cgroup2") and not _is_bind(mount):
            plan += _plan_cgroup(spec, mount, where, hierarchy, cgroup_paths)
        else:
            plan.append(_plan_mount(mount, where, bundle))
    return tuple(plan)


def plan_binds(mounts: tuple[Mount, ...]) -> tuple[PlannedMount, ...]:
    """Return the bind mounts of a container alone, in order: what a view of its stopped root needs.

    Raises:
        InvalidArgument: an entry contradicts itself.
    """
    return tuple(
        _plan_mount(mount, f"mounts[{index}]", "/") for index, mount in enumerate(mounts) if _is_bind(mount)
    )


def _is_bind(mount: Mount) -> bool:
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def _plan_mount(mount: Mount, where: str, bundle: str) -> PlannedMount:
    is_bind = _is_bind(mount)
    options = parse_options(mount.options, is_bind=is_bind, where=where)
    maps = _plan_maps(mount, options, where)
    destination = _clean(mount.destination, where)
    if not is_bind:
        if not mount.type:
            raise InvalidArgument(f"{where}.type: is required unless the mount is a bind mount")
        if maps is not None:
            raise InvalidArgument(f"{where}.uidMappings: only bind mounts can be idmapped")
        return PlannedMount(
            kind="file system",
            destination=destination,
            fstype=mount.type,
            source=mount.source,
            options=options,
        )
    if not mount.source:
        raise InvalidArgument(f"{where}.source: a bind mount needs one")
    return PlannedMount(
        kind="bind",
        destination=destination,
        source=posixpath.join(bundle, mount.source),
        options=options,
        maps=maps,
    )


def _clean(destination: str, where: str) -> str:
    """Return an absolute path without `.`, `..` and doubled slashes; a relative one starts at the root."""
    clean = posixpath.normpath("/" + destination.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"{where}.destination: {destination!r} is the root itself")
    return clean


def _plan_maps(
    mount: Mount, options: MountOptions, where: str
) -> tuple[tuple[IdMap, ...], tuple[IdMap, ...]] | None:
    given = mount.uid_mappings or mount.gid_mappings
    if not given and options.idmap is None:
        return None
    if given and not (mount.uid_mappings and mount.gid_mappings):
        raise InvalidArgument(f"{where}.uidMappings, {where}.gidMappings: both are needed, or neither")
    return mount.uid_mappings, mount.gid_mappings


def _plan_cgroup(
    spec: Spec, mount: Mount, where: str, hierarchy: Hierarchy, paths: Mapping[str, str]
) -> Iterable[PlannedMount]:
    destination = _clean(mount.destination, where)
    options = parse_options(mount.options, is_bind=False, where=where)
    if hierarchy.kind == "none":
        raise Unsupported(f"{where}.type: this machine has no cgroup file system mounted")
    if hierarchy.kind == "v2":
        return [
            PlannedMount(
                kind="file system",
                destination=destination,
                fstype="cgroup2",
                source=mount.source or "cgroup",
                options=options,
                cgroup=True,
            )
        ]
    own_namespace = any(namespace.type == "cgroup" for namespace in spec.linux.namespaces)
    return _plan_cgroup_v1(destination, options, hierarchy, paths, own_namespace=own_namespace)


def _plan_cgroup_v1(
    destination: str,
    options: MountOptions,
    hierarchy: Hierarchy,
    paths: Mapping[str, str],
    *,
    own_namespace: bool,
) -> Iterable[PlannedMount]:
    """A tmpfs with a directory a hierarchy: the namespace's own view, else the container's own cgroup."""
    writable = replace(options, attr_set=options.attr_set & ~k.MOUNT_ATTR_RDONLY)
    yield PlannedMount(
        kind="file system",
        destination=destination,
        fstype="tmpfs",
        source="cgroup",
        options=replace(writable, data=("mode=755",), propagation=()),
    )
    for tree in hierarchy.v1:
        name = posixpath.basename(tree.mount_point)
        target = f"{destination}/{name}"
        controllers = ",".join(tree.controllers)
        if own_namespace:
            yield PlannedMount(
                kind="file system",
                destination=target,
                fstype="cgroup",
                source="cgroup",
                options=replace(options, data=tree.controllers, propagation=()),
                cgroup=True,
            )
        elif controllers in paths:
            yield PlannedMount(
                kind="bind",
                destination=target,
                source=paths[controllers],
                options=replace(options, bind=False, propagation=()),
            )
        if len(tree.controllers) > 1:
            for controller in tree.controllers:
                if controller != name:
                    yield PlannedMount(kind="link", destination=f"{destination}/{controller}", source=name)
    if options.attr_set & k.MOUNT_ATTR_RDONLY:
        yield PlannedMount(kind="read-only", destination=destination)
