"""Builds under way, by the reference that a client gave each: what its calls have in common.

```
client: Control/Solve(ref) ─────────────────────────────────────────────── answer: names and digests
client: Control/Status(ref) ── progress … ──────────────────────────────── its end
client: LLBBridge/Ping, Solve(frontend, options) ── Return(result) ──┘      these name ref in their metadata
```
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.progress import Progress
from sampan.errors import Conflict, NotFound

T = TypeVar("T")

_MOST_BUILDS: Final = 128  # at once; more wait. Threads are made when first needed
_REMEMBERED: Final = 256  # builds that are over: whoever asks for one need not wait
_ARRIVAL_S: Final = 5.0  # calls that name a build may overtake the one that begins it


@dataclass(slots=True)
class Job:
    """One build. returned: what the client's own half of it came to."""

    request: m.ControlSolveRequest
    progress: Progress
    returned: asyncio.Future[m.ReturnRequest]
    results: dict[str, Sequence[str]] = field(default_factory=dict)  # our references → image ids
    told: dict[str, str] = field(default_factory=dict)  # what its answer has beside that


class Jobs:
    """Belongs to the side loop."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._over: deque[str] = deque(maxlen=_REMEMBERED)
        self._changed = asyncio.Event()
        self._threads = ThreadPoolExecutor(_MOST_BUILDS, "buildkit build")

    def in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run a build, or another long work that waits for the client, in a thread.

        Not in the loop's own few: those do the short works that such a thread waits for.
        """
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def add(self, request: m.ControlSolveRequest) -> Job:
        """Begin a build.

        Raises:
            Conflict: there is one of this reference.
        """
        if request.ref in self._jobs:
            raise Conflict(f"job ID {request.ref} exists")
        job = Job(request, Progress(), asyncio.get_running_loop().create_future())
        self._jobs[request.ref] = job
        self._wake()
        return job

    def end(self, ref: str) -> None:
        """A build is over; who follows its progress is told the rest."""
        self._jobs.pop(ref).progress.close()
        self._over.append(ref)
        self._wake()

    def is_over(self, ref: str) -> bool:
        """Tell whether a build has been here, not long ago."""
        return ref in self._over

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def find(self, ref: str) -> Job:
        """Return a build, which may be about to begin.

        Raises:
            NotFound: it does not begin, or is over.
        """
        try:
            async with asyncio.timeout(_ARRIVAL_S):
                while ref not in self._jobs:
                    if ref in self._over:
                        raise NotFound(f"no such job {ref}: it is over")
                    await self._changed.wait()
                return self._jobs[ref]
        except TimeoutError:
            raise NotFound(f"no such job {ref}") from None
