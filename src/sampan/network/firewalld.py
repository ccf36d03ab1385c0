"""firewalld: our bridges are put in its zone `trusted`, by its own interface, so that containers pass it.

Its forward chain refuses what comes by an interface of no such zone. What is asked for is of its runtime
only, never of its files. Source: firewalld.dbus(5), org.fedoraproject.FirewallD1.zone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Final

from sampan import log
from sampan.kernel.dbus import BusError, Connection, socket_path

TABLE: Final = "firewalld"
ZONE: Final = "trusted"
_NAME: Final = "org.fedoraproject.FirewallD1"
_TARGET: Final = (_NAME, "/org/fedoraproject/FirewallD1", f"{_NAME}.zone")
_BUS: Final = "/run/dbus/system_bus_socket"


class Firewalld:
    """Any thread may call; firewalld is asked in a thread of its own, for it may take seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: frozenset[str] = frozenset()
        self._ours: set[str] = set()
        self._asking = False
        self._again = False
        self.works = False  # whether our bridges are in the zone, as far as is known

    def settle(self, bridges: Iterable[str]) -> None:
        """Have these bridges in the zone, and none else of ours; returns at once."""
        with self._lock:
            self._wanted = frozenset(bridges)
            if self._asking:
                self._again = True
                return
            self._asking = True
        threading.Thread(target=self._ask, name="sampan-firewalld", daemon=True).start()

    def _ask(self) -> None:
        while True:
            with self._lock:
                wanted, self._again = self._wanted, False
            try:
                self._settle(wanted)
                self.works = True
            except (OSError, BusError) as exc:
                self.works = False
                log.warning("firewalld does not let containers through", reason=exc)
            with self._lock:
                if not self._again:
                    self._asking = False
                    return

    def _settle(self, wanted: frozenset[str]) -> None:
        path = socket_path(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")) or _BUS
        connection = Connection(path, bus=True)
        try:
            listed = connection.call(_TARGET, "getInterfaces", "s", (ZONE,))[0]
            there = set(map(str, listed)) if isinstance(listed, list) else set()
            self._ours |= there & wanted
            for name in sorted(wanted - there):
                connection.call(_TARGET, "addInterface", "ss", (ZONE, name))
                self._ours.add(name)
                log.info("a bridge is in a zone of firewalld", zone=ZONE, bridge=name)
            for name in sorted((self._ours & there) - wanted):
                connection.call(_TARGET, "removeInterface", "ss", (ZONE, name))
            self._ours &= wanted
        finally:
            connection.close()
