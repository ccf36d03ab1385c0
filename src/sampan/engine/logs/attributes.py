"""What goes with each record of a log: labels, variables, the tag. Pure.

Source: moby, daemon/logger/loginfo.go; docs.docker.com, "Customize log driver output".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from sampan.engine.bundle.process import command_of
from sampan.engine.logs.config import compile_pattern
from sampan.engine.records import Record
from sampan.errors import InvalidArgument

_ACTION: Final = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_INDEX: Final = re.compile(r'index \.(ContainerLabels|Config) "([^"\\]*)"')
_FIELDS: Final[Mapping[str, Callable[[Record], str]]] = {
    "ID": lambda record: record.id[:12],
    "FullID": lambda record: record.id,
    "ContainerID": lambda record: record.id,
    "Name": lambda record: record.name,
    "ContainerName": lambda record: f"/{record.name}",
    "ImageID": lambda record: record.image_id[:12],
    "ImageFullID": lambda record: record.image_id,
    "ContainerImageID": lambda record: record.image_id,
    "ImageName": lambda record: record.image,
    "ContainerImageName": lambda record: record.image,
    "Command": lambda record: " ".join(command_of(record.config)),
    "Hostname": lambda record: os.uname().nodename,
    "DaemonName": lambda record: "sampan",
}


def extra_attributes(record: Record, options: Mapping[str, str]) -> dict[str, str]:
    """Return labels and variables of a container that its log options ask for, by name."""
    variables = dict(entry.split("=", 1) for entry in record.config.Env or () if "=" in entry)
    return {
        **_choose(record.config.Labels, options, "labels"),
        **_choose(variables, options, "env"),
    }


def _choose(values: Mapping[str, str], options: Mapping[str, str], key: str) -> dict[str, str]:
    names, pattern = options.get(key, "").split(","), options.get(f"{key}-regex", "")
    chosen = {name: values[name] for name in names if name in values}
    if pattern:
        found = compile_pattern(pattern, key=f"{key}-regex")
        chosen |= {name: value for name, value in values.items() if found.search(name)}
    return chosen


def render_tag(record: Record, template: str) -> str:
    """Return a tag with its `{{…}}` filled in.

    Raises:
        InvalidArgument: it asks for something else than docs/logs.md lists.
    """
    parts: list[str] = []
    at = 0
    for action in _ACTION.finditer(template):
        text = template[at : action.start()]
        parts.append(text.rstrip() if action.group(1) else text)
        parts.append(_value(record, action.group(2)))
        at = action.end()
        if action.group(3):
            at += len(template) - at - len(template[at:].lstrip())
    rest = template[at:]
    if "{{" in rest:
        raise InvalidArgument(f"invalid log opt tag {template!r}: unclosed action")
    return "".join(parts) + rest


def _value(record: Record, expression: str) -> str:
    field = _FIELDS.get(expression.removeprefix("."))
    if expression.startswith(".") and field is not None:
        return field(record)
    found = _INDEX.fullmatch(expression)
    if found is None:
        raise InvalidArgument(
            f"invalid log opt tag: cannot evaluate {expression!r}", hint=f"there are .{', .'.join(_FIELDS)}"
        )
    source = record.config.Labels if found.group(1) == "ContainerLabels" else record.host.LogConfig.Config
    return source.get(found.group(2), "")


def journal_field(name: str) -> str:
    """Return a name as the journal allows it: capitals, digits, `_`, not at the beginning."""
    return "".join(
        letter.upper() if letter.isascii() and letter.isalnum() else "_" for letter in name
    ).lstrip("_")
