"""Ports of the host: taken by a bound socket, so that two never get the same, whoever they are."""

from __future__ import annotations

import errno
import socket
from typing import Final

from sampan.errors import SampanError
from sampan.network.model import Published

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
Reserved = tuple[str, str, int]  # protocol, address, port


class PortTaken(SampanError):
    """A port of the host has another user."""


class HostPorts:
    """The host's ports that containers have. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._sockets: dict[Reserved, socket.socket | None] = {}
        self._owners: dict[Reserved, str] = {}

    def take(self, protocol: str, address: str, ports: range, *, owner: str) -> int:
        """Take one of ports, or any free one when it is empty; return which.

        Raises:
            PortTaken: none is free.
        """
        error: PortTaken | None = None
        for port in ports or (0,):
            try:
                return self._take(protocol, address, port, owner)
            except PortTaken as exc:
                error = exc
        assert error is not None
        raise error

    def _take(self, protocol: str, address: str, port: int, owner: str) -> int:
        other = self._holder(protocol, address, port) if port else ""
        if other:
            raise PortTaken(
                f"Bind for {address}:{port} failed: port is already allocated",
                hint=f"container {other} has it",
            )
        holder = _bind(protocol, address, port)
        taken = holder.getsockname()[1] if holder is not None else port
        if not taken:
            raise PortTaken(f"a port of the host must be named for {protocol}")
        self._sockets[protocol, address, taken] = holder
        self._owners[protocol, address, taken] = owner
        return int(taken)

    def _holder(self, protocol: str, address: str, port: int) -> str:
        for (its_protocol, its_address, its_port), owner in self._owners.items():
            if (its_protocol, its_port) == (protocol, port) and (
                its_address == address or "0.0.0.0" in (address, its_address)  # noqa: S104
            ):
                return owner
        return ""

    def give_back(self, published: Published) -> None:
        """Make a port free again."""
        key = (published.protocol, published.host_address, published.host_port)
        self._owners.pop(key, None)
        holder = self._sockets.pop(key, None)
        if holder is not None:
            holder.close()

    def close(self) -> None:
        """Let all of them go; the rules that lead to containers stay."""
        for holder in self._sockets.values():
            if holder is not None:
                holder.close()
        self._sockets.clear()
        self._owners.clear()


def _bind(protocol: str, address: str, port: int) -> socket.socket | None:
    """Return a socket that has the port; None for sctp, which has no ports where its module is not loaded."""
    if protocol not in _KINDS:
        return None
    holder = socket.socket(socket.AF_INET, _KINDS[protocol] | socket.SOCK_CLOEXEC)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads
        holder.bind((address, port))
    except OSError as exc:
        holder.close()
        why = "address already in use" if exc.errno == errno.EADDRINUSE else str(exc.strerror).lower()
        raise PortTaken(
            f"failed to bind host port {address}:{port}/{protocol}: {why}",
            hint="a program of the host has it: see `ss -lptun`" if exc.errno == errno.EADDRINUSE else "",
        ) from exc
    return holder
