"""Which of a container's interfaces is called what, and which network leads it outside. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.network.drivers import Place
from sampan.network.model import Endpoint

PREFIX = "eth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A name for one, and its place in the order of a container's."""

    name: str
    order: int


class Interfaces:
    """The names of one container's interfaces."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        known = list(endpoints)
        self._taken = {one.interface for one in known}
        self._last = max((one.order for one in known), default=-1)

    def take(self, name: str = "", *, prefix: str = PREFIX) -> Interface:
        """Return the name that was asked for, or the first free one with a prefix.

        Raises:
            InvalidArgument: another one has it.
        """
        if name in self._taken:
            raise InvalidArgument(f"interface name {name!r} is in use in this container")
        number = 0
        while not name:
            candidate, number = f"{prefix}{number}", number + 1
            name = candidate if candidate not in self._taken else ""
        self._taken.add(name)
        self._last += 1
        return Interface(name=name, order=self._last)


def choose_gateway(places: Iterable[Place], version: int = 4) -> Place | None:
    """Return the network and endpoint of a container that lead outside by IPv4 or IPv6.

    The highest priority, and of several the first name, as Docker has it (`network connect`, --gw-priority).
    """
    outward = [place for place in places if not place[0].internal and place[0].leads(version)]
    return min(outward, key=lambda place: (-place[1].gateway_priority, place[0].name), default=None)
