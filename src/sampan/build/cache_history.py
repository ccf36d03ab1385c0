"""Steps of an image that is here, by its history: what classic's `--cache-from IMAGE` means.

An image that was pulled has no records, but a line for each step. A step is the image's if all that came
before is: the same history, times included, and the same layers. The line says less than a key does (it does
in dockerd), so steps that depend on more than it says are left out.

Source: moby, image/cache/cache.go (`isValidParent`, `isValidConfig`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from sampan.build.cache_format import Offered
from sampan.build.state import StageState
from sampan.errors import InvalidArgument
from sampan.spec.image import History, ImageConfig
from sampan.spec.times import parse_time_ns
from sampan.store.built import Stack


class HistoryCache:
    """The steps of one image."""

    def __init__(self, config: ImageConfig, stack: Stack) -> None:
        self._history = config.history
        self._platform = config.platform
        self._stack = stack
        # How many layers there are after so many entries.
        self._layers = [0, *accumulate(int(not one.empty_layer) for one in config.history)]

    def find(self, document: Mapping[str, object], created_by: str, state: StageState) -> Offered | None:
        """Return the step that follows where a stage stands, if its line is the same."""
        place = len(state.history)
        if place >= len(self._history) or self._layers[-1] != len(self._stack):
            return None
        entry = self._history[place]
        if entry.created_by != created_by or not _says_all(document, created_by):
            return None
        if not self._is_above(state, place):
            return None
        try:
            created_ns = parse_time_ns(entry.created)
        except InvalidArgument:
            return None
        return Offered(None if entry.empty_layer else self._stack[self._layers[place]], created_ns)

    def _is_above(self, state: StageState, place: int) -> bool:
        below = [layer.diff_id for layer in self._stack[: self._layers[place]]]
        return (
            below == [layer.diff_id for layer in state.stack]
            and state.platform.architecture == self._platform.architecture
            and all(_same(ours, theirs) for ours, theirs in zip(state.history, self._history, strict=False))
        )


def _same(ours: History, theirs: History) -> bool:
    if (ours.created_by, ours.empty_layer) != (theirs.created_by, theirs.empty_layer):
        return False
    try:
        return ours.created == theirs.created or parse_time_ns(ours.created) == parse_time_ns(theirs.created)
    except InvalidArgument:
        return False


def _says_all(document: Mapping[str, object], created_by: str) -> bool:
    """Tell whether nothing but its line, and what came before, decides what a step comes to."""
    if "epoch" in document:
        return False
    match document["op"]:
        case "run":
            return not (document["mounts"] or document["scripts"] or document["hosts"]) and (
                document["security"] == "sandbox" and document["network"] == "default"
            )
        case "copy":
            plain = document["unpack"] == created_by.startswith("/bin/sh -c #(nop) ADD ")
            return plain and not (document["chown"] or document["chmod"] or document.get("raw"))
        case _:
            return True
