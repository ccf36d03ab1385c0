"""CNI documents: a list of plugins for one network, what they answer, what they say when they fail.

Source: CNI specification 1.1.0, sections 1 (network configuration), 2 (execution), 5 (result types).
"""

from __future__ import annotations

import re

import msgspec

from sampan.errors import InvalidArgument

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
Document = dict[str, object]  # JSON of a plugin's own; we pass it on and read single keys only
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class NetworkList(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A network: its plugins run in this order for ADD, CHECK, STATUS and GC, in reverse for DEL."""

    name: str
    plugins: tuple[Document, ...]
    cni_version: str = "0.2.0"  # section 1: what a document without it means
    disable_check: bool = False
    disable_gc: bool = msgspec.field(default=False, name="disableGC")

    def at_least(self, version: str) -> bool:
        """Tell whether the network speaks a version of CNI, or a later one."""
        return _numbers(self.cni_version) >= _numbers(version)


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interface that plugins made; sandbox: path of the container's namespace, "" on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An address with its prefix length. interface: place in the list of interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What ADD answers, as far as we read it; plugins get the document itself back."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Address, ...] = ()

    def inside(self, name: str) -> tuple[Interface | None, list[Address]]:
        """Return the container's interface of that name, and its addresses; those of no interface are its."""
        for place, interface in enumerate(self.interfaces):
            if interface.sandbox and interface.name == name:
                return interface, [one for one in self.ips if one.interface in (place, None)]
        return None, [one for one in self.ips if one.interface is None]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin prints when it fails. Codes: section 5, "Error"; 11: try again later."""

    code: int = 0
    msg: str = ""
    details: str = ""


def parse_network_list(raw: bytes, *, origin: str) -> NetworkList:
    """Read a `.conflist`, or a `.conf` of one plugin.

    origin: where it is from, for the error.

    Raises:
        InvalidArgument: it is neither, or of a version that we do not speak.
    """
    try:
        document: Document = msgspec.json.decode(raw, type=dict)
        if "plugins" not in document:
            document = {key: document[key] for key in ("name", "cniVersion") if key in document} | {
                "plugins": [document]
            }
        found = msgspec.convert(document, NetworkList)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise InvalidArgument(f"CNI network {origin}: {exc}") from exc
    if not _NAME.fullmatch(found.name):
        raise InvalidArgument(f"CNI network {origin}: name {found.name!r} is not [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    if found.cni_version not in SUPPORTED:
        raise InvalidArgument(
            f"CNI network {origin}: version {found.cni_version!r} is not supported",
            hint=f"sampan speaks {', '.join(SUPPORTED)}",
        )
    if not found.plugins:
        raise InvalidArgument(f"CNI network {origin} names no plugins")
    for plugin in found.plugins:
        kind = plugin.get("type")
        if not isinstance(kind, str) or "/" in kind or not kind:
            raise InvalidArgument(f"CNI network {origin}: plugin type {kind!r} is not the name of a program")
    return found


def parse_result(raw: bytes, *, plugin: str) -> tuple[Document, Result]:
    """Read what ADD answered: the document, and what we understand of it.

    Raises:
        InvalidArgument: it is no result.
    """
    try:
        document: Document = msgspec.json.decode(raw, type=dict)
        return document, msgspec.convert(document, Result)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise InvalidArgument(f"CNI plugin {plugin} answered no result: {exc}") from exc


def parse_failure(raw: bytes) -> Failure | None:
    """Read what a plugin said when it failed; None if that is no CNI error."""
    try:
        return msgspec.json.decode(raw, type=Failure)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
