"""The query of POST /build as a request; what this version cannot do is refused by name."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sampan.daemon.call import Call
from sampan.engine.images.remote import parse_server_address
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.references import Reference, parse_tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.build.attestation_options import Wanted
    from sampan.build.cache_options import CacheFromOption, CacheToOption
    from sampan.build.cache_places import CacheFrom, CacheTo
    from sampan.build.host import Limits
    from sampan.build.request import BuildRequest
    from sampan.daemon.buildkit.version2 import Asked

_OURS: Final = "/sampan/"


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
        no_cache_stages=frozenset(name.lower() for name in _names(call, "nocachefilter")),
        pull=call.flag("pull"),
        platform=call.text("platform"),
        network=_network(call.text("networkmode")),
        extra_hosts=call.request.query.getall("extrahosts", []),
        limits=_limits(call),
        explain=call.flag("explain"),
        squash=call.flag("squash"),
        cache_from=_caches_from(call),
        cache_to=_caches_to(call),
        attestations=_attestations(call),
        registry_auth=read_registry_config(call.request.headers.get("X-Registry-Config", "")),
    )


def read_asked(call: Call) -> Asked:
    """Read the query of a build by BuildKit (`version=2`).

    Raises:
        InvalidArgument: a value is malformed.
    """
    from sampan.daemon.buildkit.version2 import Asked

    return Asked(
        build_id=call.text("buildid") or os.urandom(16).hex(),
        session=call.text("session"),
        remote=call.text("remote"),
        dockerfile=call.text("dockerfile"),
        target=call.text("target"),
        tags=[str(tag) for tag in _tags(call)],
        build_args=_arguments(call),
        labels=_texts(call, "labels"),
        cache_from=_names(call, "cachefrom"),
        extra_hosts=call.request.query.getall("extrahosts", []),
        network=call.text("networkmode"),
        platform=call.text("platform"),
        outputs=call.text("outputs"),
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
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
        raise Unsupported("version=2 is for POST /build only")
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


def _caches_from(call: Call) -> list[CacheFrom]:
    """Read `cachefrom`: classic's names of images that are here, and what `--cache-from` of buildx takes."""
    from sampan.build.cache_options import parse_cache_from
    from sampan.build.cache_places import CacheFrom

    asks = call.request.path.startswith(_OURS)  # classic knows images that are here only
    options = [parse_cache_from(text) for text in _names(call, "cachefrom")]
    _check_local(call, options)
    return [CacheFrom(option, asks=asks or not option.plain) for option in options]


def _caches_to(call: Call) -> list[CacheTo]:
    from sampan.build.cache_options import parse_cache_to
    from sampan.build.cache_places import CacheTo

    options = [parse_cache_to(text) for text in _names(call, "cacheto")]
    _check_local(call, options)
    return [CacheTo(option) for option in options]


def _attestations(call: Call) -> Wanted:
    from sampan.build.attestation_options import parse_attestations

    wanted = parse_attestations(_names(call, "attest"))
    if wanted and not _tags(call):
        raise InvalidArgument("attestations belong to an image's name, and it has none; give it one (--tag)")
    return wanted


def _check_local(call: Call, options: Sequence[CacheFromOption | CacheToOption]) -> None:
    """Refuse directories of the client where there is no way to them."""
    if not call.request.path.startswith(_OURS) and any(one.kind == "local" for one in options):
        raise Unsupported("a cache of type=local cannot be reached by this client", hint="use type=registry")


def _names(call: Call, name: str) -> list[str]:
    text = call.text(name)
    if not text:
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"error reading {name}: {exc}") from exc
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidArgument(f"error reading {name}: not a list of strings")
    return list(found)


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
