"""Which names a view sees, and which answer they get."""

from __future__ import annotations

import struct

import pytest

from sampan.errors import InvalidArgument, NotFound
from sampan.network.dns import wire
from sampan.network.dns.answers import answer
from sampan.network.dns.model import Endpoint, Link, Network, Server, View
from sampan.network.dns.zone import Zone

UPSTREAM = (Server(address="192.0.2.1", from_host=True),)


def endpoint(network: str, name: str, *addresses: str, also: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(network=network, container=f"id-{name}", names=(name, *also), addresses=addresses)


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    zone.put_network(Network(id="n1", name="front", subnets=("172.18.0.0/16", "fd00::/64")))
    zone.put_network(Network(id="n2", name="back.end", subnets=("172.19.0.0/16",)))
    zone.publish(endpoint("n1", "web", "172.18.0.2", "fd00::2", also=("www", "abcdef012345")))
    zone.publish(endpoint("n1", "api", "172.18.0.3"))
    zone.publish(endpoint("n2", "db", "172.19.0.2"))
    zone.publish(endpoint("n2", "web2", "172.19.0.3", also=("web", "www")))
    zone.publish(endpoint("n1", "stopped"))
    return zone


VIEW = View(container="id-web", networks=("n1",))


def ask(zone: Zone, view: View, name: str, kind: int = wire.A) -> tuple[int, list[bytes]] | None:
    """Return (code, data of the first variant's records), None if it would go upstream."""
    header = wire.HEADER.pack(1, wire.RD, 1, 0, 0, 0)
    data = header + wire.pack_name(name) + struct.pack("!HH", kind, wire.IN)
    found = answer(zone, view, data, tcp=False)
    return unpack(found[0]) if isinstance(found, list) else None


def unpack(message: bytes) -> tuple[int, list[bytes]]:
    _, flags, _, count, _, _ = wire.HEADER.unpack_from(message)
    offset = wire.parse_query(message[:2] + b"\1\0\0\1\0\0\0\0\0\0" + message[12:]).asked
    place = 12 + len(offset)
    data = []
    for _ in range(count):
        length = struct.unpack_from("!H", message, place + 10)[0]
        data.append(message[place + 12 : place + 12 + length])
        place += 12 + length
    return flags & 0xF, data


WEB, WEB6, API, DB = b"\xac\x12\0\2", b"\xfd" + bytes(14) + b"\2", b"\xac\x12\0\3", b"\xac\x13\0\2"


@pytest.mark.parametrize(
    ("name", "kind", "want"),
    [
        pytest.param("web", wire.A, (wire.NOERROR, [WEB]), id="name"),
        pytest.param("WEB", wire.A, (wire.NOERROR, [WEB]), id="capital letters"),
        pytest.param("www", wire.A, (wire.NOERROR, [WEB]), id="alias"),
        pytest.param("abcdef012345", wire.A, (wire.NOERROR, [WEB]), id="short id"),
        pytest.param("web.front", wire.A, (wire.NOERROR, [WEB]), id="name and network"),
        pytest.param("web", wire.AAAA, (wire.NOERROR, [WEB6]), id="IPv6"),
        pytest.param("api", wire.AAAA, (wire.NOERROR, []), id="no IPv6: no data"),
        pytest.param("web", 15, (wire.NOERROR, []), id="MX: no data"),
        pytest.param("web", 65, (wire.NOERROR, []), id="HTTPS: no data"),
        pytest.param("web", wire.ANY, (wire.NOERROR, [WEB, WEB6]), id="any"),
        pytest.param("db", wire.A, (wire.NXDOMAIN, []), id="another network's name"),
        pytest.param("db.back.end", wire.A, (wire.NXDOMAIN, []), id="another network's name, with it"),
        pytest.param("stopped", wire.A, (wire.NXDOMAIN, []), id="not running"),
        pytest.param("2.0.18.172.in-addr.arpa", wire.PTR, (0, [b"\x03web\x05front\0"]), id="reverse"),
        pytest.param("9.0.18.172.in-addr.arpa", wire.PTR, (wire.NXDOMAIN, []), id="address of nobody"),
        pytest.param("2." + "0." * 27 + "0.0.d.f.ip6.arpa", wire.PTR, (0, [b"\x03web\x05front\0"]), id="v6"),
    ],
)
def test_what_a_view_sees(zone: Zone, name: str, kind: int, want: tuple[int, list[bytes]]) -> None:
    assert ask(zone, VIEW, name, kind) == want


def test_networks_answer_in_their_order(zone: Zone) -> None:
    both = View(container="id-x", networks=("n2", "n1"))
    assert ask(zone, both, "web") == (wire.NOERROR, [b"\xac\x13\0\3"])
    assert ask(zone, both, "web.front") == (wire.NOERROR, [WEB])
    assert ask(zone, both, "web.back.end") == (wire.NOERROR, [b"\xac\x13\0\3"])
    assert ask(zone, both, "api") == (wire.NOERROR, [API])


def test_a_link_is_seen_by_its_container_only(zone: Zone) -> None:
    linked = View(
        container="x", networks=("n1",), links=(Link(network="n1", alias="Database", target="api"),)
    )
    assert ask(zone, linked, "database") == (wire.NOERROR, [API])
    assert ask(zone, VIEW, "database") == (wire.NXDOMAIN, [])


def test_what_goes_upstream(zone: Zone) -> None:
    view = View(container="x", networks=("n1",), servers=UPSTREAM)
    assert ask(zone, view, "example.org") is None
    assert ask(zone, view, "nas") is None
    assert ask(zone, view, "1.1.1.1.in-addr.arpa", wire.PTR) is None
    assert ask(zone, view, "stopped") == (wire.NXDOMAIN, [])
    assert ask(zone, view, "web", 16) == (wire.NOERROR, [])
    assert ask(zone, view, "9.9.18.172.in-addr.arpa", wire.PTR) == (wire.NXDOMAIN, [])


def test_with_ndots_a_name_without_dots_stays_here(zone: Zone) -> None:
    view = View(container="x", networks=("n1",), servers=UPSTREAM, ndots=1)
    assert ask(zone, view, "nas") == (wire.NXDOMAIN, [])
    assert ask(zone, view, "nas.lan") is None


def test_withdrawn_names_are_gone_and_shared_ones_stay(zone: Zone) -> None:
    zone.publish(endpoint("n1", "web-2", "172.18.0.9", also=("www",)))
    found = ask(zone, VIEW, "www")
    assert found is not None
    assert sorted(found[1]) == [WEB, b"\xac\x12\0\x09"]
    zone.withdraw("n1", "id-web")
    assert ask(zone, VIEW, "www") == (wire.NOERROR, [b"\xac\x12\0\x09"])
    assert ask(zone, VIEW, "web") == (wire.NXDOMAIN, [])
    assert ask(zone, VIEW, "2.0.18.172.in-addr.arpa", wire.PTR) == (wire.NXDOMAIN, [])
    zone.drop_network("n1")
    assert ask(zone, VIEW, "www") == (wire.NXDOMAIN, [])


def test_publishing_again_replaces(zone: Zone) -> None:
    zone.publish(endpoint("n1", "web", "172.18.0.7"))
    assert ask(zone, VIEW, "web") == (wire.NOERROR, [b"\xac\x12\0\7"])
    assert ask(zone, VIEW, "www") == (wire.NXDOMAIN, [])


def test_what_cannot_be_published(zone: Zone) -> None:
    with pytest.raises(NotFound, match="network n9"):
        zone.publish(endpoint("n9", "x", "10.0.0.1"))
    with pytest.raises(InvalidArgument, match="no address"):
        zone.publish(endpoint("n1", "x", "10.0.0.256"))
    assert ask(zone, VIEW, "x") == (wire.NXDOMAIN, [])


def variants(zone: Zone, view: View, name: str, kind: int) -> list[list[bytes]]:
    data = wire.HEADER.pack(1, wire.RD, 1, 0, 0, 0) + wire.pack_name(name) + struct.pack("!HH", kind, wire.IN)
    found = answer(zone, view, data, tcp=False)
    assert isinstance(found, list)
    return [unpack(message)[1] for message in found]


def test_each_address_leads_once_and_all_are_there(zone: Zone) -> None:
    for last in range(20, 25):
        zone.publish(endpoint("n1", f"s{last}", f"172.18.0.{last}", also=("scaled",)))
    found = variants(zone, VIEW, "scaled", wire.A)
    assert [one[0][-1] for one in found] == [20, 21, 22, 23, 24]
    assert all(len(set(one)) == 5 for one in found)


def test_ipv6_keeps_its_leader_when_the_client_sorts(zone: Zone) -> None:
    for last in range(2, 9):
        zone.publish(endpoint("n1", f"s{last}", f"fd00::{last}", also=("scaled",)))
    view = View(container="id-api", networks=("n1",))
    zone.publish(endpoint("n1", "api", "fd00::a"))
    found = variants(zone, view, "scaled", wire.AAAA)
    leaders = [sorted(one, key=lambda address: (address[-1] ^ 0xA).bit_length())[0] for one in found]
    assert leaders == [one[0] for one in found]  # sorted is stable, as the client's sort is
    assert len(set(leaders)) == len(found) == 7


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\0\1\1\0\0\2\0\0\0\0\0\0", wire.FORMERR, id="no single question"),
        pytest.param(b"\0\1\x28\0\0\1\0\0\0\0\0\0\0\0\6\0\1", wire.NOTIMP, id="an update"),
        pytest.param(b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\3", wire.REFUSED, id="class CHAOS"),
    ],
)
def test_other_messages_are_refused(zone: Zone, data: bytes, code: int) -> None:
    found = answer(zone, VIEW, data, tcp=False)
    assert isinstance(found, list)
    assert found[0][3] & 0xF == code


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0\1\x81\0\0\1\0\0\0\0\0\0"])
def test_answers_and_scraps_get_nothing(zone: Zone, data: bytes) -> None:
    assert answer(zone, VIEW, data, tcp=False) == []
