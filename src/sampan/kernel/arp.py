"""Telling neighbours at which MAC address an IPv4 address is from now on. Lean.

Source: RFC 826, RFC 5227 section 3 (announcements), packet(7).
"""

from __future__ import annotations

import struct
from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW, socket

_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_HEAD = struct.Struct(">HHBBH")  # Ethernet, IPv4, lengths of the two addresses, operation


def announce(interface: str, *, mac: bytes, address: bytes) -> None:
    """Send an announcement to all neighbours beyond an interface; who has the address in mind takes it over.

    Raises:
        OSError: there is no such interface, or it is down.
    """
    head = _HEAD.pack(1, 0x0800, 6, 4, 1)
    frame = _BROADCAST + mac + _ETHERTYPE_ARP.to_bytes(2, "big") + head + mac + address + bytes(6) + address
    sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    try:
        sock.bind((interface, 0))
        sock.send(frame)
    finally:
        sock.close()
