"""What a listener lets its clients do: the role of a scoped socket (docs/access.md).

A role belongs to the listener, never to anything a client sends. The router decides first which handler a
request means; the role is asked about that decision, so there is no second reading of the path that could
differ. What the table does not name is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sampan.errors import Forbidden, InvalidArgument

Role = Literal["full", "read-only", "run-only"]
# free: no container is named; own: the container, own-exec: the exec's container must be the listener's own.
Right = Literal["free", "own", "own-exec"]

OWNER: Final = "org.sampan.owner"  # an annotation: no image can set one, and run-only clients may not
_OURS: Final = "/sampan/v1"

_READ_ONLY: Final[dict[tuple[str, str], Right]] = {
    (method, pattern): "free"
    for method, pattern in (
        ("GET", "/_ping"),
        ("HEAD", "/_ping"),
        ("GET", "/version"),
        ("GET", "/info"),
        ("GET", "/events"),
        ("GET", "/system/df"),
        ("GET", "/containers/json"),
        ("GET", "/containers/{id}/json"),
        ("GET", "/containers/{id}/top"),
        ("GET", "/containers/{id}/logs"),
        ("GET", "/containers/{id}/stats"),
        ("GET", "/containers/{id}/changes"),
        ("POST", "/containers/{id}/wait"),
        ("GET", "/exec/{id}/json"),
        ("GET", "/images/json"),
        ("GET", "/images/{name}/json"),
        ("GET", "/images/{name}/history"),
        ("GET", "/networks"),
        ("GET", "/networks/{id}"),
        ("GET", "/volumes"),
        ("GET", "/volumes/{name}"),
        ("GET", "/plugins"),
        ("GET", f"{_OURS}/containers/{{id}}/logs"),
        ("GET", f"{_OURS}/containers/{{id}}/explain"),
        ("GET", f"{_OURS}/containers/{{id}}/anatomy"),
        ("GET", f"{_OURS}/networks/{{id}}/anatomy"),
        ("GET", f"{_OURS}/stats"),
        ("GET", f"{_OURS}/system/df"),
        ("GET", f"{_OURS}/system/status"),
    )
}
_OWN: Final = (
    *(("GET", verb) for verb in "json top logs stats changes archive export attach/ws".split()),
    ("HEAD", "archive"),
    ("PUT", "archive"),
    *(("POST", verb) for verb in "start stop restart kill pause unpause wait resize attach exec".split()),
)
_RUN_ONLY: Final[dict[tuple[str, str], Right]] = {
    ("GET", "/_ping"): "free",
    ("HEAD", "/_ping"): "free",
    ("GET", "/version"): "free",
    ("GET", "/images/json"): "free",
    ("GET", "/images/{name}/json"): "free",
    ("GET", "/containers/json"): "free",  # the handler leaves others' containers out
    ("POST", "/containers/create"): "free",  # the body is checked where it is read (Call.body)
    ("DELETE", "/containers/{name}"): "own",
    **{(method, f"/containers/{{id}}/{verb}"): "own" for method, verb in _OWN},
    ("POST", "/exec/{id}/start"): "own-exec",
    ("POST", "/exec/{id}/resize"): "own-exec",
    ("GET", "/exec/{id}/json"): "own-exec",
    ("POST", f"{_OURS}/run"): "free",
    ("POST", f"{_OURS}/containers/{{id}}/start"): "own",
    ("POST", f"{_OURS}/containers/{{id}}/attach"): "own",
    ("POST", f"{_OURS}/containers/{{id}}/stop"): "own",
    ("POST", f"{_OURS}/containers/{{id}}/exec"): "own",
    ("GET", f"{_OURS}/containers/{{id}}/logs"): "own",
    ("DELETE", f"{_OURS}/containers/{{id}}/logs"): "own",
    ("GET", f"{_OURS}/containers/{{id}}/explain"): "own",
    ("GET", f"{_OURS}/containers/{{id}}/anatomy"): "own",
}
TABLES: Final[dict[str, dict[tuple[str, str], Right]]] = {"read-only": _READ_ONLY, "run-only": _RUN_ONLY}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedBind:
    """A directory of the host that run-only clients may bind: it alone, nothing below it by another name."""

    path: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The rights of one listener. owner: whose containers are its own."""

    role: Role = "full"
    owner: str = ""
    binds: Sequence[AllowedBind] = ()
    is_network: bool = False  # TCP: a browser may be the client
    is_local_network: bool = False  # plain TCP on loopback: only names of this machine are meant for it

    def right(self, method: str, pattern: str) -> Right:
        """Return what the route with this pattern asks of the container it names.

        Raises:
            Forbidden: the role does not include the route.
        """
        if self.role == "full":
            return "free"
        found = TABLES[self.role].get((method, pattern))
        if found is None:
            raise Forbidden(
                f"{method} {pattern} is not allowed on a {self.role} socket", hint="see docs/access.md"
            )
        return found

    def owns(self, annotations: object) -> bool:
        """Tell whether a container with these annotations is one that this listener may see."""
        if self.role != "run-only":
            return True
        return isinstance(annotations, dict) and annotations.get(OWNER) == self.owner


FULL: Final = Scope()
PLAIN_TCP: Final = Scope(is_network=True, is_local_network=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketWish:
    """One `--socket`. group "": none; mode None: 0660 with a group, else 0600."""

    path: str
    scope: Scope
    group: str = ""
    mode: int | None = None


def parse_socket(text: str) -> SocketWish:
    """Read `PATH,role=…[,group=…][,mode=…][,owner=…][,bind=DIR[:ro]]…`.

    Raises:
        InvalidArgument: a part is missing, unknown or wrong.
    """
    path, *parts = text.split(",")
    path = path.removeprefix("unix://")
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidArgument(f"--socket {text!r}: {path!r} is no absolute path")
    pairs = [part.partition("=")[::2] for part in parts]
    given = dict(pairs)
    for key, value in pairs:
        if key not in ("role", "group", "mode", "owner", "bind") or not value:
            raise InvalidArgument(f"--socket {text!r}: {key!r} is not role=, group=, mode=, owner= or bind=")
    role = given.get("role", "")
    if role not in get_args(Role):
        raise InvalidArgument(f"--socket {text!r}: role is not one of {', '.join(get_args(Role))}")
    scope = Scope(
        role=role,  # type: ignore[arg-type]  # checked just now
        owner=given.get("owner", path),
        binds=tuple(_parse_bind(value) for key, value in pairs if key == "bind"),
    )
    return SocketWish(
        path=path, scope=scope, group=given.get("group", ""), mode=_parse_mode(given.get("mode"), text)
    )


def _parse_bind(text: str) -> AllowedBind:
    path, colon, option = text.partition(":")
    if not path.startswith("/") or (colon and option != "ro") or "/../" in f"{path}/":
        raise InvalidArgument(f"bind={text!r} is not /directory or /directory:ro")
    return AllowedBind(path=path.rstrip("/") or "/", read_only=bool(colon))


def _parse_mode(text: str | None, whole: str) -> int | None:
    if text is None:
        return None
    if not text or len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) & 0o7111:
        raise InvalidArgument(f"--socket {whole!r}: mode {text!r} is not octal reading and writing, like 660")
    return int(text, 8)
