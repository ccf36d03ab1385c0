"""Questions that go upstream: to which servers, how often, how long. Each is asked once. Lean.

A question whose answer needs itself (a DNS server in a container that asks 127.0.0.11) meets the one that
is on its way, waits with it, and ends with it: no loop grows.
"""

from __future__ import annotations

import os
import time

from sampan import log
from sampan.network.dns.cache import AnswerCache
from sampan.network.dns.upstream import Attempt
from sampan.network.dns.wire import HEADER, REFUSED, SERVFAIL, make_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Hashable

    from sampan.network.dns.loop import Loop, Timer
    from sampan.network.dns.model import Server
    from sampan.network.dns.wire import Question

    Reply = Callable[[bytes], None]

SILENCE_S = 1.5  # then the next server is asked, too
TOTAL_S = 4.5  # clients wait 5 s (resolv.conf(5), timeout)
AVOID_S = 10.0  # a silent server is asked last so long
MAX_TOTAL = 4096
MAX_EACH = 256  # of one container
_TRIES = 3
FAILED_S = 2.0  # the same question is not tried again so soon after nobody answered it (RFC 9520, 3.2)
_MAX_FAILED = 1000
_LOG_S = 60.0


class Forwarder:
    """Asks upstream servers; at most MAX_TOTAL questions at a time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._cache = AnswerCache()
        self._asked: dict[Hashable, _Asked] = {}
        self._failed: dict[Hashable, float] = {}
        self._silent: dict[Server, float] = {}
        self._logged: dict[Server, float] = {}

    def ask(
        self,
        question: Question,
        data: bytes,
        *,
        servers: tuple[Server, ...],
        near: socket,
        stream: bool,
        waiting: list[int],
        reply: Reply,
    ) -> None:
        """Get the answer to data from servers and give it to reply, at once or later.

        near: a socket in the container's namespace, for servers that are asked from there. waiting: how
        many questions of the container are on their way, in its first item; kept up to date here.
        """
        shared = all(server.from_host for server in servers)
        key = (servers, stream, data[2:], None if shared else near)
        kept = self._cache.get(key)
        if kept is not None:
            return reply(data[:2] + kept)
        asked = self._asked.get(key)
        if waiting[0] >= MAX_EACH or (asked is None and (self._is_full() or self._has_failed(key))):
            return reply(make_answer(question, SERVFAIL))
        waiting[0] += 1

        def answered(answer: bytes | None) -> None:
            waiting[0] -= 1
            reply(make_answer(question, SERVFAIL) if answer is None else data[:2] + answer[2:])

        if asked is not None:
            asked.replies.append(answered)
            return
        asked = self._asked[key] = _Asked(self, key, self._order(servers), near=near, stream=stream)
        asked.replies.append(answered)
        asked.start(self._loop, os.urandom(2) + data[2:], HEADER.size + len(question.asked))

    def forget(self, near: socket) -> None:
        """Give up what is asked from a namespace that goes away."""
        for key, asked in list(self._asked.items()):
            if isinstance(key, tuple) and key[3] is near:
                asked.finish(None)
        for key in [key for key in self._failed if isinstance(key, tuple) and key[3] is near]:
            del self._failed[key]

    def ended(self, key: Hashable, answer: bytes | None) -> None:
        """Note that a question is not on its way any more."""
        del self._asked[key]
        if answer is not None:
            self._cache.put(key, answer)

    def expired(self, key: Hashable) -> None:
        """Note that nobody answered a question in time."""
        while len(self._failed) >= _MAX_FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[key] = time.monotonic() + FAILED_S

    def _has_failed(self, key: Hashable) -> bool:
        until = self._failed.get(key)
        if until is not None and time.monotonic() >= until:
            del self._failed[key]
            return False
        return until is not None

    def _is_full(self) -> bool:
        return len(self._asked) >= MAX_TOTAL

    def note(self, server: Server, *, silent: bool) -> None:
        """Remember whether a server answers."""
        now = time.monotonic()
        if not silent:
            self._silent.pop(server, None)
            return
        self._silent[server] = now + AVOID_S
        if now - self._logged.get(server, -_LOG_S) >= _LOG_S:
            self._logged[server] = now
            log.warning("dns: upstream server does not answer", server=server.address)

    def _order(self, servers: tuple[Server, ...]) -> list[Server]:
        """Return servers in their order, those that were silent lately last."""
        now = time.monotonic()
        return sorted(servers, key=lambda server: self._silent.get(server, 0.0) > now)


class _Asked:
    """One question on its way."""

    def __init__(
        self, owner: Forwarder, key: Hashable, servers: list[Server], *, near: socket, stream: bool
    ) -> None:
        self.replies: list[Callable[[bytes | None], None]] = []
        self._owner = owner
        self._key = key
        self._plan = [servers[index % len(servers)] for index in range(max(len(servers), _TRIES))]
        self._near = near
        self._stream = stream
        self._bad: set[Server] = set()
        self._attempts: list[Attempt] = []
        self._refusal: bytes | None = None
        self._timers: list[Timer] = []
        self._over = False

    def start(self, loop: Loop, query: bytes, question_end: int) -> None:
        """Ask the first server."""
        self._loop, self._query, self._end = loop, query, question_end
        self._timers.append(loop.later(TOTAL_S, self._expired))
        self._next()

    def finish(self, answer: bytes | None) -> None:
        """Answer all who wait, None for a failure, and stop asking."""
        if self._over:
            return
        self._over = True
        for timer in self._timers:
            timer.cancel()
        for attempt in self._attempts:
            attempt.close()
        self._owner.ended(self._key, answer)
        for reply in self.replies:
            reply(answer)

    def _next(self) -> None:
        """Ask the next server of the plan that has not failed; finish when nothing is left to wait for."""
        while self._plan:
            server = self._plan.pop(0)
            if server in self._bad:
                continue
            attempt = Attempt(self._loop, server, self._query, self._end)
            try:
                near = None if server.from_host else self._near
                attempt.start(stream=self._stream, near=near, done=self._done)
            except OSError:
                self._fail(server)
                continue
            self._attempts.append(attempt)
            self._timers.append(self._loop.later(SILENCE_S, self._silence))
            return
        if not self._attempts:
            self.finish(self._refusal)

    def _silence(self) -> None:
        if self._attempts:
            self._owner.note(self._attempts[-1].server, silent=True)
        if self._plan:
            self._next()

    def _expired(self) -> None:
        for attempt in self._attempts:
            self._owner.note(attempt.server, silent=True)
        self._owner.expired(self._key)
        self.finish(self._refusal)

    def _fail(self, server: Server) -> None:
        self._bad.add(server)
        self._owner.note(server, silent=True)

    def _done(self, attempt: Attempt, answer: bytes | None) -> None:
        self._attempts.remove(attempt)
        if answer is None:
            self._fail(attempt.server)
        elif answer[3] & 0xF in (SERVFAIL, REFUSED):
            self._refusal = answer
            self._bad.add(attempt.server)
        else:
            self._owner.note(attempt.server, silent=False)
            return self.finish(answer)
        self._next()
