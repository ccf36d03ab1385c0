from __future__ import annotations

import json
import socket
import subprocess

from tests.kernel.harness import run_isolated, wait_until

from sampan.kernel import constants as c
from sampan.kernel import netsocket, rtnetlink

_LOCALLY_ADMINISTERED = bytes.fromhex("02420a000005")
_ETHERTYPE = bytes.fromhex("88b5")  # IEEE 802, for local experiments


def test_what_a_link_is() -> None:
    def inside() -> None:
        sock = netsocket.open_socket()
        netsocket.run(sock, [])
        assert rtnetlink.find_link(sock, "bridge0") is None
        netsocket.run(sock, [rtnetlink.new_bridge("bridge0", mac=_LOCALLY_ADMINISTERED, mtu=1400)])
        found = rtnetlink.find_link(sock, "bridge0")
        assert found is not None
        assert found.index == socket.if_nametoindex("bridge0")
        assert (found.kind, found.mac, found.group) == ("bridge", _LOCALLY_ADMINISTERED, 0)
        netsocket.run(sock, [rtnetlink.set_group(found.index, 7)])
        changed = rtnetlink.find_link(sock, "bridge0")
        assert changed is not None
        assert changed.group == 7
        loopback = rtnetlink.find_link(sock, "lo")
        assert loopback is not None
        assert loopback.kind == ""

    run_isolated(inside, namespaces=c.CLONE_NEWNET)


def test_a_silent_port_passes_nothing_and_is_forgotten() -> None:
    def inside() -> None:
        for line in (
            "link add name bridge0 type bridge forward_delay 0",
            "link add name port type veth peer name inner",
            "link add name second type veth peer name outer",
            "link set dev port master bridge0 up",
            "link set second master bridge0 up",
            "link set inner up",
            "link set outer up",
            "link set bridge0 up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x88B5) as wire:
            wire.bind(("outer", 0x88B5))
            wire.settimeout(1.0)
            wait_until(lambda: _passes(wire), "a frame goes through")
            assert _learned()
            netsocket.run(netsocket.open_socket(), [rtnetlink.silence_port(socket.if_nametoindex("port"))])
            assert not _learned()
            wire.settimeout(0.1)
            assert not _passes(wire)
            assert not _learned()

    run_isolated(inside, namespaces=c.CLONE_NEWNET)


def _passes(wire: socket.socket) -> bool:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("inner", 0))
        sender.send(b"\xff" * 6 + _LOCALLY_ADMINISTERED + _ETHERTYPE + bytes(46))
    try:
        return _LOCALLY_ADMINISTERED in wire.recv(100)
    except TimeoutError:
        return False


def _learned() -> bool:
    done = subprocess.run(["bridge", "-j", "fdb", "show", "dev", "port"], capture_output=True, check=True)
    return any(entry["mac"] == "02:42:0a:00:00:05" for entry in json.loads(done.stdout))


def test_silence_of_what_is_gone_is_fine() -> None:
    def inside() -> None:
        subprocess.run(["ip", "link", "add", "single", "type", "veth", "peer", "name", "inner"], check=True)
        requests = [rtnetlink.silence_port(index) for index in (4711, socket.if_nametoindex("single"))]
        netsocket.run(netsocket.open_socket(), requests)

    run_isolated(inside, namespaces=c.CLONE_NEWNET)
