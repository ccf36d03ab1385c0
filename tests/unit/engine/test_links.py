"""What `--link`, `--mac-address` and interface options say, and the variables that links bring."""

from __future__ import annotations

import pytest

from sampan.engine.networks.linking import _variables
from sampan.engine.networks.wishes import interface_sysctls, parse_interface_sysctls, parse_link, parse_mac
from sampan.engine.records import Record
from sampan.errors import InvalidArgument
from sampan.network.model import Endpoint
from sampan.spec import docker


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("db", ("db", "db")),
        ("db:database", ("db", "database")),
        ("/db:/web/database", ("db", "database")),
        ("0123456789ab:x", ("0123456789ab", "x")),
    ],
)
def test_link(text: str, want: tuple[str, str]) -> None:
    assert parse_link(text) == want


@pytest.mark.parametrize("text", ["", ":x", "a:b:c", "a:b c", "a:b/c"])
def test_no_link(text: str) -> None:
    with pytest.raises(InvalidArgument, match="bad format for links"):
        parse_link(text)


def test_mac_addresses() -> None:
    assert parse_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    for text in ("", "02:42", "02:42:ac:11:00:0g", "02:42:ac:11:00:02:03"):
        with pytest.raises(InvalidArgument, match="is not a valid mac address"):
            parse_mac(text)
    for text in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"):
        with pytest.raises(InvalidArgument, match="is not a mac address of one interface"):
            parse_mac(text)


def test_interface_sysctls() -> None:
    entries = parse_interface_sysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=0")
    endpoint = Endpoint(
        id="e",
        network="n",
        container="c",
        name="web",
        address="10.0.0.2",
        veth="sv1",
        interface="eth3",
        sysctls=entries,
    )
    assert interface_sysctls([endpoint]) == {
        "net/ipv4/conf/eth3/log_martians": "1",
        "net/ipv6/conf/eth3/accept_ra": "0",
    }
    for text in (
        "kernel.pid_max=1",
        "net.ipv4.conf.eth0.x=1",
        "net.ipv4.conf.IFNAME/../x=1",
        "net.ipv4.conf.IFNAME.x",
    ):
        with pytest.raises(InvalidArgument, match="invalid interface sysctl"):
            parse_interface_sysctls(text)


def test_variables_of_a_link() -> None:
    ports = {port: docker.common.Empty() for port in ("53/udp", "8001/tcp", "8000/tcp", "9/tcp")}
    config = docker.Config(ExposedPorts=ports, Env=["A=b=c", "HOME=/root", "PATH=/bin", "EMPTY="])
    record = Record(
        id="c" * 64,
        name="db",
        created_ns=0,
        image_id="",
        image="",
        config=config,
        host=docker.HostConfig(),
        runtime="sampan",
        cgroup="",
    )
    found = dict(line.split("=", 1) for line in _variables(record, "my-db", "10.0.0.2", parent="web"))
    assert found["MY_DB_PORT"] == "tcp://10.0.0.2:9"
    assert found["MY_DB_PORT_53_UDP_PROTO"] == "udp"
    assert found["MY_DB_PORT_8000_TCP_START"] == "tcp://10.0.0.2:8000"
    assert found["MY_DB_PORT_8000_TCP_PORT_END"] == "8001"
    assert "MY_DB_PORT_8001_TCP_START" not in found
    assert "MY_DB_PORT_9_TCP_START" not in found
    assert (found["MY_DB_NAME"], found["MY_DB_ENV_A"], found["MY_DB_ENV_EMPTY"]) == ("/web/my-db", "b=c", "")
    assert not {"MY_DB_ENV_HOME", "MY_DB_ENV_PATH"} & found.keys()
