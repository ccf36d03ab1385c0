"""`--volume`, `--mount`, `--tmpfs`, `--device`, rates of block devices. Lean; loaded when one is given."""

from __future__ import annotations

import os

from sampan.cli.fields import split_fields
from sampan.cli.outcome import UsageError
from sampan.cli.values import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_TYPES = ("bind", "volume", "tmpfs", "image", "npipe", "cluster")
_OF_TYPE = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "tmpfs": "TmpfsOptions",
    "image": "ImageOptions",
}
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


def add_files(flags: Flags, body: Body, host: Body) -> None:
    """Put the mounts and devices of these flags into a create request.

    Raises:
        UsageError: a value is wrong.
    """
    binds: list[str] = []
    volumes: Body = {}
    for text in flags.items("volume"):
        bind = _parse_volume(text)
        if ":" in bind:
            binds.append(bind)
        else:
            volumes[bind] = {}
    if binds:
        host["Binds"] = binds
    if volumes:
        body["Volumes"] = volumes
    if flags.given("mount"):
        host["Mounts"] = [parse_mount(text) for text in flags.items("mount")]
    if flags.given("tmpfs"):
        split = (text.partition(":") for text in flags.items("tmpfs"))
        host["Tmpfs"] = {path: options for path, _, options in split}
    if flags.given("device"):
        host["Devices"] = [_parse_device(text) for text in flags.items("device")]
    if flags.given("blkio-weight-device"):
        host["BlkioWeightDevice"] = [_parse_weight(text) for text in flags.items("blkio-weight-device")]


def _parse_volume(text: str) -> str:
    """Check `[source:]target[:options]`; a source that starts with `.` is made absolute, `~` our home."""
    parts = text.split(":")
    if not text or len(parts) > 3 or "" in parts[:2]:
        raise UsageError(f"-v, --volume: {text!r} is not [source:]target[:options]")
    target = parts[1] if len(parts) > 1 else parts[0]
    if not target.startswith("/"):
        raise UsageError(f"-v, --volume: {text!r}: mount path {target!r} must be absolute")
    if len(parts) > 1 and parts[0].startswith((".", "~")):
        parts[0] = os.path.abspath(os.path.expanduser(parts[0]))
    return ":".join(parts)


def parse_mount(text: str) -> Body:
    """Return the API's `Mount` for one `--mount` of `key=value` fields separated by commas.

    Raises:
        UsageError: a key or value is unknown, belongs to another type, or type or target is missing.
    """
    mount: Body = {"Type": "volume"}
    options: dict[str, Body] = {}
    for field in split_fields("--mount", text):
        raw_key, equals, value = field.partition("=")
        key = _ALIASES.get(raw_key.strip().lower(), raw_key.strip().lower())
        if not equals and key not in ("readonly", "bind-nonrecursive", "volume-nocopy"):
            raise UsageError(f"--mount: {field!r} in {text!r} is not key=value")
        _set_mount_field(mount, options, key, value if equals else "true", text)
    return _finish_mount(mount, options, text)


def _set_mount_field(mount: Body, options: dict[str, Body], key: str, value: str, text: str) -> None:
    of = options.setdefault
    if key == "type":
        if value.lower() not in _TYPES:
            raise UsageError(f"--mount: type {value!r} in {text!r} is unknown", hint="bind, volume or tmpfs")
        mount["Type"] = value.lower()
    elif key == "source":
        relative = value.startswith((".", "~"))
        mount["Source"] = os.path.abspath(os.path.expanduser(value)) if relative else value
    elif key == "target":
        mount["Target"] = value
    elif key == "readonly":
        mount["ReadOnly"] = _parse_bool(key, value, text)
    elif key == "consistency":
        mount["Consistency"] = value
    elif key == "bind-propagation":
        of("BindOptions", {})["Propagation"] = value
    elif key == "bind-nonrecursive":
        of("BindOptions", {})["NonRecursive"] = _parse_bool(key, value, text)
    elif key == "bind-recursive":
        _set_recursive(of("BindOptions", {}), value, text)
    elif key == "volume-nocopy":
        of("VolumeOptions", {})["NoCopy"] = _parse_bool(key, value, text)
    elif key in ("volume-subpath", "image-subpath"):
        of("VolumeOptions" if key[0] == "v" else "ImageOptions", {})["Subpath"] = value
    elif key == "volume-label":
        name, _, content = value.partition("=")
        _nested(of("VolumeOptions", {}), "Labels")[name] = content
    elif key == "volume-driver":
        _nested(of("VolumeOptions", {}), "DriverConfig")["Name"] = value
    elif key == "volume-opt":
        name, _, content = value.partition("=")
        _nested(_nested(of("VolumeOptions", {}), "DriverConfig"), "Options")[name] = content
    elif key == "tmpfs-size":
        of("TmpfsOptions", {})["SizeBytes"] = parse_size("--mount: tmpfs-size", value)
    elif key == "tmpfs-mode":
        of("TmpfsOptions", {})["Mode"] = _parse_octal(value, text)
    else:
        raise UsageError(f"--mount: unknown key {key!r} in {text!r}", hint=_near_key(key))


