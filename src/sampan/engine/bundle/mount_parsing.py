"""Read `Binds`, `Mounts` and `Tmpfs` of a create request, by Docker's grammar.

Source: moby, volume/mounts/linux_parser.go (rules and texts); docs/volumes.md for what is ours.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

from sampan.engine.bundle.idmaps import parse_idmap, parse_owner
from sampan.engine.bundle.mount_wishes import PROPAGATION, IdWish, MountKind, UserMount, bind_options
from sampan.errors import InvalidArgument
from sampan.spec import docker

_CONSISTENCY: Final = ("", "default", "consistent", "cached", "delegated")  # macOS file sharing; no effect
_TMPFS_DEFAULTS: Final = ("noexec", "nosuid", "nodev")
_TMPFS_FLAGS: Final = frozenset(
    "exec noexec suid nosuid dev nodev ro rw async sync dirsync noatime atime nodiratime diratime relatime "
    "norelatime strictatime nostrictatime remount private rprivate shared rshared slave rslave".split()
)
_TMPFS_VALUES: Final = frozenset("size mode uid gid nr_inodes nr_blocks mpol huge".split())
_OPTIONS_OF: Final = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "image": "ImageOptions",
    "tmpfs": "TmpfsOptions",
}


def parse_mounts(host: docker.HostConfig) -> tuple[UserMount, ...]:
    """Read Binds, Mounts and Tmpfs, sorted so that a parent comes before what lies in it.

    Raises:
        InvalidArgument: a bad entry, or two at one place.
    """
    mounts = [parse_bind(text, volume_driver=host.VolumeDriver) for text in host.Binds]
    mounts += [_parse_mount(mount) for mount in host.Mounts]
    mounts += [_parse_tmpfs(path, options) for path, options in host.Tmpfs.items()]
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(mount.target)
    return sort_mounts(mounts)


def sort_mounts(mounts: Sequence[UserMount]) -> tuple[UserMount, ...]:
    """Return mounts in the order in which they are made: parents first."""
    return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))


class _Mode:
    """The third part of `source:target:options`, taken apart; each kind of option may come once."""

    def __init__(self, text: str, *, whole: str) -> None:
        self.read_only = False
        self.propagation = ""
        self.copy: bool | None = None
        self.idmap = ""
        self.owner: dict[str, str] = {}
        seen: set[str] = set()
        for word in text.split(",") if text else ():
            kind = self._take(word)
            if not kind or kind in seen:
                what = "unknown option" if not kind else "a second option of its kind:"
                raise InvalidArgument(f"invalid mode: {text}", hint=f"in {whole!r}: {what} {word!r}")
            seen.add(kind)

    def _take(self, word: str) -> str:
        """Take one word and return its kind, "" for one that is unknown."""
        key, equals, value = word.partition("=")
        if word in ("ro", "rw", "readonly"):
            self.read_only = word != "rw"
            return "access"
        if word in PROPAGATION:
            self.propagation = word
            return "propagation"
        if word in ("copy", "nocopy"):
            self.copy = word == "copy"
            return "copy"
        if key == "idmap":
            self.idmap = word
            return "idmap"
        if key in ("uid", "gid") and equals:
            self.owner[key] = value
            return key
        if word in ("z", "Z"):
            return "label"
        return "consistency" if word in _CONSISTENCY[2:] else ""

    def ids(self, whole: str) -> IdWish | None:
        """Return how owners are to be seen."""
        if self.idmap and self.owner:
            raise InvalidArgument(f"invalid mode in {whole!r}: idmap and uid or gid contradict each other")
        return parse_idmap(self.idmap) if self.idmap else parse_owner(self.owner)


def is_mode(text: str) -> bool:
    """Tell whether text could be the options of a bind."""
    try:
        _Mode(text, whole=text)
    except InvalidArgument:
        return False
    return True


def parse_bind(text: str, *, volume_driver: str = "") -> UserMount:
    """Read `[source:]target[:options]`; a source that is no absolute path names a volume.

    Raises:
        InvalidArgument: another form.
    """
    parts = text.split(":")
    wrong = f"invalid volume specification: '{text}'"
    if not 1 <= len(parts) <= 3 or not all(parts) or (len(parts) == 2 and is_mode(parts[1])):
        raise InvalidArgument(wrong)
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    mode_text = parts[2] if len(parts) == 3 else ""
    mode = _Mode(mode_text, whole=text)
    kind: MountKind = "bind" if source.startswith("/") else "volume"
    what = f'{wrong}: invalid mount config for type "{kind}"'
    target = check_target(target, what)
    if kind == "bind" and mode.copy is not None:
        raise InvalidArgument(f"{what}: field VolumeOptions must not be specified")
    if kind == "volume" and mode.propagation:
        raise InvalidArgument(f"{what}: field BindOptions must not be specified")
    access = "rro" if mode.read_only else ""
    if kind == "volume":
        if not source and mode.read_only:
            raise InvalidArgument(f"{what}: must not set ReadOnly mode when using anonymous volumes")
        return UserMount(
            kind="volume",
            target=target,
            options=bind_options("", access),
            mode=mode_text,
            read_only=mode.read_only,
            name=source,
            driver=volume_driver,
            anonymous=not source,
            copy=mode.copy is not False,
            ids=mode.ids(text),
        )
    return UserMount(
        kind="bind",
        source=posixpath.normpath(source),
        target=target,
        options=bind_options(mode.propagation, access),
        mode=mode_text,
        read_only=mode.read_only,
        propagation=mode.propagation or "rprivate",
        make_source=True,
        ids=mode.ids(text),
    )


def _parse_mount(mount: docker.Mount) -> UserMount:
    what = f'invalid mount config for type "{mount.Type}"'
    if mount.Type == "npipe":
        raise InvalidArgument(f"{what}: named pipes exist on Windows only")
    if mount.Type not in _OPTIONS_OF:
        raise InvalidArgument(f"{what}: mount type unknown")
    if mount.Consistency not in _CONSISTENCY:
        raise InvalidArgument(f"{what}: unknown consistency {mount.Consistency!r}")
    for kind, field in _OPTIONS_OF.items():
        options = getattr(mount, field)
        if options is not None and kind != mount.Type and options != type(options)():
            raise InvalidArgument(f"{what}: field {field} must not be specified")
    target = check_target(mount.Target, what)
    match mount.Type:
        case "bind":
            return _parse_bind_mount(mount, target)
        case "volume":
            return _parse_volume_mount(mount, target)
        case "image":
            return _parse_image_mount(mount, target)
    return _parse_tmpfs_mount(mount, target)


def _parse_bind_mount(mount: docker.Mount, target: str) -> UserMount:
    what = 'invalid mount config for type "bind"'
    if not mount.Source:
        raise InvalidArgument(f"{what}: field Source must not be empty")
    if not mount.Source.startswith("/"):
        raise InvalidArgument(f"{what}: invalid mount path: '{mount.Source}' mount path must be absolute")
    options = mount.BindOptions or docker.BindOptions()
    if options.Propagation and options.Propagation not in PROPAGATION:
        raise InvalidArgument(f"{what}: invalid propagation mode: {options.Propagation}")
    if options.ReadOnlyForceRecursive and (
        options.NonRecursive or options.ReadOnlyNonRecursive or not mount.ReadOnly
    ):
        raise InvalidArgument(
            f"{what}: ReadOnlyForceRecursive needs a recursive, read-only mount and contradicts the others"
        )
    recursive_ro = not (options.NonRecursive or options.ReadOnlyNonRecursive)
    access = ("rro" if recursive_ro else "ro") if mount.ReadOnly else ""
    return UserMount(
        kind="bind",
        source=posixpath.normpath(mount.Source),
        target=target,
        options=bind_options(options.Propagation, access, recursive=not options.NonRecursive),
        read_only=mount.ReadOnly,
        propagation=options.Propagation or "rprivate",
        make_source=options.CreateMountpoint,
    )


def _parse_volume_mount(mount: docker.Mount, target: str) -> UserMount:
    what = 'invalid mount config for type "volume"'
    options = mount.VolumeOptions or docker.VolumeOptions()
    driver = options.DriverConfig or docker.VolumeDriverConfig()
    if not mount.Source and options.Subpath:
        raise InvalidArgument(f"{what}: must not set Subpath when using anonymous volumes")
    if not mount.Source and mount.ReadOnly:
        raise InvalidArgument(f"{what}: must not set ReadOnly mode when using anonymous volumes")
    if options.Subpath:
        check_subpath(options.Subpath, f"{what}: subpath must be a relative path within the volume")
    return UserMount(
        kind="volume",
        target=target,
        options=bind_options("", "rro" if mount.ReadOnly else ""),
        read_only=mount.ReadOnly,
        name=mount.Source,
        driver=driver.Name,
        anonymous=not mount.Source,
        copy=not options.NoCopy and not options.Subpath,
        subpath=options.Subpath,
        labels=options.Labels,
        driver_options=driver.Options,
    )


def _parse_image_mount(mount: docker.Mount, target: str) -> UserMount:
    what = 'invalid mount config for type "image"'
    if not mount.Source:
        raise InvalidArgument(f"{what}: field Source must not be empty")
    options = mount.ImageOptions or docker.ImageOptions()
    if options.Subpath:
        check_subpath(options.Subpath, f"{what}: subpath must be a relative path within the image")
    return UserMount(
        kind="image",
        target=target,
        read_only=True,
        propagation="rprivate",
        name=mount.Source,
        subpath=options.Subpath,
    )


def check_subpath(path: str, message: str) -> None:
    """Refuse a subpath that is no relative path, or leaves what it is a path in.

    Raises:
        InvalidArgument: message.
    """
    clean = posixpath.normpath(path)
    if path.startswith("/") or clean == ".." or clean.startswith("../") or "\0" in path:
        raise InvalidArgument(message)


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
    return _tmpfs(target, words, what, listed=True)


def _parse_tmpfs(path: str, text: str) -> UserMount:
    what = f"tmpfs {path!r}"
    return _tmpfs(check_target(path, what), text.split(",") if text else [], what, listed=False)


def _tmpfs(target: str, words: Sequence[str], what: str, *, listed: bool) -> UserMount:
    for word in words:
        key, equals, value = word.partition("=")
        if not (word in _TMPFS_FLAGS or (key in _TMPFS_VALUES and equals and value)):
            raise InvalidArgument(f"{what}: invalid tmpfs option {word!r}")
    propagation = [word for word in words if word in PROPAGATION]
    defaults = [
        word for word in _TMPFS_DEFAULTS if word.removeprefix("no") not in words and word not in words
    ]
    return UserMount(
        kind="tmpfs",
        target=target,
        options=(*defaults, *words, *(() if propagation else ("rprivate",))),
        mode="" if listed else ",".join(words),
        read_only="ro" in words,
        listed=listed,
    )


def check_target(target: str, what: str) -> str:
    """Return a clean absolute place in the container.

    Raises:
        InvalidArgument: it is relative, empty, or the root; what begins the message.
    """
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
