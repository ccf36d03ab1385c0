"""What a client may ask of a Dockerfile in place of a build: `--check`, `--call=outline|targets` of buildx.

The answer is a result without a reference, whose metadata have a document for programs and one to be read.
Source: BuildKit, frontend/subrequests; buildx, build/call.go (`build/printer.go` before).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sampan.errors import Unsupported

if TYPE_CHECKING:
    from sampan.build.checking import Checked
    from sampan.build.request import BuildRequest
    from sampan.engine.builds.builds import Builds

_VERSION: Final = "1.0.0"
_LINT, _OUTLINE, _TARGETS, _DESCRIBE = (
    "frontend.lint",
    "frontend.outline",
    "frontend.targets",
    "frontend.subrequests.describe",
)
_ALL: Final[Mapping[str, str]] = {
    _OUTLINE: "List all parameters that the target takes",
    _TARGETS: "List all targets",
    _LINT: "Check the Dockerfile",
    _DESCRIBE: "List what may be asked",
}


def check_subrequest(name: str) -> None:
    """Refuse a question that nobody here answers.

    Raises:
        Unsupported: it is none of ours.
    """
    if name not in _ALL:
        raise Unsupported(f"not supported: {name} of a Dockerfile; there are {', '.join(_ALL)}")


def answer(builds: Builds, name: str, request: BuildRequest) -> dict[str, bytes]:
    """Return the metadata of an answer. request has the Dockerfile itself, and what is ignored.

    Raises:
        InvalidArgument: the Dockerfile is wrong.
    """
    raw = request.document or b""
    if name == _LINT:
        checked = builds.check(request, builds.no_context)
        return _answer(
            findings_document(checked, request.dockerfile, raw),
            checked.text(),
            **{"result.statuscode": str(int(bool(checked.findings)))},
        )
    if name == _DESCRIBE:
        listed = [
            {"Name": one, "Version": _VERSION, "Type": "rpc", "Description": said}
            for one, said in _ALL.items()
        ]
        return _answer(listed, "".join(f"{one}  {said}\n" for one, said in _ALL.items()))
    document = builds.outline(request) if name == _OUTLINE else builds.targets(request)
    return _answer(document, _outline(document) if name == _OUTLINE else _targets(document))


def _answer(document: object, text: str, **more: str) -> dict[str, bytes]:
    found = {"result.json": json.dumps(document, indent=2), "result.txt": text, "version": _VERSION, **more}
    return {name: value.encode() for name, value in found.items()}


def findings_document(checked: Checked, file: str, raw: bytes) -> dict[str, object]:
    """Return what checks have found in a Dockerfile, as `frontend.lint` tells it."""
    from sampan.build.outlines import location_of

    return {
        "warnings": [
            {
                "ruleName": one.rule,
                "description": one.description,
                "url": one.url,
                "detail": one.message,
                "location": location_of(one.place),
            }
            for one in checked.findings
        ],
        "sources": [{"fileName": file, "language": "Dockerfile", "data": base64.b64encode(raw).decode()}],
    }


def _outline(document: Mapping[str, object]) -> str:
    """Return an outline to be read; clients that know the document make their own."""
    parts = [f"TARGET: {document.get('name') or 'default'}", str(document.get("description") or "")]
    for key, title, columns in (
        ("args", "BUILD ARG", ("name", "value", "description")),
        ("secrets", "SECRET", ("name", "required")),
        ("ssh", "SSH", ("name", "required")),
        ("cache", "CACHE", ("ID",)),
    ):
        rows = document.get(key)
        if isinstance(rows, list):
            parts += ["", _table([title, *(name.upper() for name in columns[1:])], rows, columns)]
    return "\n".join(part for number, part in enumerate(parts) if part or number > 1) + "\n"


def _targets(document: Mapping[str, object]) -> str:
    rows = document["targets"]
    assert isinstance(rows, list)  # ours
    shown = [
        {
            **row,
            "name": (row["name"] or "(default)") if row["default"] else row["name"] or "-",
        }
        for row in rows
    ]
    return _table(["TARGET", "BASE", "DESCRIPTION"], shown, ("name", "base", "description")) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    lines = [list(heads), *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(value: object) -> str:
    return "true" if value is True else str(value or "")
