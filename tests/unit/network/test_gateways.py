"""Names of interfaces, the network that leads outside, and ports that follow it."""

from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.network.drivers import Place
from sampan.network.gateways import Interfaces, choose_gateway
from sampan.network.model import ROUTED, Endpoint, NetworkRecord, Pool, Pool6, Published
from sampan.network.reservations import move_ports


def place(
    name: str,
    *,
    priority: int = 0,
    internal: bool = False,
    ipv6: bool = False,
    mode4: str = "nat",
    ports: tuple[str, ...] = (),
) -> Place:
    network = NetworkRecord(
        id=f"id-of-{name}",
        name=name,
        created_ns=0,
        bridge=f"br-{name}",
        pool=Pool(subnet="10.0.0.0/24", gateway="10.0.0.1"),
        pool6=Pool6(subnet="fd00::/64", gateway="fd00::1") if ipv6 else None,
        internal=internal,
        mode4=mode4,
    )
    endpoint = Endpoint(
        id=f"in-{name}",
        network=network.id,
        container="c",
        name="web",
        address="10.0.0.2",
        address6="fd00::2" if ipv6 else "",
        veth="sv1",
        interface="eth0",
        gateway_priority=priority,
        published=tuple(
            Published(protocol="tcp", port=80, host_address=address, host_port=8080) for address in ports
        ),
    )
    return network, endpoint


def name_of(found: Place | None) -> str:
    return "" if found is None else found[0].name


def test_interfaces_fill_gaps_but_keep_their_order() -> None:
    one = Interfaces([])
    assert [one.take().name for _ in range(2)] == ["eth0", "eth1"]
    assert one.take("front").order == 2
    again = Interfaces([place("a")[1]])
    taken = again.take()
    assert (taken.name, taken.order) == ("eth1", 1)
    assert again.take(prefix="lan").name == "lan0"
    with pytest.raises(InvalidArgument, match="interface name 'lan0' is in use in this container"):
        again.take("lan0")


def test_the_gateway_is_the_highest_then_the_first_by_name() -> None:
    assert name_of(choose_gateway([])) == ""
    assert name_of(choose_gateway([place("b"), place("a")])) == "a"
    assert name_of(choose_gateway([place("b", priority=1), place("a")])) == "b"
    assert name_of(choose_gateway([place("b"), place("a", priority=-1)])) == "b"
    assert name_of(choose_gateway([place("b"), place("a", priority=9, internal=True)])) == "b"
    assert name_of(choose_gateway([place("a"), place("b", ipv6=True)], 6)) == "b"
    assert name_of(choose_gateway([place("a")], 6)) == ""


def test_ports_go_where_answers_leave() -> None:
    both = ("0.0.0.0", "::")
    stays = [place("a", ipv6=True, ports=both), place("b")]
    assert move_ports(stays) == []
    moves = move_ports([place("b", ipv6=True, ports=both), place("a")])
    after = {new[0].name: [one.host_address for one in new[1].published] for _, new in moves}
    assert after == {"b": ["::"], "a": ["0.0.0.0"]}
    leaving = move_ports([place("a", ports=both[:1]), place("b")], leaving="id-of-a")
    assert [new[0].name for _, new in leaving if new[1].published] == ["b"]
    assert move_ports([place("a", ports=both[:1])], leaving="id-of-a") == []
    assert move_ports([place("b", ports=both[:1]), place("a", mode4=ROUTED)]) == []
