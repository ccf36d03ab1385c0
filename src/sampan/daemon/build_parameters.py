"""The query of POST /build as a request; what this version cannot do is refused by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from sampan.daemon.call import Call
from sampan.engine.remote_images import parse_server_address
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.references import Reference, parse_tagged

if TYPE_CHECKING:
    from sampan.build.host import Limits
    from sampan.build.request import BuildRequest


def read_request(call: Call) -> BuildRequest:
    """Read the query.

    Raises:
        InvalidArgument: a value is malformed. Unsupported: it asks for what is not there yet.
    """
    from sampan.build.request import BuildRequest

    _refuse(call)
    return BuildRequest(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=_tags(call),
        target=call.text("target"),
        build_args=_arguments(call),
        labels={name: value or "" for name, value in _texts(call, "labels").items()},
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
        platform=call.text("platform"),
        network=_network(call.text("networkmode")),
        extra_hosts=call.request.query.getall("extrahosts", []),
        limits=_limits(call),
        explain=call.flag("explain"),
        squash=call.flag("squash"),
        registry_auth=read_registry_config(call.request.headers.get("X-Registry-Config", "")),
    )


def read_registry_config(header: str) -> Callable[[str], str]:
    """Return a finder of credentials in `X-Registry-Config`: base64url of `{registry: AuthConfig}`.

    What cannot be read is nobody's, as in `X-Registry-Auth`. Docker Hub is there under its URL.
    """
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        document = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        document = {}
    found: dict[str, str] = {}
    for name, one in document.items() if isinstance(document, dict) else ():
        if isinstance(one, dict):
            with suppress(InvalidArgument):
                found[parse_server_address(name)] = base64.urlsafe_b64encode(
                    json.dumps(one).encode()
                ).decode()
    return lambda domain: found.get(domain, "")


def _refuse(call: Call) -> None:
    if call.text("securityopt"):
        raise InvalidArgument(
            "The daemon on this platform does not support setting security options on build"
        )
    if call.text("version") == "2":
        raise Unsupported("not supported yet: builds by BuildKit; set DOCKER_BUILDKIT=0")
    for name in ("outputs", "session"):
        if call.text(name):
            raise Unsupported(f"not supported yet: {name} {call.text(name)!r}")


def _tags(call: Call) -> list[Reference]:
    found: dict[str, Reference] = {}
    for text in call.request.query.getall("t", []):
        if text:
            reference = parse_tagged(text)
            found.setdefault(str(reference), reference)
    return list(found.values())


def _texts(call: Call, name: str) -> dict[str, str | None]:
    text = call.text(name)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"error reading {name}: {exc}") from exc
    if not isinstance(found, dict) or not all(isinstance(one, str | None) for one in found.values()):
        raise InvalidArgument(f"error reading {name}: not an object of strings")
    return found


def _arguments(call: Call) -> dict[str, str | None]:
    return _texts(call, "buildargs")


def _network(mode: str) -> str:
    return "" if mode == "default" else mode


def _limits(call: Call) -> Limits:
    from sampan.build.host import Limits

    def number(name: str) -> int:
        return call.whole(name) or 0

    return Limits(
        memory=number("memory"),
        memory_swap=number("memswap"),
        cpu_shares=number("cpushares"),
        cpu_period=number("cpuperiod"),
        cpu_quota=number("cpuquota"),
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        shm_size=number("shmsize"),
        cgroup_parent=call.text("cgroupparent"),
        ulimits=_ulimits(call.text("ulimits")),
    )


def _ulimits(text: str) -> tuple[tuple[str, int, int], ...]:
    if not text:
        return ()
    try:
        return tuple((str(one["Name"]), int(one["Soft"]), int(one["Hard"])) for one in json.loads(text) or ())
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InvalidArgument(f"error reading ulimits: {exc}") from exc
