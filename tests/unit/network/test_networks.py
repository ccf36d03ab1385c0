"""Networks without a kernel: rows, reservations, refusals."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sampan.engine.networks.requests import make_network
from sampan.errors import Conflict, Forbidden, InvalidArgument, NotFound, SampanError, Unsupported
from sampan.network.links import Names
from sampan.network.networks import Networks
from sampan.network.reservations import PortWish, Wish
from sampan.spec import docker
from sampan.store.database import Database


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    with Database(str(tmp_path / "state.db")) as db:
        with closing(Networks(db, Names("/run/private"))) as made:
            yield made


def add(networks: Networks, name: str, subnet: str = "") -> str:
    pools = [docker.IPAMPool(Subnet=subnet)] if subnet else []
    request = docker.NetworkCreate(Name=name, IPAM=docker.IPAM(Config=pools))
    record = make_network(request, known=networks)
    networks.create(record)
    return record.id


def wish(networks: Networks, network: str, container: str, *, address: str = "") -> Wish:
    return Wish(
        network=networks.get(network),
        container=container,
        container_name=container,
        address=address,
    )


def tcp(port: int = 0) -> PortWish:
    ports = range(port, port + 1) if port else range(0)
    return PortWish(protocol="tcp", port=80, host_addresses=("127.0.0.1",), host_ports=ports)


def test_names_and_ids(networks: Networks) -> None:
    network_id = add(networks, "mine")
    assert networks.get("mine").id == networks.get(network_id[:12]).id == networks.get(network_id).id
    assert networks.get("bridge").predefined
    with pytest.raises(Conflict, match="network with name mine already exists"):
        add(networks, "mine")
    with pytest.raises(NotFound, match="network other not found"):
        networks.get("other")


def test_overlap(networks: Networks) -> None:
    add(networks, "one", "10.9.0.0/16")
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        add(networks, "two", "10.9.5.0/24")


def test_in_use(networks: Networks) -> None:
    network_id = add(networks, "mine")
    networks.reserve([wish(networks, "mine", "web")])
    with pytest.raises(Forbidden, match='has active endpoints \\(name:"web"'):
        networks.remove(network_id)
    networks.release("web")
    networks.remove(network_id)
    assert networks.find("mine") is None


def test_a_crash_gives_no_address_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    with Database(path) as db, closing(Networks(db, Names("/run/private"))) as first:
        add(first, "mine", "10.9.0.0/24")
        taken = [first.reserve([wish(first, "mine", name)])[0].address for name in ("a", "b")]
    assert taken == ["10.9.0.2", "10.9.0.3"]
    with (
        Database(path) as db,
        closing(Networks(db, Names("/run/private"))) as again,
        pytest.raises(apsw.ConstraintError, match="UNIQUE"),  # the row itself, were `recover` not run first
    ):
        again.reserve([wish(again, "mine", "c")])


def test_all_or_nothing(networks: Networks) -> None:
    add(networks, "mine", "10.9.0.0/24")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(SampanError, match=f"127.0.0.1:{port}/tcp: address already in use"):
            networks.reserve([wish(networks, "mine", "web")], [tcp(), tcp(port)])
    [endpoint] = networks.reserve([wish(networks, "mine", "web")], [tcp(port)])
    assert endpoint.address == "10.9.0.2"
    assert endpoint.published[0].host_port == port
    with pytest.raises(
        SampanError,
        match=f"Bind for 127.0.0.1:{port} failed: port is already allocated: container web has it",
    ):
        networks.reserve([wish(networks, "mine", "api")], [tcp(port)])


def test_a_free_port_is_chosen(networks: Networks) -> None:
    [endpoint] = networks.reserve([wish(networks, "bridge", "web")], [tcp(), tcp()])
    first, second = endpoint.published
    assert first.host_port != second.host_port
    assert first.host_port > 1023


@pytest.mark.parametrize(
    ("request_", "error", "match"),
    [
        (docker.NetworkCreate(), InvalidArgument, "name is empty"),
        (docker.NetworkCreate(Name="a b"), InvalidArgument, "invalid network name 'a b'"),
        (docker.NetworkCreate(Name="host"), Forbidden, "predefined host network"),
        (docker.NetworkCreate(Name="x", Driver="host"), Forbidden, "only one instance"),
        (docker.NetworkCreate(Name="x", Driver="overlay"), Unsupported, "network driver 'overlay'"),
        (docker.NetworkCreate(Name="x", Driver="nonsense"), NotFound, "could not find plugin nonsense"),
        (
            docker.NetworkCreate(Name="x", Options={"com.docker.network.driver.mtu": "7"}),
            InvalidArgument,
            "invalid MTU '7'",
        ),
        (
            docker.NetworkCreate(Name="x", Options={"com.docker.network.bridge.name": "a/b"}),
            InvalidArgument,
            "invalid bridge name",
        ),
        (
            docker.NetworkCreate(Name="x", Options={"com.docker.network.bridge.gateway_mode_ipv4": "wild"}),
            InvalidArgument,
            "unknown gateway mode wild",
        ),
        (
            docker.NetworkCreate(
                Name="x", Options={"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}
            ),
            InvalidArgument,
            "can only be used for an internal network",
        ),
        (
            docker.NetworkCreate(
                Name="x", EnableIPv6=True, Options={"com.docker.network.driver.mtu": "1279"}
            ),
            InvalidArgument,
            "a number from 1280 to 65535 with IPv6",
        ),
        (
            docker.NetworkCreate(
                Name="x",
                IPAM=docker.IPAM(
                    Config=[docker.IPAMPool(Subnet="10.1.0.0/24"), docker.IPAMPool(Subnet="10.1.0.0/16")]
                ),
            ),
            Forbidden,
            "Pool overlaps with other one on this address space",
        ),
        (
            docker.NetworkCreate(Name="x", IPAM=docker.IPAM(Config=[docker.IPAMPool(Gateway="10.0.0.1")])),
            InvalidArgument,
            "needs a subnet",
        ),
    ],
)
def test_refused(
    networks: Networks, request_: docker.NetworkCreate, error: type[SampanError], match: str
) -> None:
    with pytest.raises(error, match=match):
        make_network(request_, known=networks)
