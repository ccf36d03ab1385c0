"""What a build's stream tells of its graph: stages, their steps, what runs, what waits and for what.

Takes the objects `{"graph": …}` of docs/api.md, "Builds". Knows no terminal and no clock.
"""

from __future__ import annotations

import binascii
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.fastjson import JsonValue

_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_KEPT = 50  # lines of a step's output that are kept for the case that it fails
_MAX_PARTIAL = 4096


class Step:
    """One node. stage: "" in a build of one stage, and for what is no instruction. Times are the reader's."""

    def __init__(self, name: str) -> None:
        self.stage, self.number, text = _split(name)
        self.text = plain_line(text)
        self.needs: tuple[str, ...] = ()
        self.began: float | None = None
        self.ended: float | None = None
        self.cached = False
        self.error = ""
        self.log: deque[str] = deque(maxlen=_KEPT)
        self._partial = ""
        self.counters: dict[str, tuple[int, int]] = {}

    @property
    def label(self) -> str:
        """What tells steps apart at the beginning of a line: `stage 2/5`."""
        return f"{self.stage} {self.number}".strip()

    @property
    def runs(self) -> bool:
        """Whether it has begun and not ended."""
        return self.began is not None and self.ended is None

    def write(self, text: str) -> None:
        """Take output: whole lines are kept; of a line that is written over (`\\r`), what stands last."""
        *lines, self._partial = (self._partial + text).split("\n")
        self._partial = self._partial[-_MAX_PARTIAL:]
        self.log.extend(plain_line(line) for line in lines)

    def tail(self, count: int) -> list[str]:
        """Return the last lines, also one that has not ended yet."""
        lines = [*self.log, plain_line(self._partial)] if self._partial else list(self.log)
        return lines[-count:] if count > 0 else []


class Graph:
    """All steps of a build, in the order of the Dockerfile, by their ids."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def take(self, told: dict[str, JsonValue], now: float) -> list[Step]:
        """Take one object; return the steps that ended with it. now: seconds of any steady clock."""
        ended = []
        for one in _entries(told, "vertexes"):
            step = self._step(str(one.get("digest")), str(one.get("name") or ""))
            inputs = one.get("inputs")
            step.needs = tuple(str(each) for each in inputs) if isinstance(inputs, list) else step.needs
            if one.get("started") and step.began is None:
                step.began = now
            if one.get("completed") and step.ended is None:
                step.ended = now
                step.cached = bool(one.get("cached"))
                step.error = str(one.get("error") or "")
                ended.append(step)
        for one in _entries(told, "logs"):
            data = binascii.a2b_base64(str(one.get("data") or ""))
            self._step(str(one.get("vertex")), "").write(data.decode(errors="replace"))
        for one in _entries(told, "statuses"):
            step = self._step(str(one.get("vertex")), "")
            step.counters[str(one.get("id"))] = (_number(one.get("current")), _number(one.get("total")))
        return ended

    def running(self) -> list[Step]:
        """Return the steps that run, those that wait for another among them."""
        return [step for step in self.steps.values() if step.runs]

    def waiting(self) -> list[Step]:
        """Return, of each stage that has not begun, the first step."""
        firsts: dict[str, Step] = {}
        for step in self.steps.values():
            firsts.setdefault(step.stage, step)
        return [step for step in firsts.values() if step.began is None]

    def waits_for(self, step: Step) -> Step | None:
        """Return the step that a step needs and that has not ended, if there is one."""
        for need in step.needs:
            needed = self.steps.get(need)
            if needed is not None and needed.ended is None:
                return needed
        return None

    def seconds(self, step: Step, now: float) -> float:
        """Return for how long a step has run, without the time that it waited for others."""
        if step.began is None:
            return 0.0
        ends = [self.steps[need].ended for need in step.needs if need in self.steps]
        begin = max([step.began, *(end for end in ends if end is not None)])
        return max(0.0, (now if step.ended is None else step.ended) - begin)

    def counts(self) -> tuple[int, int, int]:
        """Return how many steps there are, have ended well, and came from the cache."""
        known = [step for step in self.steps.values() if step.number]
        done = [step for step in known if step.ended is not None and not step.error]
        return len(known), len(done), sum(step.cached for step in done)

    def _step(self, digest: str, name: str) -> Step:
        found = self.steps.get(digest)
        if found is None:
            found = self.steps[digest] = Step(name)
        return found


def plain_line(text: str) -> str:
    """Return a line of output that does nothing to the terminal it is shown on."""
    if text.isprintable():
        return text
    import re

    text = re.sub(_ESCAPES, "", text.rstrip("\r")).rpartition("\r")[2]
    return re.sub(_CONTROLS, "", text.expandtabs(8).replace("\\\n", " ").replace("\n", " "))


def _split(name: str) -> tuple[str, str, str]:
    """Return stage, number and text of `[stage 2/5] RUN make`; of other names the text alone."""
    head, bracket, text = name.partition("] ")
    *stage, number = head.removeprefix("[").rsplit(" ", 1)
    at, slash, total = number.partition("/")
    if not (bracket and slash and head.startswith("[") and at.isdecimal() and total.isdecimal()):
        return "", "", name
    return "".join(stage).strip(), number, text


def _entries(told: dict[str, JsonValue], kind: str) -> Iterator[dict[str, JsonValue]]:
    found = told.get(kind)
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict):
            yield one


def _number(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
