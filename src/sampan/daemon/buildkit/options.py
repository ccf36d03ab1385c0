"""The options of the frontend `dockerfile.v0` as a build's request.

Source: BuildKit, frontend/dockerui/config.go, frontend/dockerfile/docs; buildx, build/opt.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sampan.build.attestation_options import Wanted, parse_attestations
from sampan.build.host import Limits
from sampan.build.remotes import find_remote
from sampan.daemon.buildkit.subrequests import check_subrequest
from sampan.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from sampan.build.request import BuildRequest

FRONTEND: Final = "dockerfile.v0"
_ARGUMENT: Final = "build-arg:"
_LABEL: Final = "label:"
_CONTEXT: Final = "context:"
_ATTEST: Final = "attest:"
_UNHEEDED: Final = ("type", "inline-only", "generator", "version", "builder-id", "filename", "reproducible")
_UPLOADED: Final = "http://buildkit-session/"  # a tar stream on the client's standard input


@dataclass(frozen=True, slots=True)
class Local:
    """A directory that the client serves under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository or archive by URL; is_upload: the client sends it itself."""

    url: str
    is_upload: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource:
    """A named context: one of an image, a directory that the client serves, a URL."""

    image: str = ""
    local: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where files are. dockerfile_directory: what the client serves the Dockerfile in, "" for the context."""

    dockerfile: str
    dockerfile_directory: str
    context: Local | Remote
    named: Mapping[str, NamedSource]


def read_sources(options: Mapping[str, str]) -> Sources:
    """Read where the files are.

    Raises:
        Unsupported: a named context is of a kind that is not there yet.
    """
    url = options.get("context", "")
    directory = options.get("dockerfilekey", "")
    return Sources(
        dockerfile=options.get("filename") or "Dockerfile",
        dockerfile_directory=directory if url else directory or "dockerfile",
        context=Remote(url, url.startswith(_UPLOADED))
        if url
        else Local(options.get("contextkey") or "context"),
        named={name.lower(): _named(name, value) for name, value in _with_prefix(options, _CONTEXT)},
    )


def _named(name: str, value: str) -> NamedSource:
    kind, sign, rest = value.partition(":")
    if "::" in name:
        raise Unsupported(f"not supported yet: a build context for one platform: {name}={value}")
    if kind == "docker-image" and rest.startswith("//"):
        return NamedSource(image=rest[2:])
    if kind == "local" and sign:
        return NamedSource(local=rest)
    if find_remote(value, context=True) is not None:
        return NamedSource(url=value)
    raise Unsupported(f"not supported yet: build context {name}={value}")


def read_request(
    options: Mapping[str, str], *, dockerfile: str, tags: Iterable[str], entitlements: Iterable[str]
) -> BuildRequest:
    """Read everything else.

    Raises:
        InvalidArgument: a value is malformed. Unsupported: it asks for what is not there yet.
    """
    from sampan.build.request import BuildRequest
    from sampan.store.references import parse_tagged

    _refuse(options)
    return BuildRequest(
        dockerfile=dockerfile,
        tags=[parse_tagged(tag) for tag in tags],
        target=options.get("target", ""),
        build_args=dict(_with_prefix(options, _ARGUMENT)),
        labels=dict(_with_prefix(options, _LABEL)),
        no_cache=options.get("no-cache") == "",
        no_cache_stages=_stages(options.get("no-cache", "")),
        pull=options.get("image-resolve-mode") == "pull",
        platform=options.get("platform", ""),
        network=_network(options.get("force-network-mode", "")),
        extra_hosts=_hosts(options.get("add-hosts", "")),
        limits=_limits(options),
        entitlements=frozenset(entitlements),
        attestations=read_attestations(options),
    )


def _refuse(options: Mapping[str, str]) -> None:
    if options.get("requestid"):
        check_subrequest(options["requestid"])


def read_attestations(options: Mapping[str, str]) -> Wanted:
    """Read what is to be told about the image: what the user asks for, not what buildx adds by itself.

    Raises:
        InvalidArgument: another kind, field or value.
    """
    texts = []
    for kind, value in _with_prefix(options, _ATTEST):
        fields = dict(part.partition("=")[::2] for part in value.split(",") if part)
        if fields.get("inline-only") in ("true", "1"):  # buildx's default for every build: as dockerd's, none
            continue
        # Ours lists packages itself, and names no builder.
        known = ["", *(f"{name}={fields[name]}" for name in fields if name not in _UNHEEDED)]
        texts.append(f"type={kind}" + ",".join(known))
    return parse_attestations(texts)


def _stages(text: str) -> frozenset[str]:
    """Return the stages that are not taken from the cache."""
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _with_prefix(options: Mapping[str, str], prefix: str) -> Iterable[tuple[str, str]]:
    """Return the options of one kind by name, sorted: a map comes in any order, an image may not."""
    return [
        (name.removeprefix(prefix), value)
        for name, value in sorted(options.items())
        if name.startswith(prefix)
    ]


def _network(mode: str) -> str:
    return "" if mode in ("default", "sandbox") else mode


def _hosts(text: str) -> list[str]:
    """Return `host=ip,…` as `host:ip`."""
    found = []
    for pair in filter(None, text.split(",")):
        host, sign, address = pair.partition("=")
        if not (host and sign and address):
            raise InvalidArgument(f"invalid add-hosts {pair!r}: not host=address")
        found.append(f"{host}:{address}")
    return found


def _limits(options: Mapping[str, str]) -> Limits:
    def number(name: str) -> int:
        text = options.get(name) or "0"
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(f"invalid {name} {text!r}: no number") from None

    return Limits(
        memory=number("memory"),
        memory_swap=number("memswap"),
        cpu_shares=number("cpushares"),
        cpu_period=number("cpuperiod"),
        cpu_quota=number("cpuquota"),
        cpuset_cpus=options.get("cpusetcpus", ""),
        cpuset_mems=options.get("cpusetmems", ""),
        shm_size=number("shm-size"),
        cgroup_parent=options.get("cgroup-parent", ""),
        ulimits=_ulimits(options.get("ulimit", "")),
    )


def _ulimits(text: str) -> tuple[tuple[str, int, int], ...]:
    found = []
    for one in filter(None, text.split(",")):
        name, sign, values = one.partition("=")
        soft, _, hard = values.partition(":")
        try:
            found.append((name, int(soft), int(hard or soft)))
        except ValueError:
            raise InvalidArgument(f"invalid ulimit {one!r}: not name=soft[:hard]") from None
        if not sign:
            raise InvalidArgument(f"invalid ulimit {one!r}: not name=soft[:hard]")
    return tuple(found)
