"""The engine: wires store, launcher and the use cases together, and is all that a door sees."""

from __future__ import annotations

from sampan.engine.containers import Containers
from sampan.engine.events import Events
from sampan.engine.execs import Execs
from sampan.engine.images import Images
from sampan.engine.options import EngineSettings
from sampan.engine.system import System


class Engine:
    """The use cases over one data root and one run root. Every method may be called from any thread.

    containers, execs, images, events, system: the nouns, each with its own verbs.
    """

    containers: Containers
    execs: Execs
    images: Images
    events: Events
    system: System

    @classmethod
    def open(cls, settings: EngineSettings) -> Engine:
        """Open the store, start the launcher, find every container again, and begin to watch them.

        Raises:
            Unavailable: another engine holds one of the roots.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching and end the launcher; containers run on and are found again by the next `open`."""
        raise NotImplementedError
