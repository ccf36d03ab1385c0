"""Events: what happened, to whom, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sampan.engine.types import Subscription
from sampan.spec import docker


class Events:
    """A ring in memory and in the database; subscribers are called in order, in a thread of the engine."""

    def subscribe(
        self,
        callback: Callable[[docker.Event], None],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> Subscription:
        """Call back with past events since that time, then with each new one that passes the filters.

        Past events come before this returns, new ones after them. The caller stops at until_ns.

        Raises:
            InvalidArgument: an unknown filter.
        """
        raise NotImplementedError
