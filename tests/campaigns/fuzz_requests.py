"""Requests as bytes: over every route with wrong parts, and HTTP that is none."""

# ruff: noqa: E501 -- tables, one case a line
from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tests.campaigns.fuzz_archives import archive, credentials
from tests.campaigns.fuzz_values import HANDS_OFF, PLAUSIBLE, broken, nested, scalar, value, word

from sampan.spec import docker

# Ends the daemon, or asks the package mirror.
NOT_TRIED = frozenset(("/sampan/v1/system/stop", "/sampan/v1/images/bootstrap"))
PARAMETERS = (
    "all limit size filters since until before name platform fromSrc fromImage repo tag changes message force noprune v "
    "link t signal condition stdout stderr stdin stream logs follow timestamps tail details detachKeys h w path "
    "noOverwriteDirNonDir copyUIDGID ps_args one-shot type digests shared-size container comment author pause "
    "quiet names detach verbose term checkpoint manifests dockerfile remote buildargs labels target nocache pull rm "
    "squash version networkmode extrahosts cachefrom outputs session shmsize memory cpusetcpus ulimits scope id"
).split()
BODIES: dict[str, tuple[str, ...]] = {
    "/containers/create": docker.ContainerCreate.__struct_fields__,
    "/sampan/v1/run": docker.ContainerCreate.__struct_fields__,
    "/containers/{id}/update": docker.ContainerUpdate.__struct_fields__,
    "/containers/{id}/exec": docker.ExecCreate.__struct_fields__,
    "/sampan/v1/containers/{id}/exec": docker.ExecCreate.__struct_fields__,
    "/exec/{id}/start": docker.ExecStart.__struct_fields__,
    "/volumes/create": docker.VolumeCreate.__struct_fields__,
    "/networks/create": docker.NetworkCreate.__struct_fields__,
    "/networks/{id}/connect": docker.NetworkConnect.__struct_fields__,
    "/networks/{id}/disconnect": docker.NetworkDisconnect.__struct_fields__,
    "/auth": ("username", "password", "serveraddress", "identitytoken", "registrytoken"),
    "/commit": docker.Config.__struct_fields__,
}
# Take a tar archive.
ARCHIVES = frozenset(
    (
        "/build",
        "/images/load",
        "/containers/{id}/archive",
        "/sampan/v1/volumes/{name}/import",
        "/images/create",
    )
)
FILTERS = "id name label status ancestor before since exited network volume dangling reference type event until health".split()
VERSIONS = (
    "",
    "/v1.24",
    "/v1.41",
    "/v1.51",
    "/v1.51",
    "/v1.23",
    "/v1.52",
    "/v9",
    "/v1.99999999",
    "/v1.4.1",
    "/v",
)


@dataclass(frozen=True)
class Request:
    """What to send. ends: how the client ends its side ("open", "half", "close")."""

    data: bytes
    ends: str = "open"
    patience_s: float = 0.3  # streams last; the campaign does not


