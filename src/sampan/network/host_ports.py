"""Ports of the host: taken by a bound socket, so that two never get the same, whoever they are."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from sampan.errors import SampanError
from sampan.network.model import Published
from sampan.network.port_users import find_user

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_ANY: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104 -- what a user may write
_TRIES: Final = 20  # for a port that is free at several addresses
_Holders = dict[str, tuple[str, socket.socket | None]]  # by address: whose it is, and what has it


class PortTaken(SampanError):
    """A port of the host has another user."""


class HostPorts:
    """The host's ports that containers have. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], _Holders] = {}  # by protocol and port

    def take(self, protocol: str, addresses: Sequence[str], ports: range, *, owner: str) -> int:
        """Take one of ports, or any free one when it is empty, at all addresses; return which.

        Raises:
            PortTaken: none is free.
        """
        error: PortTaken | None = None
        for port in ports or [0] * _TRIES:
            try:
                return self._take_all(protocol, addresses, port, owner)
            except PortTaken as exc:
                error = exc
        assert error is not None
        raise error

    def _take_all(self, protocol: str, addresses: Sequence[str], port: int, owner: str) -> int:
        with ExitStack() as undo:
            for address in addresses:
                port = self._take(protocol, address, port, owner)
                undo.callback(self._give_back, protocol, address, port)
            undo.pop_all()
        return port

    def _take(self, protocol: str, address: str, port: int, owner: str) -> int:
        other = self._holder(protocol, address, port) if port else ""
        if other:
            raise PortTaken(
                f"Bind for {shown(address)}:{port} failed: port is already allocated: "
                f"container {other} has it",
                hint="publish another port, or any free one: -p 80",
            )
        holder = _bind(protocol, address, port)
        taken = int(holder.getsockname()[1]) if holder is not None else port
        if not taken:
            raise PortTaken(f"a port of the host must be named for {protocol}")
        self._held.setdefault((protocol, taken), {})[address] = (owner, holder)
        return taken

    def _holder(self, protocol: str, address: str, port: int) -> str:
        for its_address, (owner, _) in self._held.get((protocol, port), {}).items():
            same_kind = (":" in its_address) == (":" in address)
            if same_kind and (its_address == address or not _ANY.isdisjoint((address, its_address))):
                return owner
        return ""

    def give_back(self, published: Published) -> None:
        """Make a port free again."""
        self._give_back(published.protocol, published.host_address, published.host_port)

    def _give_back(self, protocol: str, address: str, port: int) -> None:
        holders = self._held.get((protocol, port), {})
        _, holder = holders.pop(address, ("", None))
        if not holders:
            self._held.pop((protocol, port), None)
        if holder is not None:
            holder.close()

    def close(self) -> None:
        """Let all of them go; the rules that lead to containers stay."""
        for holders in self._held.values():
            for _, holder in holders.values():
                if holder is not None:
                    holder.close()
        self._held.clear()


def shown(address: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def _bind(protocol: str, address: str, port: int) -> socket.socket | None:
    """Return a socket that has the port; None for sctp, which has no ports where its module is not loaded."""
    if protocol not in _KINDS:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    holder = socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads
        holder.bind((address, port))
    except OSError as exc:
        holder.close()
        hint, why = "", str(exc.strerror).lower()
        if exc.errno == errno.EADDRINUSE:
            user = find_user(protocol, port) or "a program of the host"
            why = f"address already in use: {user} has it"
            hint = "publish another port, or see `ss -lptun`"
        elif exc.errno == errno.EADDRNOTAVAIL:
            hint = "the host has no such address: see `ip address`"
        raise PortTaken(
            f"failed to bind host port {shown(address)}:{port}/{protocol}: {why}", hint=hint
        ) from exc
    return holder
