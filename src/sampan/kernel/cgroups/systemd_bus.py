"""What a manager asks of systemd: start, change and stop a unit. Lean (decision 0002).

Source: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os

from sampan.errors import SampanError, Unavailable
from sampan.kernel.dbus import BusError, Connection, socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.kernel.cgroups.unit_properties import Property

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = (_NAME, _PATH, f"{_NAME}.Manager")
_GONE = (f"{_NAME}.NoSuchUnit", f"{_NAME}.UnitNotLoaded")
_EXISTS = f"{_NAME}.UnitExists"


class Systemd:
    """A conversation with the systemd that manages our units: the machine's, or for a user the user's own.

    It is opened at the first call.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._version = 0

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def version(self) -> int:
        """Return the major version, 0 if it says none that we can read."""
        if not self._version:
            digits = ""
            for letter in self._property("Version").lstrip("v"):
                if not letter.isdigit():
                    break
                digits += letter
            self._version = int(digits or 0)
        return self._version

    def root(self) -> str:
        """Return the cgroup below which all its units are, without a slash in front; "" for the root."""
        return self._property("ControlGroup").strip("/")

    def start_scope(self, unit: str, properties: Sequence[Property]) -> None:
        """Start a transient scope and return once it has started.

        A unit of this name that failed and is kept is forgotten first.

        Raises:
            SampanError: systemd refuses it.
        """
        values: tuple[object, ...] = (unit, "replace", list(properties), [])
        try:
            job = self._start_job("StartTransientUnit", "ssa(sv)a(sa(sv))", values)
        except BusError as exc:
            if exc.name != _EXISTS:
                raise _refusal("start", unit, exc) from exc
            self.forget(unit)
            try:
                job = self._start_job("StartTransientUnit", "ssa(sv)a(sa(sv))", values)
            except BusError as again:
                raise _refusal("start", unit, again) from again
        result = self._wait(job)
        if result != "done":
            self.forget(unit)
            raise SampanError(f"systemd did not start {unit}: {result}", hint=f"see journalctl -u {unit}")

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change a unit until it ends; return once systemd has written what follows from it.

        It answers first and writes the cgroup's files in its next turn, so one more question is asked: with
        the answer to that the files are written, and what we write to them stays.

        Raises:
            SampanError: systemd refuses it, or there is no such unit.
        """
        if not properties:
            return
        try:
            self._call("SetUnitProperties", "sba(sv)", (unit, True, list(properties)))
        except BusError as exc:
            raise _refusal("change", unit, exc) from exc
        self._call("Ping", "", (), target=(_NAME, _PATH, "org.freedesktop.DBus.Peer"))

    def stop(self, unit: str) -> None:
        """Stop a unit, return once it has stopped, and let systemd forget it; one that is gone is fine.

        Raises:
            SampanError: systemd refuses it.
        """
        try:
            self._wait(self._start_job("StopUnit", "ss", (unit, "replace")))
        except BusError as exc:
            if exc.name not in _GONE:
                raise _refusal("stop", unit, exc) from exc
            return  # nor is there anything to forget: the scope ended with its last process
        self.forget(unit)

    def forget(self, unit: str) -> None:
        """Let systemd forget a unit that failed; any other stays."""
        try:
            self._call("ResetFailedUnit", "s", (unit,))
        except BusError:
            pass  # not loaded any more, which is what was wanted

    def _start_job(self, member: str, signature: str, values: tuple[object, ...]) -> object:
        return self._call(member, signature, values)[0]

    def _wait(self, job: object) -> object:
        """Return how a job ended: JobRemoved(number, job, unit, result)."""
        try:
            return self._open().wait_signal("JobRemoved", lambda values: values[1:2] == (job,))[3]
        except OSError as exc:
            self.close()
            raise Unavailable(f"systemd did not finish its work: {exc.strerror}") from exc

    def _property(self, name: str) -> str:
        target = (_NAME, _PATH, "org.freedesktop.DBus.Properties")
        (found,) = self._call("Get", "ss", (f"{_NAME}.Manager", name), target=target)
        assert isinstance(found, tuple)  # a variant
        return str(found[1])

    def _call(
        self,
        member: str,
        signature: str,
        values: tuple[object, ...],
        *,
        target: tuple[str, str, str] = _MANAGER,
    ) -> tuple[object, ...]:
        connection = self._open()
        try:
            return connection.call(target, member, signature, values)
        except OSError as exc:
            self.close()
            raise Unavailable(f"systemd does not answer {member}: {exc.strerror}") from exc

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = connect()
            self._connection.watch(_NAME, _MANAGER[2], "JobRemoved")
            self._call("Subscribe", "", ())
        return self._connection


def connect() -> Connection:
    """Connect to systemd directly, else over the message bus.

    Raises:
        Unavailable: none answers; the message has the addresses that were tried.
    """
    tried = []
    for path, is_bus in _addresses():
        try:
            return Connection(path, bus=is_bus)
        except (OSError, BusError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            tried.append(f"unix:path={path}: {why}")
    raise Unavailable(
        f"no systemd answers, which the cgroup driver systemd needs ({'; '.join(tried)})",
        hint="use --cgroup-manager cgroupfs",
    )


def _addresses() -> list[tuple[str, bool]]:
    """Return (path of a socket, whether a message bus answers there), best first.

    systemd's own socket takes root only, and its user only; it needs no bus daemon and is one hop shorter.
    """
    if os.geteuid() == 0:
        given = socket_path(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", ""))
        if given:
            return [(given, True)]
        return [("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True)]
    given = socket_path(os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""))
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return [(f"{runtime_dir}/systemd/private", False), (given or f"{runtime_dir}/bus", True)]


def _refusal(verb: str, unit: str, exc: BusError) -> SampanError:
    return SampanError(f"systemd refuses to {verb} {unit}: {exc}", hint=f"it says {exc.name}")
