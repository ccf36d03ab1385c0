"""Mounts of a bundle: the client's and the three host files, over the ones every container has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan.engine.bundle import idmaps, posture
from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.bundle.namespaces import parse_ipc_mode
from sampan.engine.bundle.plan import BundlePlan, Document


def make_mounts(plan: BundlePlan, user_mounts: Sequence[UserMount]) -> list[Document]:
    """Return `mounts` of config.json, in the order they are made."""
    taken = {mount.target for mount in user_mounts}
    mounts = [mount for mount in _default_mounts(plan) if mount["destination"] not in taken]
    others = [mount for mount in _file_mounts(plan) if mount["destination"] not in taken]
    others += [mount_document(mount) for mount in user_mounts]
    # Parents first: a volume at /etc lies below our /etc/hosts.
    return mounts + sorted(others, key=lambda mount: str(mount["destination"]).count("/"))


def _default_mounts(plan: BundlePlan) -> Iterable[Document]:
    ipc = parse_ipc_mode(plan.host.IpcMode)
    shm_source = "/dev/shm" if ipc.share == "host" else plan.joins.shared_memory  # noqa: S108 -- a mount
    for destination, kind, source, options in posture.MOUNTS:
        if destination == "/dev/shm":  # noqa: S108 -- inside the container
            if plan.host.IpcMode == "none" or (ipc.share == "container" and shm_source is None):
                continue
            if shm_source is not None:
                yield _mount(destination, "bind", shm_source, ("rbind", "rprivate", *posture.SHM_FLAGS))
                continue
            options = (*options, f"size={plan.host.ShmSize or plan.shm_size_bytes}")
        if plan.host.Privileged:
            options = tuple(option for option in options if option != "ro")
        yield _mount(destination, kind, source, options)


def _file_mounts(plan: BundlePlan) -> Iterable[Document]:
    access = "ro" if plan.host.ReadonlyRootfs else "rw"
    for destination, source in (
        ("/etc/resolv.conf", plan.files.resolv_conf),
        ("/etc/hostname", plan.files.hostname),
        ("/etc/hosts", plan.files.hosts),
    ):
        yield _mount(destination, "bind", source, ("rbind", "rprivate", access))


def mount_document(mount: UserMount) -> Document:
    """Return an entry of `mounts` in config.json."""
    kind = {"volume": "bind", "image": "overlay"}.get(mount.kind, mount.kind)
    options = list(mount.options)
    if mount.subpath and mount.kind == "volume":
        options.append(f"X-mount.subdir={mount.subpath}")
    made = _mount(mount.target, kind, mount.source or kind, options)
    if mount.ids is not None and mount.ids.uids:
        options.append("idmap")
        made |= {
            "options": options,
            "uidMappings": idmaps.document(mount.ids.uids),
            "gidMappings": idmaps.document(mount.ids.gids),
        }
    return made


def _mount(destination: str, kind: str, source: str, options: Iterable[str]) -> Document:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def root_propagation(user_mounts: Iterable[UserMount]) -> str:
    """Return `linux.rootfsPropagation`: as wide as the widest mount below needs, "" for the default."""
    kinds = {mount.propagation.removeprefix("r") for mount in user_mounts}
    return "shared" if "shared" in kinds else "rslave" if "slave" in kinds else ""