def _finish_mount(mount: Body, options: dict[str, Body], text: str) -> Body:
    kind = str(mount["Type"])
    if not mount.get("Target"):
        raise UsageError(f"--mount: {text!r} has no target", hint="add target=/path/in/the/container")
    for name, chosen in options.items():
        if name != _OF_TYPE.get(kind):
            raise UsageError(
                f"--mount: {text!r}: cannot mix {name[:-7].lower()}-* options with mount type {kind!r}"
            )
        mount[name] = chosen
    if kind == "bind" and not mount.get("Source"):
        raise UsageError(f"--mount: {text!r} has no source", hint="add source=/path/on/the/host")
    return mount


def _nested(options: Body, key: str) -> Body:
    inner = options.setdefault(key, {})
    assert isinstance(inner, dict)
    return inner


def _set_recursive(bind: Body, value: str, text: str) -> None:
    if value not in _RECURSIVE:
        raise UsageError(f"--mount: bind-recursive {value!r} in {text!r}", hint=", ".join(_RECURSIVE))
    field = {
        "disabled": "NonRecursive",
        "writable": "ReadOnlyNonRecursive",
        "readonly": "ReadOnlyForceRecursive",
    }
    if value in field:
        bind[field[value]] = True


def _parse_bool(key: str, value: str, text: str) -> bool:
    if value.lower() not in ("true", "1", "false", "0"):
        raise UsageError(f"--mount: {key}={value!r} in {text!r} is neither true nor false")
    return value.lower() in ("true", "1")


def _parse_octal(value: str, text: str) -> int:
    try:
        return int(value, 8)
    except ValueError as exc:
        raise UsageError(
            f"--mount: tmpfs-mode {value!r} in {text!r} is not octal", hint="such as 1777"
        ) from exc


def _near_key(key: str) -> str:
    from sampan.cli.suggest import nearest

    known = (
        "type", "source", "target", "readonly", "consistency", "bind-propagation", "bind-nonrecursive",
        "bind-recursive", "volume-subpath", "volume-nocopy", "volume-label", "volume-driver", "volume-opt",
        "image-subpath", "tmpfs-size", "tmpfs-mode",
    )  # fmt: skip
    found = nearest(key, known)
    return f"did you mean {found}?" if found else "keys: " + " ".join(known)


def _parse_device(text: str) -> Body:
    """Return the API's device for `host[:container[:rwm]]`; `host:rwm` is understood too."""
    host, *others = text.split(":")
    inside, access = host, "rwm"
    if len(others) == 2:
        inside, access = others
    elif others and _is_access(others[0]):
        access = others[0]
    elif others:
        inside = others[0]
    if len(others) > 2 or not host or not _is_access(access):
        raise UsageError(
            f"--device: {text!r} is not host[:container[:permissions]]", hint="permissions: r, w, m"
        )
    if not inside.startswith("/") or not host.startswith("/"):
        raise UsageError(f"--device: {text!r}: a device path must be absolute")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access}


def _is_access(text: str) -> bool:
    return 0 < len(text) <= 3 and set(text) <= set("rwm") and len(set(text)) == len(text)


def _parse_weight(text: str) -> Body:
    path, _, weight = text.rpartition(":")
    if not path.startswith("/dev/") or not weight.isascii() or not weight.isdigit():
        raise UsageError(f"--blkio-weight-device: {text!r} is not /dev/name:weight")
    if not 10 <= int(weight) <= 1000 and int(weight) != 0:
        raise UsageError(f"--blkio-weight-device: weight {weight} is not between 10 and 1000")
    return {"Path": path, "Weight": int(weight)}


def parse_rate(flag: str, text: str) -> Body:
    """Return `{"Path", "Rate"}` for `/dev/name:rate`; rates of `…-bps` flags may have units.

    Raises:
        UsageError: text has another form.
    """
    path, _, rate = text.rpartition(":")
    if not path.startswith("/dev/"):
        raise UsageError(f"{flag}: {text!r} is not /dev/name:rate")
    if flag.endswith("bps"):
        return {"Path": path, "Rate": parse_size(flag, rate)}
    if not rate.isascii() or not rate.isdigit():
        raise UsageError(f"{flag}: {rate!r} in {text!r} is not a whole number")
    return {"Path": path, "Rate": int(rate)}
