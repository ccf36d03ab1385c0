"""`POST /build?version=2`: how docker 20.10 asks for BuildKit (`DOCKER_BUILDKIT=1`), without `POST /grpc`.

```
client: POST /session                                       serves its files, as ever
client: POST /build?version=2&session=…&buildid=B&remote=…  answer: {"id":"moby.buildkit.trace","aux":…} …
client: POST /build?version=2&buildid=upload-request:B      the context, if it is a tar on standard input
```

The query becomes a Solve that names its frontend; a trace is a StatusResponse. Source: docker/cli 20.10,
cli/command/image/build_buildkit.go; moby 20.10, builder/builder-next/builder.go and api/types.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.options import FRONTEND
from sampan.errors import InvalidArgument, Unsupported

UPLOAD: Final = "upload-request"
_SESSION: Final = "client-session"
_NETWORKS: Final = ("none", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The query, taken apart."""

    build_id: str
    session: str
    remote: str
    dockerfile: str
    target: str
    tags: Sequence[str]
    build_args: Mapping[str, str | None]
    labels: Mapping[str, str | None]
    cache_from: Sequence[str]
    extra_hosts: Sequence[str]
    network: str
    platform: str
    outputs: str
    no_cache: bool
    pull: bool


def make_solve(asked: Asked) -> m.ControlSolveRequest:
    """Return the request that a query means.

    Raises:
        InvalidArgument: a value is malformed, or none that BuildKit takes.
    """
    if not asked.session:
        raise InvalidArgument("version=2 needs a session", hint="set DOCKER_BUILDKIT=0")
    options = {
        "filename": asked.dockerfile,
        "target": asked.target,
        "context": "" if asked.remote == _SESSION else asked.remote,
        "platform": asked.platform,
        "cache-from": ",".join(filter(None, asked.cache_from)),
        "add-hosts": ",".join(host.replace(":", "=", 1) for host in asked.extra_hosts),
        "force-network-mode": _network(asked.network),
        "image-resolve-mode": "pull" if asked.pull else "",
    }
    options = {name: value for name, value in options.items() if value}
    if asked.no_cache:
        options["no-cache"] = ""
    options |= {f"build-arg:{name}": value for name, value in asked.build_args.items() if value is not None}
    options |= {f"label:{name}": value or "" for name, value in asked.labels.items()}
    kind, attributes = _output(asked.outputs)
    if asked.tags:
        attributes["name"] = ",".join(asked.tags)
    return m.ControlSolveRequest(
        ref=asked.build_id,
        session=asked.session,
        frontend=FRONTEND,
        frontend_attrs=options,
        exporter=kind,
        exporter_attrs=attributes,
        entitlements=["network.host"] if asked.network == "host" else [],
    )


def _network(mode: str) -> str:
    if mode in ("", "default"):
        return ""
    if mode not in _NETWORKS:
        raise InvalidArgument(
            f"network mode {mode!r} not supported by buildkit", hint="set DOCKER_BUILDKIT=0"
        )
    return mode


def _output(text: str) -> tuple[str, dict[str, str]]:
    """Read `outputs`: `[{"Type":…,"Attrs":{…}}]`."""
    try:
        found = json.loads(text) if text else []
        outputs = [(str(one["Type"]), dict(one.get("Attrs") or {})) for one in found or ()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InvalidArgument(f"error reading outputs: {exc}") from exc
    if len(outputs) > 1:
        raise Unsupported("multiple outputs not supported")
    return outputs[0] if outputs else ("moby", {})


def trace(told: m.StatusResponse) -> dict[str, object]:
    """Return progress as an object of the stream."""
    return {"id": "moby.buildkit.trace", "aux": base64.b64encode(told.SerializeToString()).decode()}
