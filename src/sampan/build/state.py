"""Where a stage stands: configuration, layers, variables, history. docs/build.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from sampan.build.config import Defaults, environment_of
from sampan.spec.image import History, ImageConfig, Platform, RootFS
from sampan.store.built import Stack
from sampan.store.digests import digest_of


@dataclass(slots=True)
class StageState:
    """Changed by one stage's own thread only; `copy` is what a later stage begins with.

    arguments: ARGs in scope; None is declared without a value. has_cmd: CMD was set in this stage.
    inherited: how many of the layers are of the image that it all began with, and entries of its history.
    """

    defaults: Defaults
    stack: Stack
    platform: Platform
    arguments: dict[str, str | None] = field(default_factory=dict)
    history: list[History] = field(default_factory=list)
    author: str = ""
    created: str = ""
    has_cmd: bool = False
    inherited: int = 0
    inherited_history: int = 0

    def copy(self) -> StageState:
        """Return a state of its own that begins where this one is."""
        return replace(self, arguments=dict(self.arguments), history=list(self.history), has_cmd=False)

    def variables(self) -> dict[str, str]:
        """Return what instructions see: ARGs, and ENV over them."""
        found = {name: value for name, value in self.arguments.items() if value is not None}
        return {**found, **environment_of(self.defaults)}

    def visible_arguments(self) -> dict[str, str]:
        """Return the ARGs that RUN gets beside ENV."""
        own = environment_of(self.defaults)
        return {
            name: value for name, value in self.arguments.items() if value is not None and name not in own
        }

    def add_history(self, created_by: str, *, created_ns: int, empty: bool) -> None:
        """Note a step."""
        self.created = format_time(created_ns)
        entry = History(created=self.created, created_by=created_by, author=self.author, empty_layer=empty)
        self.history.append(entry)

    def config(self, *, labels: Mapping[str, str] | None = None) -> ImageConfig:
        """Return the image's configuration as it would be now."""
        defaults = self.defaults
        if labels:
            defaults = msgspec.structs.replace(defaults, Labels={**(defaults.Labels or {}), **labels})
        return ImageConfig(
            architecture=self.platform.architecture,
            os=self.platform.os or "linux",
            variant=self.platform.variant,
            created=self.created,
            author=self.author,
            config=defaults,
            rootfs=RootFS(diff_ids=[str(layer.diff_id) for layer in self.stack]),
            history=list(self.history),
        )

    def short_id(self) -> str:
        """Return the first digits of the id that an image of this state would have."""
        return digest_of(msgspec.json.encode(self.config())).removeprefix("sha256:")[:12]


def format_time(created_ns: int) -> str:
    """Return a time as configurations have it."""
    seconds, rest = divmod(created_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
