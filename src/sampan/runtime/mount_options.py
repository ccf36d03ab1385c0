"""What the options of one entry of `mounts` mean: attributes, propagation, data for the file system. Lean.

Source: OCI runtime-spec v1.2, config.md, "Linux mount options"; mount(8); mount_setattr(2).
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.kernel import constants as k
from sampan.lean import record

# name: (attributes to set, attributes to clear); with an r in front the whole tree is meant.
_ATTRIBUTES = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0),
    "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (k.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, k.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (k.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, k.MOUNT_ATTR_NODIRATIME),
    "noatime": (k.MOUNT_ATTR_NOATIME, k.MOUNT_ATTR__ATIME),
    "atime": (k.MOUNT_ATTR_RELATIME, k.MOUNT_ATTR__ATIME),
    "relatime": (k.MOUNT_ATTR_RELATIME, k.MOUNT_ATTR__ATIME),
    "norelatime": (k.MOUNT_ATTR_STRICTATIME, k.MOUNT_ATTR__ATIME),
    "strictatime": (k.MOUNT_ATTR_STRICTATIME, k.MOUNT_ATTR__ATIME),
    "nostrictatime": (k.MOUNT_ATTR_RELATIME, k.MOUNT_ATTR__ATIME),
}
_RECURSIVE = {f"r{name}": change for name, change in _ATTRIBUTES.items()}
_PROPAGATION = {
    "private": (k.MS_PRIVATE, False),
    "shared": (k.MS_SHARED, False),
    "slave": (k.MS_SLAVE, False),
    "unbindable": (k.MS_UNBINDABLE, False),
    "rprivate": (k.MS_PRIVATE, True),
    "rshared": (k.MS_SHARED, True),
    "rslave": (k.MS_SLAVE, True),
    "runbindable": (k.MS_UNBINDABLE, True),
}
# Flags of the file system itself; a bind mount shares it with others and cannot change them.
_SUPERBLOCK = {
    "sync": "sync",
    "async": "async",
    "dirsync": "dirsync",
    "lazytime": "lazytime",
    "nolazytime": "nolazytime",
    "mand": "mand",
    "nomand": "nomand",
    "iversion": "iversion",
    "noiversion": "noiversion",
    "acl": "acl",
    "noacl": "noacl",
}
_OFF_BY_DEFAULT = frozenset(("async", "nolazytime", "nomand", "noiversion"))
_WITHOUT_EFFECT = frozenset(("defaults", "loud", "silent", "remount"))
_IDMAP = {"idmap": False, "ridmap": True}
_BIND = {"bind": False, "rbind": True}
_SUBDIR = "X-mount.subdir="  # mount(8): a bind mount of what lies below its source

KNOWN_OPTIONS = tuple(
    sorted(
        {
            *_ATTRIBUTES,
            *_RECURSIVE,
            *_PROPAGATION,
            *_SUPERBLOCK,
            *_WITHOUT_EFFECT,
            *_IDMAP,
            *_BIND,
            "tmpcopyup",
        }
    )
)


@record
class MountOptions:
    """The options of one mount, sorted by who acts on them.

    bind, idmap: None for no, else whether the whole tree is meant. tree_set, tree_clear: for every mount of a
    recursive bind. subdir: an unsafe path inside a bind's source. propagation: (`MS_*`, recursive) in order.
    data: "key" or "key=value" for the file system.
    """

    bind: bool | None = None
    attr_set: int = 0
    attr_clear: int = 0
    tree_set: int = 0
    tree_clear: int = 0
    propagation: tuple[tuple[int, bool], ...] = ()
    idmap: bool | None = None
    copy_up: bool = False
    subdir: str = ""
    data: tuple[str, ...] = ()


def parse_options(options: tuple[str, ...], *, is_bind: bool, where: str) -> MountOptions:
    """Sort mount options; the last of contradicting ones wins.

    Raises:
        InvalidArgument: a bind mount has an option that only a file system could heed; where names the field.
    """
    changes = {False: [0, 0], True: [0, 0]}
    propagation = []
    data = []
    bind = False if is_bind else None
    idmap = None
    subdir = ""
    for option in options:
        if option.startswith(_SUBDIR) and is_bind:
            subdir = option[len(_SUBDIR) :]
        elif option in _ATTRIBUTES:
            _apply(changes[False], _ATTRIBUTES[option])
        elif option in _RECURSIVE:
            _apply(changes[True], _RECURSIVE[option])
        elif option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        elif option in _BIND:
            bind = _BIND[option]
        elif option in _IDMAP:
            idmap = _IDMAP[option]
        elif (
            option not in _WITHOUT_EFFECT
            and option != "tmpcopyup"
            and option not in _OFF_BY_DEFAULT
            and option
        ):
            data.append(option)
    if bind is not None and data:
        raise InvalidArgument(f"{where}.options: a bind mount cannot have {data[0]!r}")
    return MountOptions(
        bind=bind,
        attr_set=changes[False][0],
        attr_clear=changes[False][1],
        tree_set=changes[True][0],
        tree_clear=changes[True][1],
        propagation=tuple(propagation),
        idmap=idmap,
        copy_up="tmpcopyup" in options,
        subdir=subdir,
        data=tuple(data),
    )


def _apply(change: list[int], attribute: tuple[int, int]) -> None:
    """Add one option to (set, clear); what it clears it also takes out of set, and the other way round."""
    to_set, to_clear = attribute
    change[0] = change[0] & ~to_clear | to_set
    change[1] = change[1] & ~to_set | to_clear
