from __future__ import annotations

import socket

import pytest
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel import netlink
from sampan.kernel.process import list_fds, setresuid


def test_loopback_comes_up_in_a_new_network_namespace() -> None:
    def inside() -> None:
        with socket.socket() as server, pytest.raises(OSError, match=r"Cannot assign|unreachable"):
            server.bind(("127.0.0.1", 0))
            socket.create_connection(server.getsockname(), timeout=1)
        before = list_fds()
        netlink.set_loopback_up()
        assert list_fds() == before
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            socket.create_connection(server.getsockname()[:2], timeout=5).close()

    run_isolated(inside, namespaces=c.CLONE_NEWNET)


def test_without_the_right_to_it_is_an_error() -> None:
    def inside() -> None:
        setresuid(1000, 1000, 1000)
        with pytest.raises(PermissionError, match="bring up lo"):
            netlink.set_loopback_up()

    run_isolated(inside, namespaces=c.CLONE_NEWNET)


def test_a_missing_device_is_the_kernels_answer() -> None:
    def inside() -> None:
        link = netlink.pack_link(4711, flags=netlink.IFF_UP, change=netlink.IFF_UP)
        message = netlink.pack_message(netlink.RTM_NEWLINK, netlink.NLM_F_REQUEST | netlink.NLM_F_ACK, link)
        with pytest.raises(OSError, match="bring up 4711: No such device"):
            netlink.request(message, "bring up 4711")

    run_isolated(inside, namespaces=c.CLONE_NEWNET)
