"""The driver `cni`: networks whose interfaces other people's plugins make (docs/networks.md, "CNI").

What DEL needs is written down before ADD begins, in a file of its own, and stays until DEL has worked: a
container whose end nobody saw is taken away at the next start of sampand.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Final

import msgspec

from sampan import log
from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.network.cni.chain import Attachment, Chain
from sampan.network.cni.runner import Runner
from sampan.network.drivers import Place
from sampan.network.model import Endpoint, NetworkRecord
from sampan.spec.cni import Document, NetworkList, Result

if TYPE_CHECKING:
    from _socket import socket

_PATIENCE_S: Final = 60.0
_PORTS: Final = "portMappings"  # names of capabilities: CNI's CONVENTIONS.md
_Key = tuple[str, str]  # container, interface


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down for one interface. result: what ADD answered, None while it runs."""

    container: str
    interface: str
    network: NetworkList
    capabilities: dict[str, object]
    result: Document | None = None


class CniNetworks:
    """See `Driver`. folder: of the notes; programs: folders of plugins."""

    def __init__(self, folder: str, programs: Sequence[str]) -> None:
        self._folder = folder
        self._programs = tuple(programs)
        self._runner = Runner()
        self._leaving: set[_Key] = set()
        self._left = threading.Condition()

    def check(self, network: NetworkRecord, others: Sequence[NetworkRecord]) -> None:
        """Refuse a network whose plugins are missing, or say that they are not able."""
        chain = self._chain(_list_of(network))
        chain.check_programs()
        chain.status()

    def holds(self, network: NetworkRecord) -> bool:
        """Only the plugins know."""
        return False

    def prepare(self, network: NetworkRecord) -> None:
        """Plugins do that at ADD."""

    def connect(self, places: Sequence[Place], *, namespace: int, inside: socket) -> list[Endpoint]:
        """ADD."""
        path = f"/proc/{os.getpid()}/fd/{namespace}"
        return [self._add(network, endpoint, path) for network, endpoint in places]

    def _add(self, network: NetworkRecord, endpoint: Endpoint, namespace: str) -> Endpoint:
        self._wait_until_left((endpoint.container, endpoint.interface))
        plugins = _list_of(network)
        chain = self._chain(plugins)
        offered = _capabilities(network, endpoint)
        if endpoint.published and _PORTS not in chain.capabilities():
            raise InvalidArgument(
                f"cannot publish ports in network {network.name}: none of its plugins takes portMappings",
                hint="add the plugin portmap with that capability to its conflist",
            )
        note = _Note(
            container=endpoint.container,
            interface=endpoint.interface,
            network=plugins,
            capabilities=offered,
        )
        self._write(note)
        attachment = _attachment(note, namespace)
        try:
            document, result = chain.add(attachment)
        except SampanError:
            self._forget(note)
            raise
        self._write(msgspec.structs.replace(note, result=document))
        return _with_result(endpoint, result)

    def route_outward(self, place: Place, *, version: int, inside: socket) -> None:
        """Plugins make routes."""

    def change(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Ports stay where plugins have put them."""

    def withdraw(self, places: Sequence[Place]) -> None:
        """Let a new start of the same containers wait for DEL."""
        with self._left:
            self._leaving |= {(endpoint.container, endpoint.interface) for _, endpoint in places}

    def end(self, places: Sequence[Place]) -> Sequence[Place]:
        """DEL: a new ADD waits for it."""
        self.remove_links(places, inside=None)
        return ()

    def remove_links(self, places: Sequence[Place], *, inside: socket | None, namespace: int = -1) -> None:
        """DEL."""
        path = f"/proc/{os.getpid()}/fd/{namespace}" if namespace >= 0 else ""
        for _, endpoint in places:
            key = (endpoint.container, endpoint.interface)
            note = self._read(self._path(*key))
            try:
                if note is not None:
                    self._delete(note, path)
            finally:
                self._let_go([key])

    def _delete(self, note: _Note, namespace: str) -> None:
        try:
            self._chain(note.network).delete(_attachment(note, namespace), previous=note.result)
        except SampanError as exc:  # its note stays: the next start of sampand tries again
            log.error("CNI interface is not taken away yet", container=note.container, reason=exc)
        else:
            self._forget(note)

    def remove(self, network: NetworkRecord) -> None:
        """Let plugins drop what they still have."""
        try:
            self._chain(_list_of(network)).collect([])
        except SampanError as exc:
            log.warning("CNI plugins did not clean up", network=network.name, reason=exc)

    def recover(self, places: Sequence[Place]) -> None:
        """DEL for those whose containers are gone, CHECK for the others, GC; in a thread of its own."""
        notes = list(self._notes())
        if not notes:
            return
        running = {(endpoint.container, endpoint.interface) for _, endpoint in places}
        gone = [note for note in notes if (note.container, note.interface) not in running]
        with self._left:
            self._leaving |= {(note.container, note.interface) for note in gone}
        kept = [note for note in notes if note not in gone]
        threading.Thread(target=self._settle, args=(gone, kept), name="sampan-cni", daemon=True).start()

    def _settle(self, gone: Sequence[_Note], kept: Sequence[_Note]) -> None:
        for note in gone:
            try:
                self._delete(note, "")
            finally:
                self._let_go([(note.container, note.interface)])
        lists = {note.network.name: note.network for note in (*gone, *kept)}
        for name, plugins in lists.items():
            mine = [note for note in kept if note.network.name == name]
            try:
                for note in mine:
                    if note.result is not None:
                        self._chain(plugins).check(_attachment(note, ""), previous=note.result)
                self._chain(plugins).collect((note.container, note.interface) for note in mine)
            except SampanError as exc:
                log.warning("CNI network is not as it was", network=name, reason=exc)

    def _let_go(self, keys: Iterable[_Key]) -> None:
        with self._left:
            self._leaving.difference_update(keys)
            self._left.notify_all()

    def _wait_until_left(self, key: _Key) -> None:
        with self._left:
            if not self._left.wait_for(lambda: key not in self._leaving, _PATIENCE_S):
                raise Unavailable(f"CNI plugins are still busy with interface {key[1]} of this container")

    def close(self) -> None:
        """Let the process that runs plugins end."""
        self._runner.close()

    def _chain(self, plugins: NetworkList) -> Chain:
        return Chain(plugins, self._runner, self._programs)

    # ---- the notes

    def _path(self, container: str, interface: str) -> str:
        return f"{self._folder}/{container}-{interface}.json"

    def _write(self, note: _Note) -> None:
        path = self._path(note.container, note.interface)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with open(f"{path}.new", "wb") as file:
            file.write(msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)

    def _read(self, path: str) -> _Note | None:
        try:
            with open(path, "rb") as file:
                return msgspec.json.decode(file.read(), type=_Note)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as exc:
            log.error("note of a CNI interface cannot be read", path=path, reason=exc)
            return None

    def _forget(self, note: _Note) -> None:
        try:
            os.unlink(self._path(note.container, note.interface))
        except FileNotFoundError:
            pass

    def _notes(self) -> Iterable[_Note]:
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return
        for name in names:
            note = self._read(f"{self._folder}/{name}") if name.endswith(".json") else None
            if note is not None:
                yield note


def _list_of(network: NetworkRecord) -> NetworkList:
    return msgspec.convert(network.cni, NetworkList)


def _attachment(note: _Note, namespace: str) -> Attachment:
    return Attachment(
        container=note.container,
        interface=note.interface,
        namespace=namespace,
        capabilities=note.capabilities,
    )


def _capabilities(network: NetworkRecord, endpoint: Endpoint) -> dict[str, object]:
    offered: dict[str, object] = {"aliases": {network.name: list(endpoint.names)}}
    if endpoint.published:
        offered[_PORTS] = [
            {
                "hostPort": one.host_port,
                "containerPort": one.port,
                "protocol": one.protocol,
                "hostIP": one.host_address,
            }
            for one in endpoint.published
        ]
    if endpoint.hardware:
        offered["mac"] = endpoint.hardware
    if endpoint.address:
        offered["ips"] = [endpoint.address]
    return offered


def _with_result(endpoint: Endpoint, result: Result) -> Endpoint:
    """Return an endpoint with what plugins gave it."""
    interface, addresses = result.inside(endpoint.interface)
    parsed = [(ip_interface(one.address), one.gateway) for one in addresses]
    first = next(((one, gateway) for one, gateway in parsed if one.version == 4), None)
    second = next((one for one, _ in parsed if one.version == 6), None)
    return msgspec.structs.replace(
        endpoint,
        hardware=interface.mac if interface is not None else endpoint.hardware,
        address=str(first[0].ip) if first is not None else "",
        prefix=first[0].network.prefixlen if first is not None else 0,
        gateway=first[1] if first is not None else "",
        address6=str(second.ip) if second is not None else "",
    )
