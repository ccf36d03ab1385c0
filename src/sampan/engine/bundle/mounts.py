"""Mounts: `--volume`, `--mount`, `--tmpfs`, the three host files, over the ones every container has."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sampan.engine.bundle import posture
from sampan.engine.bundle.namespaces import parse_ipc_mode
from sampan.engine.bundle.plan import BundlePlan, Document
from sampan.errors import InvalidArgument, Unsupported
from sampan.spec import docker

_PROPAGATION: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCY: Final = (
    "",
    "default",
    "consistent",
    "cached",
    "delegated",
)  # macOS file sharing; no effect on Linux
_TMPFS_DEFAULTS: Final = ("noexec", "nosuid", "nodev")
_TMPFS_FLAGS: Final = frozenset(
    "exec noexec suid nosuid dev nodev ro rw async sync dirsync noatime atime nodiratime diratime relatime "
    "norelatime strictatime nostrictatime remount private rprivate shared rshared slave rslave".split()
)
_TMPFS_VALUES: Final = frozenset("size mode uid gid nr_inodes nr_blocks mpol huge".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMount:
    """A mount that the client asked for. options: as in config.json; mode: as inspect shows them.

    make_source: a missing source folder is made (as `-v` does); otherwise it is an error.
    """

    kind: Literal["bind", "tmpfs"]
    source: str
    target: str
    options: tuple[str, ...]
    mode: str = ""
    read_only: bool = False
    propagation: str = ""
    make_source: bool = False


def parse_mounts(host: docker.HostConfig) -> tuple[UserMount, ...]:
    """Read Binds, Mounts and Tmpfs, sorted so that a parent comes before what lies in it.

    Raises:
        InvalidArgument: a bad entry, or two at one place.
        Unsupported: volumes and other kinds that are not there yet.
    """
    mounts = [parse_bind(text) for text in host.Binds]
    mounts += [_parse_mount(mount) for mount in host.Mounts]
    mounts += [_parse_tmpfs(path, options) for path, options in host.Tmpfs.items()]
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)
    return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))


def parse_bind(text: str) -> UserMount:
    """Read `source:target[:options]`.

    Raises:
        InvalidArgument: another form.
        Unsupported: a volume, named or anonymous.
    """
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        raise Unsupported(
            f"not supported yet: anonymous volume {text!r}", hint="bind a folder: /folder:/target"
        )
    source, target = parts[0], _check_target(parts[1], text)
    if not source.startswith("/"):
        raise Unsupported(
            f"not supported yet: named volume {source!r}", hint="bind a folder: /folder:/target"
        )
    words = parts[2].split(",") if len(parts) == 3 else []
    propagation = ""
    read_only = False
    for word in words:
        if word in _PROPAGATION:
            propagation = word
        elif word in ("ro", "readonly"):
            read_only = True
        elif word not in ("rw", "z", "Z", *_CONSISTENCY[1:]):
            raise InvalidArgument(f"invalid mode: {parts[2]}", hint=f"in {text!r}: unknown option {word!r}")
    if "ro" in words and "rw" in words:
        raise InvalidArgument(f"invalid mode: {parts[2]}")
    return UserMount(
        kind="bind",
        source=posixpath.normpath(source),
        target=target,
        options=_bind_options(propagation, "rro" if read_only else "rw"),
        mode=",".join(words),
        read_only=read_only,
        propagation=propagation or "rprivate",
        make_source=True,
    )


def _bind_options(propagation: str, access: str, *, recursive: bool = True) -> tuple[str, ...]:
    return ("rbind" if recursive else "bind", propagation or "rprivate", access)


def _parse_mount(mount: docker.Mount) -> UserMount:
    what = f'invalid mount config for type "{mount.Type}"'
    if mount.Type in ("", "volume", "image", "npipe", "cluster"):
        if mount.Type == "npipe":
            raise InvalidArgument(f"{what}: named pipes exist on Windows only")
        raise Unsupported(f"not supported yet: mount of type {mount.Type or 'volume'!r} at {mount.Target!r}")
    if mount.Type not in ("bind", "tmpfs"):
        raise InvalidArgument(f"mount type unknown: {mount.Type!r}")
    if mount.Consistency not in _CONSISTENCY:
        raise InvalidArgument(f"{what}: unknown consistency {mount.Consistency!r}")
    for kind, options in (
        ("bind", mount.BindOptions),
        ("volume", mount.VolumeOptions),
        ("image", mount.ImageOptions),
        ("tmpfs", mount.TmpfsOptions),
    ):
        if options is not None and kind != mount.Type and options != type(options)():
            raise InvalidArgument(f"{what}: {kind.title()}Options must not be specified")
    target = _check_target(mount.Target, what)
    return _parse_bind_mount(mount, target) if mount.Type == "bind" else _parse_tmpfs_mount(mount, target)


def _parse_bind_mount(mount: docker.Mount, target: str) -> UserMount:
    what = 'invalid mount config for type "bind"'
    if not mount.Source:
        raise InvalidArgument(f"{what}: field Source must not be empty")
    if not mount.Source.startswith("/"):
        raise InvalidArgument(f"{what}: invalid mount path: '{mount.Source}' mount path must be absolute")
    options = mount.BindOptions or docker.BindOptions()
    if options.Propagation and options.Propagation not in _PROPAGATION:
        raise InvalidArgument(f"{what}: invalid propagation mode: {options.Propagation}")
    if options.ReadOnlyForceRecursive and (
        options.NonRecursive or options.ReadOnlyNonRecursive or not mount.ReadOnly
    ):
        raise InvalidArgument(
            f"{what}: ReadOnlyForceRecursive needs a recursive, read-only mount and contradicts the others"
        )
    recursive_ro = not (options.NonRecursive or options.ReadOnlyNonRecursive)
    access = ("rro" if recursive_ro else "ro") if mount.ReadOnly else "rw"
    return UserMount(
        kind="bind",
        source=posixpath.normpath(mount.Source),
        target=target,
        options=_bind_options(options.Propagation, access, recursive=not options.NonRecursive),
        read_only=mount.ReadOnly,
        propagation=options.Propagation or "rprivate",
        make_source=options.CreateMountpoint,
    )


def _parse_tmpfs_mount(mount: docker.Mount, target: str) -> UserMount:
    what = 'invalid mount config for type "tmpfs"'
    if mount.Source:
        raise InvalidArgument(f"{what}: field Source must not be specified")
    options = mount.TmpfsOptions or docker.TmpfsOptions()
    if options.SizeBytes < 0:
        raise InvalidArgument(f"{what}: size must be above 0")
    words = ["ro"] if mount.ReadOnly else []
    words += [f"size={options.SizeBytes}"] if options.SizeBytes else []
    words += [f"mode={options.Mode:o}"] if options.Mode else []
    words += ["=".join(pair) for pair in options.Options]
    return _tmpfs(target, words, what)


def _parse_tmpfs(path: str, text: str) -> UserMount:
    return _tmpfs(_check_target(path, f"tmpfs {path!r}"), text.split(",") if text else [], f"tmpfs {path!r}")


def _tmpfs(target: str, words: Sequence[str], what: str) -> UserMount:
    for word in words:
        key, equals, value = word.partition("=")
        if not (word in _TMPFS_FLAGS or (key in _TMPFS_VALUES and equals and value)):
            raise InvalidArgument(f"{what}: invalid tmpfs option {word!r}")
    propagation = [word for word in words if word in _PROPAGATION]
    defaults = [
        word for word in _TMPFS_DEFAULTS if word.removeprefix("no") not in words and word not in words
    ]
    return UserMount(
        kind="tmpfs",
        source="",
        target=target,
        options=(*defaults, *words, *(() if propagation else ("rprivate",))),
        mode=",".join(words),
        read_only="ro" in words,
    )


def _check_target(target: str, what: str) -> str:
    if not target:
        raise InvalidArgument(f"{what}: field Target must not be empty")
    if not target.startswith("/"):
        raise InvalidArgument(f"{what}: invalid mount path: '{target}' mount path must be absolute")
    if "\0" in target:
        raise InvalidArgument(f"{what}: invalid mount path: NUL inside")
    clean = posixpath.normpath("/" + target.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"{what}: invalid specification: destination can't be '/'")
    return clean


def make_mounts(plan: BundlePlan, user_mounts: Sequence[UserMount]) -> list[Document]:
    """Return `mounts` of config.json, in the order they are made."""
    taken = {mount.target for mount in user_mounts}
    mounts = [mount for mount in _default_mounts(plan) if mount["destination"] not in taken]
    mounts += [mount for mount in _file_mounts(plan) if mount["destination"] not in taken]
    mounts += [_document(mount) for mount in user_mounts]
    return mounts


def _default_mounts(plan: BundlePlan) -> Iterable[Document]:
    ipc = parse_ipc_mode(plan.host.IpcMode)
    for destination, kind, source, options in posture.MOUNTS:
        if destination == "/dev/shm":  # noqa: S108 -- inside the container
            if ipc == "none":
                continue
            if ipc == "host":
                yield _mount(destination, "bind", destination, ("rbind", "rprivate", *posture.SHM_FLAGS))
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


def _document(mount: UserMount) -> Document:
    return _mount(mount.target, mount.kind, mount.source or mount.kind, mount.options)


def _mount(destination: str, kind: str, source: str, options: Iterable[str]) -> Document:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def root_propagation(user_mounts: Iterable[UserMount]) -> str:
    """Return `linux.rootfsPropagation`: as wide as the widest mount below needs, "" for the default."""
    kinds = {mount.propagation.removeprefix("r") for mount in user_mounts}
    return "shared" if "shared" in kinds else "rslave" if "slave" in kinds else ""
