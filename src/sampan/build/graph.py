"""The graph of a build as clients draw it: instructions that make layers, and what each waits for.

Names are BuildKit's: `[stage 2/5] RUN make`. Others (ENV, LABEL…) take no time and are not shown.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sampan.build import instructions as i
from sampan.build.parsing import Dockerfile
from sampan.build.stages import Stage, Stages
from sampan.build.syntax import Place


@dataclass(frozen=True, slots=True)
class Step:
    """One node. id: of this build only, in a digest's form; needs: the ids of those before it."""

    id: str
    name: str
    place: Place
    needs: tuple[str, ...] = ()


class Watcher(Protocol):
    """Is told what happens to steps, when it happens, from any thread."""

    def planned(self, steps: Sequence[Step]) -> None:
        """These steps will be done unless one fails; told once, before all else."""
        ...

    def began(self, step: Step) -> None:
        """A step is being done."""
        ...

    def said(self, step: Step, text: str) -> None:
        """The command of a step wrote something."""
        ...

    def ended(self, step: Step, *, cached: bool, error: BaseException | None) -> None:
        """A step is done, was taken from the cache, or failed."""
        ...


class Graph:
    """The steps of one build. Each stage's thread tells about its own."""

    def __init__(
        self, dockerfile: Dockerfile, stages: Stages, watcher: Watcher | None, *, platform: str = ""
    ) -> None:
        """platform: shown with every step, if it is one of several."""
        self._watcher = watcher
        self._steps: dict[int, Step] = {}
        self._hits: set[str] = set()
        self._now: dict[int, Step] = {}
        last: dict[object, str] = {}
        seed = os.urandom(16)
        for index in stages.reached:
            stage = stages.all[index]
            shown = [one for one in (stage.parsed.head, *stage.parsed.body) if isinstance(one, _SHOWN)]
            for number, one in enumerate(shown, 1):
                digest = hashlib.sha256(seed + f"{index} {number}".encode()).hexdigest()
                step = Step(
                    f"sha256:{digest}",
                    _name(stage, one, number, len(shown), alone=len(stages.reached) == 1, platform=platform),
                    one.node.place,
                    tuple(_needs(stages, stage, one, last)),
                )
                self._steps[id(one)] = step
                last[index] = step.id
        if watcher is not None:
            watcher.planned(list(self._steps.values()))

    @contextmanager
    def doing(self, stage: int, one: i.Instruction) -> Iterator[None]:
        """Tell that an instruction begins, and how it ends."""
        step = self._steps.get(id(one))
        if step is None or self._watcher is None:
            yield
            return
        self._now[stage] = step
        self._watcher.began(step)
        error: BaseException | None = None
        try:
            yield
        except BaseException as exc:
            error = exc
            raise
        finally:
            del self._now[stage]
            self._watcher.ended(step, cached=step.id in self._hits, error=error)

    def said(self, stage: int, text: str) -> None:
        """Pass the output of a stage's present step on."""
        step = self._now.get(stage)
        if step is not None and self._watcher is not None:
            self._watcher.said(step, text)

    def hit(self, stage: int) -> None:
        """Note that a stage's present step came from the cache."""
        step = self._now.get(stage)
        if step is not None:
            self._hits.add(step.id)


_SHOWN = (i.From, i.Run, i.Copy, i.Workdir)


def _name(stage: Stage, one: i.Instruction, number: int, total: int, *, alone: bool, platform: str) -> str:
    own = stage.parsed.head.name or ("" if alone else f"stage-{stage.index}")
    own = f"{platform} {own}".strip()
    counted = f"{number:{len(str(total))}}/{total}"
    return f"[{own} {counted}] {one.node.original}" if own else f"[{counted}] {one.node.original}"


def _needs(stages: Stages, stage: Stage, one: i.Instruction, last: dict[object, str]) -> Iterator[str]:
    if isinstance(one, i.From):
        if stage.base in last:
            yield last[stage.base]
        return
    yield last[stage.index]
    if isinstance(one, i.Copy) and one.from_:
        index = stages.find(one.from_, before=stage.index)
        if index in last:
            yield last[index]
