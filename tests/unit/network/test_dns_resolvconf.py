"""The text of resolv.conf for containers that are served at 127.0.0.11."""

from __future__ import annotations

from sampan.network.dns.model import Server
from sampan.network.dns.resolvconf import plan_resolving

HOST = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch lan.example\noptions edns0 trust-ad\n"


def test_the_hosts_servers_are_asked_from_the_host() -> None:
    plan = plan_resolving(HOST)
    assert plan.text.splitlines()[1:] == [
        "nameserver 127.0.0.11",
        "search lan.example",
        "options edns0 trust-ad ndots:0",
        "# ExtServers: [host(127.0.0.53) host(192.0.2.1)]",
    ]
    assert plan.servers == (
        Server(address="127.0.0.53", from_host=True),
        Server(address="192.0.2.1", from_host=True),
    )


def test_what_the_user_says_replaces_the_hosts() -> None:
    plan = plan_resolving(HOST, dns=["192.0.2.9"], search=["."], options=["ndots:2"])
    assert plan.text.splitlines()[1:] == [
        "nameserver 127.0.0.11",
        "options ndots:2",
        "# ExtServers: [192.0.2.9]",
    ]
    assert (plan.servers, plan.ndots) == ((Server(address="192.0.2.9"),), 2)


def test_our_own_address_is_never_asked() -> None:
    assert plan_resolving(HOST, dns=["127.0.0.11"]).servers == ()


def test_an_internal_network_asks_nobody() -> None:
    plan = plan_resolving(HOST, dns=["192.0.2.9"], internal=True)
    assert plan.servers == ()
    assert "192.0.2.9" not in plan.text
