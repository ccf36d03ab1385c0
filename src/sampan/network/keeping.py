"""Interfaces that somebody removed by hand are made again: bridges here, pairs by who can enter containers.

A container's end removes its pair, too: only what is missed a while later, and still has a row, was taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.errors import SampanError
from sampan.kernel import links_watch
from sampan.network.drivers import Place
from sampan.network.links import Links

if TYPE_CHECKING:
    from _socket import socket

_WAIT_S: Final = 0.5  # for the end of a container, and for whoever removes many
Watch = Callable[[int, Callable[[], None]], object]  # have a function called when a descriptor is readable


class Keeper:
    """Looks after the interfaces of bridge networks; any thread may call.

    places: returns the places that should be there. on_lost: called with one whose pair is gone.
    """

    def __init__(
        self,
        links: Links,
        *,
        watch: Watch,
        places: Callable[[], list[Place]],
        on_lost: Callable[[Place], None],
    ) -> None:
        self._links = links
        self._watch = watch
        self._places = places
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._timer: threading.Timer | None = None
        self._removed_names: set[str] = set()
        self._missed = False  # some removals: everything must be looked at
        self._closed = False

    def begin(self) -> None:
        """Be told of removals from now on."""
        with self._lock:
            if self._socket is None and not self._closed:
                self._socket = links_watch.open_watch()
                self._watch(self._socket.fileno(), self._removed)

    def _removed(self) -> None:
        """An interface is gone, most often because its container has ended: look a while later."""
        with self._lock:
            if self._socket is None:
                return
            names = links_watch.take_removed(self._socket)
            self._removed_names |= names or set()
            self._missed = self._missed or names is None
            if self._timer is None:
                self._timer = threading.Timer(_WAIT_S, self._look)
                self._timer.daemon = True
                self._timer.start()

    def _look(self) -> None:
        with self._lock:
            self._timer = None
            removed, missed = self._removed_names, self._missed
            self._removed_names, self._missed = set(), False
            if self._closed:
                return
        places = self._places()
        known = {name for network, endpoint in places for name in (network.bridge, endpoint.veth)}
        if not missed and known.isdisjoint(removed):
            return  # containers that have ended
        try:
            there = self._links.names()
            for network in {network.id: network for network, _ in places}.values():
                if network.bridge not in there:
                    log.warning("somebody removed a bridge: made again", bridge=network.bridge)
                    ports = [endpoint for one, endpoint in places if one.id == network.id]
                    self._links.restore_bridge(network, [one for one in ports if one.veth in there])
        except (OSError, SampanError) as exc:
            log.error("a bridge that was removed cannot be made again", reason=exc)
            return
        for place in places:
            if place[1].veth not in there:
                self._on_lost(place)

    def close(self) -> None:
        """Look after nothing any more."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if self._socket is not None:
                self._socket.close()
                self._socket = None
