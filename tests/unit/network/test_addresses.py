from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from sampan.errors import Forbidden, InvalidArgument, SampanError, Unavailable
from sampan.network.addresses import Allocators, choose_subnet, choose_subnet6, make_pool
from sampan.network.model import Endpoint


def allocator(subnet: str, **fields: object) -> Allocators:
    pool = make_pool(subnet=subnet, **fields)  # type: ignore[arg-type]  # tables below
    return Allocators([pool], name="mine")


def test_lowest_free_first() -> None:
    one = allocator("10.0.0.0/24")
    assert [one.take() for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    one.give_back("10.0.0.3")
    assert [one.take(), one.take()] == ["10.0.0.3", "10.0.0.5"]


def test_exhausted_and_refilled() -> None:
    one = allocator("10.0.0.0/29")
    taken = [one.take() for _ in range(5)]
    assert taken[-1] == "10.0.0.6"
    with pytest.raises(Unavailable, match="no available IPv4 addresses on"):
        one.take()
    one.give_back(taken[2])
    assert one.take() == taken[2]


def test_range_and_aux() -> None:
    one = allocator("10.0.0.0/24", ip_range="10.0.0.128/30", aux={"router": "10.0.0.129"}, gateway="10.0.0.1")
    assert [one.take(), one.take(), one.take()] == ["10.0.0.128", "10.0.0.130", "10.0.0.131"]
    assert one.take_this("10.0.0.77") == "10.0.0.77"
    one.give_back("10.0.0.77")
    with pytest.raises(Unavailable):
        one.take()


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "fd00::/127"])
def test_two_addresses(subnet: str) -> None:
    """Both are for interfaces, also when sampand comes back and gives the first again."""
    second = subnet.replace("0.0/31", "0.1").replace("::/127", "::1")
    first = allocator(subnet, gateway=second).take()
    assert first == subnet.partition("/")[0]
    assert allocator(subnet, gateway=second).take_this(first) == first


def test_several_subnets() -> None:
    pools = [make_pool(subnet=subnet) for subnet in ("10.0.0.0/30", "10.1.0.0/29")]
    some = Allocators(pools, name="mine")
    assert some.take_this("10.1.0.3") == "10.1.0.3"
    assert [some.take() for _ in range(3)] == ["10.0.0.2", "10.1.0.2", "10.1.0.4"]
    some.give_back("10.0.0.2")
    some.give_back("10.1.0.2")
    assert [some.take() for _ in range(4)] == ["10.0.0.2", "10.1.0.2", "10.1.0.5", "10.1.0.6"]
    with pytest.raises(Unavailable, match="no available IPv4 addresses on"):
        some.take()
    with pytest.raises(Forbidden, match="Address already in use"):
        some.take_this("10.1.0.1")
    with pytest.raises(InvalidArgument, match="no configured subnet contains IP address"):
        some.take_this("10.2.0.1")


def test_asked_for() -> None:
    one = allocator("10.0.0.0/24")
    one.take_this("10.0.0.3")
    assert [one.take(), one.take()] == ["10.0.0.2", "10.0.0.4"]
    for text in ("10.0.0.3", "10.0.0.1", "10.0.0.0", "10.0.0.255"):
        with pytest.raises(Forbidden, match="Address already in use"):
            one.take_this(text)
    with pytest.raises(InvalidArgument, match="no configured subnet contains IP address"):
        one.take_this("10.0.1.3")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"subnet": "nonsense"}, "invalid subnet"),
        ({"subnet": "10.0.0.0/24", "ip_range": "10.0.1.0/25"}, "not inside subnet"),
        ({"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}, "not inside subnet"),
        ({"subnet": "10.0.0.0/24", "gateway": "x"}, "invalid IPv4 address: x"),
        (
            {"subnet": "10.0.0.0/24", "gateway": "10.0.0.5", "aux": {"a": "10.0.0.5"}},
            "auxiliary address, too",
        ),
        ({"subnet": "10.0.0.0/24", "gateway": "10.0.0.0"}, "subnet 10.0.0.0/24's own"),
        ({"subnet": "10.0.0.0/24", "gateway": "10.0.0.255"}, "subnet 10.0.0.0/24's own"),
        ({"subnet": "fd00::/64", "aux": {"a": "fd00::"}}, "subnet fd00::/64's own"),
        ({"subnet": "127.8.0.0/16"}, "loopback addresses"),
        ({"subnet": "224.0.0.0/24"}, "multicast addresses"),
        ({"subnet": "ff05::/64"}, "multicast addresses"),
    ],
)
def test_wrong_pools(fields: dict[str, object], match: str) -> None:
    with pytest.raises(SampanError, match=match):
        make_pool(**fields)  # type: ignore[arg-type]  # the table


def test_default_pools_avoid_what_is_in_use() -> None:
    assert str(choose_subnet([])) == "172.17.0.0/16"
    assert str(choose_subnet([IPv4Network("172.17.5.0/24"), IPv4Network("172.18.0.0/15")])) == "172.20.0.0/16"
    assert str(choose_subnet([IPv4Network("172.16.0.0/12")])) == "192.168.0.0/20"
    with pytest.raises(Unavailable, match=r"non-overlapping IPv4 address pool .* fully subnetted"):
        choose_subnet([IPv4Network("0.0.0.0/0")])


def test_mac_follows_from_the_address() -> None:
    one = Endpoint(
        id="e", network="n", container="c", name="c", address="172.17.0.2", veth="v", interface="eth0"
    )
    assert one.mac == "02:42:ac:11:00:02"


def test_ipv6() -> None:
    one = allocator("fd77:1::/64")
    assert [one.take(), one.take()] == ["fd77:1::2", "fd77:1::3"]
    assert one.take_this("fd77:1:0::77") == "fd77:1::77"
    with pytest.raises(Forbidden, match="Address already in use: fd77:1::77 in network mine"):
        one.take_this("fd77:1::77")
    with pytest.raises(Forbidden, match="already in use"):
        one.take_this("fd77:1::")  # any router's
    with pytest.raises(InvalidArgument, match="no configured subnet"):
        one.take_this("10.0.0.1")
    one.give_back("fd77:1::2")
    assert one.take() == "fd77:1::2"


def test_unique_local_subnets_follow_from_the_machine() -> None:
    first = choose_subnet6(b"machine", [])
    assert (first.prefixlen, first.network_address.packed[0]) == (64, 0xFD)
    assert choose_subnet6(b"machine", []) == first
    assert choose_subnet6(b"another", []) != first
    second = choose_subnet6(b"machine", [first])
    assert not second.overlaps(first)
    assert second.supernet(new_prefix=48) == first.supernet(new_prefix=48)
