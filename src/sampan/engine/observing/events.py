"""Events: what happened, to whom, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sampan import log
from sampan.engine.container import Container
from sampan.engine.journal import Journal
from sampan.engine.types import Subscription
from sampan.errors import InvalidArgument
from sampan.spec import docker

EventCallback = Callable[[docker.Event], None]
Filters = Mapping[str, Sequence[str]]

_ACTOR_TYPES: Final = (
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
)
_FILTERS: Final = frozenset((*_ACTOR_TYPES, "event", "label", "scope", "type"))
_MAX_UNTOLD: Final = 256  # far more than threads that can be between keeping an event and telling it
_BY_PREFIX: Final = ("exec_create", "exec_start", "health_status")


class Events:
    """Subscribers are called in order, in the thread that caused the event: they must be quick."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._subscribers: dict[object, tuple[EventFilter, EventCallback]] = {}
        self._already_told: dict[object, set[_Key]] = {}

    @property
    def listener_count(self) -> int:
        """How many subscribers there are."""
        return len(self._subscribers)

    def subscribe(
        self,
        callback: EventCallback,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        filters: Filters | None = None,
    ) -> Subscription:
        """Call back with past events since that time, then with each new one that passes the filters.

        Past events come before this returns, new ones after them. The caller stops at until_ns.

        Raises:
            InvalidArgument: an unknown filter.
        """
        wanted = EventFilter(filters or {}, until_ns=until_ns)
        subscriber = _Subscriber(self)
        with self._lock:  # nothing may happen between the past and the future
            if since_ns is not None:
                past = self._journal.events_since(since_ns)
                self._already_told[subscriber] = _replay(filter(wanted.passes, past), callback)
            self._subscribers[subscriber] = (wanted, callback)
        return subscriber

    def unsubscribe(self, subscriber: object) -> None:
        """Forget a subscriber; nothing happens if it is unknown."""
        with self._lock:
            self._subscribers.pop(subscriber, None)
            self._already_told.pop(subscriber, None)

    def emit(self, event: docker.Event) -> None:
        """Keep and tell an event that belongs to no change of state."""
        self._journal.add_event(event)
        self.publish(event)

    def publish(self, *events: docker.Event) -> None:
        """Tell events that are already kept in the journal."""
        with self._lock:
            subscribers = list(self._subscribers.items())
            for event in events:
                for subscriber, (wanted, callback) in subscribers:
                    if wanted.passes(event) and not self._was_told(subscriber, event):
                        _call(callback, event)

    def _was_told(self, subscriber: object, event: docker.Event) -> bool:
        """An event is kept first and told next: who came in between has read it in the journal."""
        told = self._already_told.get(subscriber)
        return told is not None and _key(event) in told


class _Subscriber:
    def __init__(self, events: Events) -> None:
        self._events = events

    def cancel(self) -> None:
        self._events.unsubscribe(self)


_Key = tuple[int, str, str, str]


def _key(event: docker.Event) -> _Key:
    return event.timeNano, event.Type, event.Action, event.Actor.ID


def _replay(past: Iterable[docker.Event], callback: EventCallback) -> set[_Key]:
    """Call back with past events; return those that may still be on their way to all subscribers."""
    last: deque[_Key] = deque(maxlen=_MAX_UNTOLD)
    for event in past:
        callback(event)
        last.append(_key(event))
    return set(last)


def _call(callback: EventCallback, event: docker.Event) -> None:
    try:
        callback(event)
    except Exception as exc:  # one subscriber's failure is not the others'
        log.error("event callback failed", reason=repr(exc))


def make_event(kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> docker.Event:
    """Return an event of now."""
    now = time.time_ns()
    return docker.Event(
        Type=kind,
        Action=action,
        Actor=docker.Actor(ID=actor_id, Attributes=dict(attributes)),
        time=now // 10**9,
        timeNano=now,
    )


def image_event(
    action: str, image_id: str, name: str, labels: Mapping[str, str] | None = None
) -> docker.Event:
    """Return an event of an image: its labels and name are attributes."""
    return make_event("image", action, image_id, {**(labels or {}), "name": name})


def container_event(container: Container, action: str, **attributes: str) -> docker.Event:
    """Return an event of a container: its labels, image and name are attributes of each."""
    record = container.record
    known = {**record.config.Labels, "image": record.image, "name": record.name, **attributes}
    return make_event("container", action, container.id, known)


class EventFilter:
    """Docker's event filters: values of one key are alternatives, keys must all match, labels all."""

    def __init__(self, filters: Filters, *, until_ns: int | None = None) -> None:
        for key in filters:
            if key not in _FILTERS:
                raise InvalidArgument(f"invalid filter '{key}'")
        self._filters = {key: tuple(values) for key, values in filters.items() if values}
        self._until_ns = until_ns

    def passes(self, event: docker.Event) -> bool:
        """Tell whether an event is wanted."""
        if self._until_ns is not None and event.timeNano > self._until_ns:
            return False
        return all(self._matches(key, values, event) for key, values in self._filters.items())

    def _matches(self, key: str, values: Sequence[str], event: docker.Event) -> bool:
        match key:
            case "event":
                return any(_action_matches(value, event.Action) for value in values)
            case "type":
                return event.Type in values
            case "scope":
                return event.scope in values
            case "label":
                return all(_has_label(event.Actor.Attributes, value) for value in values)
            case "image":
                return any(_image_matches(value, event) for value in values)
        return event.Type == key and any(_actor_matches(value, event.Actor) for value in values)


def _action_matches(value: str, action: str) -> bool:
    if value in _BY_PREFIX:
        return action == value or action.startswith(f"{value}:")
    return value == action


def _has_label(attributes: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _image_matches(value: str, event: docker.Event) -> bool:
    name = event.Actor.ID if event.Type == "image" else event.Actor.Attributes.get("image", "")
    names = {name, event.Actor.Attributes.get("name", "")} if event.Type == "image" else {name}
    return any(one and value in (one, one.rpartition(":")[0] or one) for one in names)


def _actor_matches(value: str, actor: docker.Actor) -> bool:
    """Match the beginning of the id or of the name. Source: moby, api/types/filters, FuzzyMatch."""
    name = actor.Attributes.get("name", "")
    return actor.ID.startswith(value) or name.startswith(value.removeprefix("/"))
