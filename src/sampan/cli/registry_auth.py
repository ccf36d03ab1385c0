"""Whom registries know us as: `~/.docker/config.json` and credential helpers, shared with docker. Lean.

Source: docker/cli, cli/config/configfile and docker-credential-helpers' protocol (standard input, JSON out).
"""

from __future__ import annotations

import binascii
import os

from sampan import fastjson
from sampan.cli.outcome import Failed
from sampan.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

    Document = dict[str, JsonValue]

HUB = "https://index.docker.io/v1/"  # Docker Hub's key in the file, for ever
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 -- a helper's name for "the secret is an identity token"
_WAIT_S = 60


def auth_header(image: str) -> list[tuple[str, str]]:
    """Return the header that tells a daemon our credentials for an image's registry, or none."""
    found = find(registry_of(image))
    return [("X-Registry-Auth", _base64url(fastjson.dumps(found).encode()))] if found else []


def all_headers() -> list[tuple[str, str]]:
    """Return the header that tells a daemon every registry's credentials, for a build's bases; or none."""
    config = _read()
    names: list[str] = []
    for section in ("auths", "credHelpers"):
        entries = config.get(section)
        names += entries if isinstance(entries, dict) else ()
    keys = dict.fromkeys(registry_key(name) for name in names)
    found = {key: entry for key in keys if (entry := find(key))}
    return [("X-Registry-Config", _base64url(fastjson.dumps(found).encode()))] if found else []


def registry_of(image: str) -> str:
    """Return the key of an image's registry: its host and port, or Docker Hub's."""
    first, slash, _ = image.partition("/")
    is_domain = slash and (first == "localhost" or "." in first or ":" in first or first != first.lower())
    return registry_key(first) if is_domain else HUB


def registry_key(text: str) -> str:
    """Return the key of a registry as a user names it: `host[:port]`, perhaps as a URL."""
    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if not host or host in _HUB_NAMES else host


def find(key: str) -> Document:
    """Return what is known for a registry, in the API's form (`AuthConfig`); empty if nothing is."""
    config = _read()
    helper = _helper(config, key)
    if helper:
        answer = _ask_helper(helper, "get", key.encode())
        if answer is None:
            return {}
        user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
        if user == _TOKEN_USER:
            return {"identitytoken": secret, "serveraddress": key}
        return {"username": user, "password": secret, "serveraddress": key}
    auths = config.get("auths")
    for name, entry in auths.items() if isinstance(auths, dict) else ():
        if registry_key(name) == key and isinstance(entry, dict):
            return _from_entry(entry, key)
    return {}


def store(key: str, user: str, password: str, *, identity_token: str = "") -> str:
    """Keep credentials; return where: a helper's name or the file's path."""
    config = _read()
    helper = _helper(config, key)
    if helper:
        secret = {
            "ServerURL": key,
            "Username": _TOKEN_USER if identity_token else user,
            "Secret": identity_token or password,
        }
        _ask_helper(helper, "store", fastjson.dumps(secret).encode())
        return f"docker-credential-{helper}"
    auths = config.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise Failed(f"{_path()}: 'auths' is no object")
    entry: Document = {"auth": _base64(f"{user}:{'' if identity_token else password}".encode())}
    if identity_token:
        entry["identitytoken"] = identity_token
    auths[key] = entry
    _write(config)
    return _path()


def erase(key: str) -> bool:
    """Forget credentials; tell whether there were any."""
    config = _read()
    helper = _helper(config, key)
    if helper:
        return _ask_helper(helper, "erase", key.encode()) is not None
    auths = config.get("auths")
    names = [name for name in auths if registry_key(name) == key] if isinstance(auths, dict) else []
    for name in names:
        assert isinstance(auths, dict)
        del auths[name]
    if names:
        _write(config)
    return bool(names)


def _from_entry(entry: Document, key: str) -> Document:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            text = binascii.a2b_base64(str(entry["auth"])).decode()
        except ValueError:
            raise Failed(f"{_path()}: the credentials of {key} are damaged", hint="sampan login") from None
        user, _, password = text.partition(":")
    found: Document = {"username": user, "password": password.rstrip("\0"), "serveraddress": key}
    if entry.get("identitytoken"):
        found = {"identitytoken": str(entry["identitytoken"]), "serveraddress": key}
    return found


def _helper(config: Document, key: str) -> str:
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict) and key in helpers:
        return _check_helper(str(helpers[key]))
    return _check_helper(str(config.get("credsStore") or ""))


def _check_helper(name: str) -> str:
    if "/" in name or name.startswith("."):
        raise Failed(f"{_path()}: {name!r} is no name of a credential helper")
    return name


def _ask_helper(name: str, verb: str, data: bytes) -> Document | None:
    """Return a helper's answer; None if it has no credentials."""
    import subprocess

    program = f"docker-credential-{name}"
    try:
        done = subprocess.run([program, verb], input=data, capture_output=True, timeout=_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Failed(f"credential helper {program} does not work: {exc}") from exc
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        if "credentials not found" in said:
            return None
        raise Failed(f"credential helper {program} failed: {said[:200]}")
    document = fastjson.loads(said) if said else {}
    return document if isinstance(document, dict) else {}


def folder() -> str:
    """Return the directory of docker's files for this user."""
    return os.environ.get("DOCKER_CONFIG") or os.path.join(os.environ.get("HOME", "/"), ".docker")


def _path() -> str:
    return os.path.join(folder(), "config.json")


def _read() -> Document:
    try:
        with open(_path(), "rb") as file:
            document = fastjson.loads(file.read() or b"{}")
    except OSError:
        return {}
    except InvalidArgument as exc:
        raise Failed(f"cannot read {_path()}: {exc}") from exc
    return document if isinstance(document, dict) else {}


def _write(config: Document) -> None:
    """Replace the file; only its owner can read it."""
    write_private(os.path.realpath(_path()), fastjson.dumps(config).encode())


def write_private(path: str, content: bytes) -> None:
    """Write a file anew, in a folder that may be missing: for its owner only, and never half."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fresh = f"{path}.{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _base64url(data: bytes) -> str:
    return _base64(data).replace("+", "-").replace("/", "_")
