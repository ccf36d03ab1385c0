"""`-p`, `--expose`, and settings of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sampan.cli.create_body import create_body
from sampan.cli.flags import parse_flags
from sampan.cli.outcome import UsageError
from sampan.cli.port_flags import parse_publish
from sampan.cli.run_flags import CREATE

if TYPE_CHECKING:
    from sampan.cli.create_body import Body


def binding(host_port: str, address: str = "") -> dict[str, str]:
    return {"HostIp": address, "HostPort": host_port}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("80", [("80/tcp", binding(""))]),
        ("8080:80", [("80/tcp", binding("8080"))]),
        ("127.0.0.1:8080:80/udp", [("80/udp", binding("8080", "127.0.0.1"))]),
        ("127.0.0.1::80", [("80/tcp", binding("", "127.0.0.1"))]),
        ("[::1]:8080:80", [("80/tcp", binding("8080", "::1"))]),
        ("8000-8001:80-81", [("80/tcp", binding("8000")), ("81/tcp", binding("8001"))]),
        ("8000-8010:80", [("80/tcp", binding("8000-8010"))]),
        ("target=80,published=8080,protocol=udp", [("80/udp", binding("8080"))]),
    ],
)
def test_published_ports(text: str, want: list[tuple[str, Body]]) -> None:
    assert parse_publish(text) == want


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "65536",
        "80/icmp",
        "1:2:3:4",
        "8000-8002:80-81",
        "81-80",
        "[::1]80",
        "target=x",
        "published=1",
        "a=b",
    ],
)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(UsageError, match="-p, --publish"):
        parse_publish(text)


def body(*words: str) -> Body:
    flags, arguments = parse_flags(CREATE, [*words, "image"], interspersed=False)
    return create_body(flags, arguments)


def test_published_ports_are_exposed_too() -> None:
    made = body("-p", "1:80", "-p", "2:80", "--expose", "90-91/udp")
    host = made["HostConfig"]
    assert isinstance(host, dict)
    assert made["ExposedPorts"] == {"80/tcp": {}, "90/udp": {}, "91/udp": {}}
    assert host["PortBindings"] == {"80/tcp": [binding("1"), binding("2")]}


def test_plain_settings_belong_to_the_first_network() -> None:
    made = body(
        "--network", "a", "--network-alias", "x", "--ip", "1.2.3.4", "--mac-address", "02:00:00:00:00:01"
    )
    assert made["NetworkingConfig"] == {
        "EndpointsConfig": {
            "a": {
                "Aliases": ["x"],
                "IPAMConfig": {"IPv4Address": "1.2.3.4"},
                "MacAddress": "02:00:00:00:00:01",
            }
        }
    }


@pytest.mark.parametrize("text", ["name=a,foo=b", "alias=x", "name=a,flag", "name=a,gw-priority=x"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(UsageError, match="--network"):
        body("--network", text)


def test_a_network_cannot_be_joined_twice() -> None:
    with pytest.raises(UsageError, match="'a' is given twice"):
        body("--network", "a", "--network", "a")
