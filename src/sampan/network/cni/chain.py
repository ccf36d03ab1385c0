"""One CNI network's plugins in their order: ADD, DEL, CHECK, GC, STATUS.

Source: CNI specification 1.1.0, sections 2 (execution protocol) and 3 (execution of network configurations).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sampan import log
from sampan.errors import InvalidArgument, NotFound, SampanError, Unavailable
from sampan.network.cni.runner import Answer, Runner
from sampan.spec.cni import Document, NetworkList, Result, parse_failure, parse_result

VALID_ATTACHMENTS = "cni.dev/valid-attachments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A container's interface in a network. namespace: a path, "" when the namespace is gone.

    capabilities: what the runtime offers (portMappings, ips, mac …); a plugin gets what it declares.
    """

    container: str
    interface: str
    namespace: str = ""
    capabilities: Mapping[str, object] = field(default_factory=dict)


class Chain:
    """The plugins of one network; calls for one container come one after another."""

    def __init__(self, network: NetworkList, runner: Runner, folders: Sequence[str]) -> None:
        """folders: where the programs are looked for, in order."""
        self._network = network
        self._runner = runner
        self._folders = tuple(folders)

    def check_programs(self) -> None:
        """Refuse a network one of whose programs is missing.

        Raises:
            NotFound: naming it.
        """
        for plugin in self._network.plugins:
            self._path(plugin)

    def capabilities(self) -> set[str]:
        """Return what the plugins ask of a runtime."""
        asked: set[str] = set()
        for plugin in self._network.plugins:
            wanted = plugin.get("capabilities")
            if isinstance(wanted, dict):
                asked |= {name for name, truth in wanted.items() if truth is True}
        return asked

    def add(self, attachment: Attachment) -> tuple[Document, Result]:
        """Make an interface; what was half made is taken away again.

        Raises:
            SampanError: a plugin failed.
        """
        document: Document | None = None
        result = Result()
        try:
            for plugin in self._network.plugins:
                answer = self._run("ADD", plugin, attachment, previous=document)
                document, result = parse_result(answer.out.encode(), plugin=str(plugin["type"]))
        except SampanError as exc:
            try:
                self.delete(attachment, previous=document)
            except SampanError as second:
                exc.add_note(f"while undoing: {second}")
            raise
        assert document is not None
        return document, result

    def delete(self, attachment: Attachment, *, previous: Document | None) -> None:
        """Take an interface away; every plugin gets its turn.

        Raises:
            SampanError: the first failure.
        """
        if not self._network.at_least("0.4.0"):
            previous = None  # prevResult at DEL came with 0.4.0
        error: SampanError | None = None
        for plugin in reversed(self._network.plugins):
            try:
                self._run("DEL", plugin, attachment, previous=previous)
            except SampanError as exc:
                error = error or exc
        if error is not None:
            raise error

    def check(self, attachment: Attachment, *, previous: Document) -> None:
        """Have the plugins look whether an interface is as they made it.

        Raises:
            SampanError: it is not.
        """
        if self._network.disable_check or not self._network.at_least("0.4.0"):
            return
        for plugin in self._network.plugins:
            self._run("CHECK", plugin, attachment, previous=previous)

    def collect(self, valid: Iterable[tuple[str, str]]) -> None:
        """Let plugins drop all that belongs to none of valid (container, interface). From CNI 1.1 on.

        Raises:
            SampanError: the first failure; every plugin gets its turn.
        """
        if self._network.disable_gc or not self._network.at_least("1.1.0"):
            return
        attachments = [{"containerID": container, "ifname": name} for container, name in valid]
        error: SampanError | None = None
        for plugin in self._network.plugins:
            try:
                self._run("GC", {**plugin, VALID_ATTACHMENTS: attachments}, None)
            except SampanError as exc:
                error = error or exc
        if error is not None:
            raise error

    def status(self) -> None:
        """Ask the plugins whether they can make interfaces now. From CNI 1.1 on.

        Raises:
            Unavailable: one cannot; what it says is in the text.
        """
        if not self._network.at_least("1.1.0"):
            return
        for plugin in self._network.plugins:
            self._run("STATUS", plugin, None)

    def _run(
        self,
        command: str,
        plugin: Document,
        attachment: Attachment | None,
        *,
        previous: Document | None = None,
    ) -> Answer:
        kind = str(plugin["type"])
        environment = {"CNI_COMMAND": command, "CNI_PATH": ":".join(self._folders)}
        if attachment is not None:
            environment |= {
                "CNI_CONTAINERID": attachment.container,
                "CNI_IFNAME": attachment.interface,
                "CNI_NETNS": attachment.namespace,
            }
        offered = attachment.capabilities if attachment is not None else {}
        config = self._config(plugin, offered, previous)
        log.debug("CNI plugin runs", plugin=kind, command=command, network=self._network.name)
        answer = self._runner.run(
            self._path(plugin), environment=environment, document=msgspec.json.encode(config)
        )
        if answer.code != 0:
            raise Unavailable(f"CNI plugin {kind} failed at {command}: {_complaint(answer)}")
        return answer

    def _config(self, plugin: Document, offered: Mapping[str, object], previous: Document | None) -> Document:
        """Return a plugin's own document for one call: section 3, "Deriving execution configuration"."""
        config = {key: value for key, value in plugin.items() if key != "capabilities"}
        config |= {"name": self._network.name, "cniVersion": self._network.cni_version}
        wanted = plugin.get("capabilities")
        if isinstance(wanted, dict):
            given = {key: offered[key] for key, truth in wanted.items() if truth is True and key in offered}
            if given:
                config["runtimeConfig"] = given
        if previous is not None:
            config["prevResult"] = previous
        return config

    def _path(self, plugin: Document) -> str:
        kind = str(plugin["type"])
        for folder in self._folders:
            path = f"{folder}/{kind}"
            if os.access(path, os.X_OK):
                return path
        raise NotFound(
            f"CNI plugin {kind} of network {self._network.name} is not there",
            hint=f"looked in {', '.join(self._folders)}; Debian: containernetworking-plugins",
        )


def _complaint(answer: Answer) -> str:
    failure = parse_failure(answer.out.encode())
    if failure is None or not (failure.msg or failure.code):
        return (answer.err or answer.out).strip() or f"exit status {answer.code}"
    details = f" ({failure.details})" if failure.details else ""
    return f"{failure.msg}{details} [code {failure.code}]"


def find_network_list(folders: Iterable[str], name: str) -> tuple[str, bytes]:
    """Return path and bytes of the file of a network: `NAME.conflist`, `NAME.conf`, or with that name inside.

    Raises:
        NotFound: there is none. InvalidArgument: name is no plain name.
    """
    if "/" in name or name.startswith("."):
        raise InvalidArgument(f"CNI network {name!r}: a name, not a path")
    seen = []
    for folder in folders:
        try:
            files = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue
        for file in files:
            stem, dot, kind = file.rpartition(".")
            if not dot or kind not in ("conflist", "conf", "json"):
                continue
            with open(f"{folder}/{file}", "rb") as opened:
                raw = opened.read()
            if name in (stem, _name_in(raw)):
                return f"{folder}/{file}", raw
            seen.append(_name_in(raw) or stem)
    raise NotFound(
        f"CNI network {name!r} is not there",
        hint=f"in {', '.join(folders)} there is: {', '.join(seen) or 'nothing'}",
    )


def _name_in(raw: bytes) -> str:
    try:
        document = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return ""
    return str(document.get("name", "")) if isinstance(document, dict) else ""
