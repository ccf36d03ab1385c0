"""The contract of a network driver: what makes one kind of network out of the kernel's parts.

`Networks` decides who is in which network, at which address and ports, and remembers it; a driver does it.

```
 prepare ──► connect ──► route_outward      withdraw (quick) ──► [end ──►] remove_links (slow) ──► remove
    └── again and again is fine ──┘              └────── what is gone already is fine ──────┘
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sampan.network.model import Endpoint, NetworkRecord

if TYPE_CHECKING:
    from _socket import socket

Place = tuple[NetworkRecord, Endpoint]  # a container's place in a network


class Driver(Protocol):
    """One kind of network; one object an engine. Any thread may call, also `connect` several at once."""

    def check(self, network: NetworkRecord, others: Sequence[NetworkRecord]) -> None:
        """Refuse a new network that cannot be, beside these others.

        Raises:
            SampanError: saying why.
        """

    def holds(self, network: NetworkRecord) -> bool:
        """Tell whether anything of a network is on the host since this sampand runs."""

    def prepare(self, network: NetworkRecord) -> None:
        """Have on the host what a network needs; quick when it is there.

        Raises:
            OSError, SampanError: it cannot be.
        """

    def connect(self, places: Sequence[Place], *, namespace: int, inside: socket) -> list[Endpoint]:
        """Give a container its interfaces in prepared networks, and let its published ports lead to it.

        namespace: a descriptor of the container's; inside: a netlink socket in it. Returns the endpoints,
        with the addresses where the driver gives them itself.

        Raises:
            OSError, SampanError: the caller calls `withdraw` and `remove_links`.
        """

    def route_outward(self, place: Place, *, version: int, inside: socket) -> None:
        """Have a container's default route of IPv4 or IPv6 by one of its networks."""

    def change(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Let published ports lead to other places of the same networks, at one stroke."""

    def withdraw(self, places: Sequence[Place]) -> None:
        """Let nothing lead to a container's places any more, whether `connect` got to its end or not."""

    def end(self, places: Sequence[Place]) -> Sequence[Place]:
        """Do at once what has to be done for withdrawn places whose namespace ends.

        Returns those whose interfaces the kernel removes with it: `remove_links` is called for them later,
        in case somebody holds the namespace.
        """

    def remove_links(self, places: Sequence[Place], *, inside: socket | None, namespace: int = -1) -> None:
        """Remove interfaces; slow. Those that are gone are fine.

        inside, namespace: a netlink socket in the container where it goes on, and a descriptor of its
        namespace; None and -1: its namespace ends with it.
        """

    def remove(self, network: NetworkRecord) -> None:
        """Take away what `prepare` made; nothing is in it."""

    def recover(self, places: Sequence[Place]) -> None:
        """Take over what the host has of these places, have what is missing, drop everything else of ours."""

    def close(self) -> None:
        """Let sockets go; containers keep their network."""