class Maker:
    """Makes requests; names: what exists now, as far as anybody knows."""

    def __init__(self, dice: random.Random, routes: Sequence[tuple[str, str]]) -> None:
        self._dice = dice
        self._routes = [route for route in routes if route[1] not in NOT_TRIED]
        self.names: list[str] = ["nobody"]

    def make(self) -> Request:
        """Return the next one."""
        return self._raw() if self._dice.random() < 0.2 else self._routed()

    def _routed(self) -> Request:
        dice = self._dice
        method, pattern = dice.choice(self._routes)
        if dice.random() < 0.05:
            method = dice.choice(
                ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "BREW", "get", "")
            )
        target = dice.choice(VERSIONS) + self._fill(pattern) + self._query(pattern)
        body = self._body(pattern) if method in ("POST", "PUT") or dice.random() < 0.05 else b""
        headers = self._headers(body)
        data = f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode("utf-8", "replace") + body
        return Request(data, dice.choice(("open", "open", "open", "half", "close")))

    def _fill(self, pattern: str) -> str:
        dice = self._dice
        name = (
            dice.choice(self.names)
            if dice.random() < 0.6
            else quote(word(dice)[:300], safe="", errors="replace")
        )
        if "{name}" in pattern and dice.random() < 0.3:
            name = dice.choice(("a/b/c", "localhost:1/x", "busybox:latest", "busybox", "fuzz:1", name))
        if pattern.startswith("/images/") and name.startswith("busybox") and "{name}" == pattern[8:]:
            name = "fuzz:1"  # a DELETE would take the image that everybody uses
        return pattern.replace("{id}", name).replace("{name}", name)

    def _query(self, pattern: str) -> str:
        dice = self._dice
        pairs = []
        for key in dice.sample(PARAMETERS, dice.choice((0, 0, 1, 2, 4))):
            text = self._filters() if key == "filters" else str(scalar(dice))
            if key == "fromImage":
                text = "localhost:1/x"
            if key == "fromSrc":
                text = "-"
            pairs.append(
                f"{key}={quote(text[:500], errors='replace')}" if dice.random() < 0.95 else f"{key}=%zz"
            )
        if pattern.endswith("/prune") and pattern.startswith("/images"):
            pairs = ['filters={"label":["fuzz"]}']
        return "?" + "&".join(pairs) if pairs else dice.choice(("", "", "", "?", "?&&", "?=", "?a=b=c"))

    def _filters(self) -> str:
        dice = self._dice
        key = dice.choice(FILTERS) if dice.random() < 0.8 else word(dice)
        values = [str(scalar(dice)) for _ in range(dice.randrange(3))]
        return dice.choice(
            (
                json.dumps({key: values}),
                json.dumps({key: {one: dice.choice((True, False, 1)) for one in values}}),
                json.dumps(value(dice)),
                word(dice),
                nested(dice)[:400],
            )
        )

    def _body(self, pattern: str) -> bytes:
        dice = self._dice
        if pattern in ARCHIVES and dice.random() < 0.8:
            data = archive(dice)
            return broken(dice, data) if dice.random() < 0.1 else data
        fields = BODIES.get(pattern)
        if fields is None or dice.random() < 0.15:
            choice = dice.randrange(4)
            if choice == 0:
                return nested(dice).encode()
            if choice == 1:
                return bytes(dice.randrange(256) for _ in range(dice.randrange(600)))
            return json.dumps(value(dice, 4)).encode() if choice == 2 else b""
        document = self._document(pattern, fields)
        data = json.dumps(document).encode()
        return broken(dice, data) if dice.random() < 0.1 else data

    def _document(self, pattern: str, fields: Sequence[str]) -> dict[str, object]:
        dice = self._dice
        document: dict[str, object] = {}
        creates = pattern in ("/containers/create", "/sampan/v1/run")
        if creates:
            document |= {"Image": "busybox", "Cmd": ["sleep", "100"]}
        elif "Cmd" in fields:
            document["Cmd"] = ["true"]
        document |= self._some(fields)
        if creates:
            document["HostConfig"] = {
                "NetworkMode": "none",
                **self._some(docker.HostConfig.__struct_fields__),
            }
            if dice.random() < 0.03:
                document["HostConfig"] = value(dice)
            if dice.random() < 0.05:
                document["NetworkingConfig"] = value(dice)
        return document

    def _some(self, fields: Sequence[str]) -> dict[str, object]:
        dice = self._dice
        found: dict[str, object] = {}
        for field in dice.sample(fields, min(len(fields), dice.choice((0, 1, 1, 2, 3)))):
            if field in HANDS_OFF or field in ("HostConfig", "NetworkingConfig"):
                continue
            plausible = PLAUSIBLE.get(field)
            invents = plausible is None or dice.random() < 0.3
            name = field.lower() if dice.random() < 0.05 else field
            found[name] = value(dice) if invents or plausible is None else dice.choice(plausible)
        return found

    def _headers(self, body: bytes) -> str:
        dice = self._dice
        kind = (
            "application/json"
            if dice.random() < 0.9
            else dice.choice(("", "text/plain", "application/x-tar", "x"))
        )
        lines = ["Host: x", f"Content-Type: {kind}"]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        if dice.random() < 0.1:
            lines.append(f"X-Registry-{dice.choice(('Auth', 'Config'))}: {credentials(dice)}")
        if dice.random() < 0.1:
            lines += ["Connection: Upgrade", f"Upgrade: {dice.choice(('tcp', 'websocket', 'h2c', 'x'))}"]
        if dice.random() < 0.05:
            lines.append(
                dice.choice(
                    ("Expect: 100-continue", "X-Registry-Auth: x", "Accept-Encoding: gzip", "Expect: 7")
                )
            )
        return "".join(f"{line}\r\n" for line in lines)

    def _raw(self) -> Request:
        """HTTP with something wrong in its frame."""
        dice = self._dice
        target = dice.choice(("/_ping", "/info", "/containers/create", "/containers/json", "/images/load"))
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
        cases = (
            chunked + "zz\r\n{}\r\n0\r\n\r\n",
            chunked + "ffffffffffffffffff\r\n{}\r\n",
            chunked + "-1\r\n{}\r\n0\r\n\r\n",
            chunked + "2\r\n{}0\r\n\r\n",
            chunked + "2;x=y\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
            chunked + "2\r\n{",
            chunked + "0\r\n\r\n" + chunked,
            chunked.replace("chunked", "gzip, chunked") + "0\r\n\r\n",
            chunked.replace("chunked", "CHUNKED, identity") + "0\r\n\r\n",
            head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
            head + "Content-Length: -1\r\n\r\n",
            head + "Content-Length: 99999999999999999999\r\n\r\n{}",
            head + "Content-Length: 1e3\r\n\r\n{}",
            head + "Content-Length: 100\r\n\r\n{}",
            head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            head + "No colon here\r\n\r\n",
            head + " folded: x\r\n y\r\n\r\n",
            head + "A: " + "x" * dice.choice((1000, 40_000, 200_000)) + "\r\n\r\n",
            head + "".join(f"H{number}: x\r\n" for number in range(dice.choice((50, 2000)))) + "\r\n",
            head + "Bad\0Name: x\r\n\r\n",
            head + "X: \xff\x00\r\n\r\n",
            head[: dice.randrange(len(head))],
            f"GET /{'a' * dice.choice((1000, 17_000, 100_000))} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET {target} HTTP/{dice.choice(('0.9', '1.0', '1.2', '2.0', '9', 'x'))}\r\n\r\n",
            f"GET {target}\r\n\r\n",
            f"GET  {target} HTTP/1.1\r\n\r\n",
            f"GET {dice.choice(('*', 'x', 'http://x/_ping', '//_ping', '/../_ping', '/%', '/%ff', '/%0a'))} HTTP/1.1\r\nHost: x\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\r\n\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" * dice.randrange(1, 20),
            "GET /_ping HTTP/1.1\nHost: x\n\n",
            "POST /containers/nobody/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + "junk" * 100,
            "GET /containers/nobody/attach/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n\x81\xff\xff",
            "".join(chr(dice.randrange(256)) for _ in range(dice.randrange(200))),
        )  # fmt: skip
        return Request(
            dice.choice(cases).encode("latin-1"), dice.choice(("open", "half", "close")), patience_s=0.05
        )
