"""What one stage says: classic's text in the order of stages, and at once to who watches the graph."""

from __future__ import annotations

from collections.abc import Callable

from sampan.build.graph import Graph
from sampan.build.ordering import InOrder
from sampan.build.request import Output


class StageVoice:
    """A `stepping.Voice`; used by its stage's thread only."""

    def __init__(self, order: InOrder, stage: int, output: Output, graph: Graph) -> None:
        self._order = order
        self._stage = stage
        self._output = output
        self._graph = graph

    def say(self, text: str) -> None:
        """See `stepping.Voice`."""
        self._order.say(self._stage, _call(self._output.text, text))

    def pass_on(self, text: str) -> None:
        """See `stepping.Voice`."""
        self.say(text)
        self._graph.said(self._stage, text)

    def hit(self) -> None:
        """See `stepping.Voice`."""
        self.say(" ---> Using cache\n")
        self._graph.hit(self._stage)


def _call(function: Callable[[str], None], text: str) -> Callable[[], None]:
    return lambda: function(text)
