"""`.dockerignore`: which files of a context are not there. Source: Docker, "Build context", .dockerignore."""

from __future__ import annotations

import posixpath

from sampan.build.patterns import PatternList
from sampan.errors import InvalidArgument


def parse_ignore(raw: bytes, *, file: str = ".dockerignore") -> PatternList:
    """Read the file.

    Raises:
        InvalidArgument: as `read_patterns`.
    """
    return PatternList(read_patterns(raw, file=file))


def read_patterns(raw: bytes, *, file: str = ".dockerignore") -> list[str]:
    """Return the patterns of the file, cleaned.

    Raises:
        InvalidArgument: it is no text, or a pattern is malformed; the line is named.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"{file} is no UTF-8 text") from exc
    patterns = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#"):
            continue
        pattern = clean_pattern(line.strip())
        try:
            PatternList([pattern])
        except InvalidArgument as exc:
            raise InvalidArgument(f"{file}, line {number}: {exc}") from exc
        if pattern:
            patterns.append(pattern)
    return patterns


def clean_pattern(text: str) -> str:
    """Return a pattern without a leading slash, `.` and `..`; `!` stays in front."""
    inverted = text.startswith("!")
    body = text[1:].strip() if inverted else text
    if body:
        body = posixpath.normpath(body)
        body = body.lstrip("/") if len(body) > 1 else body
    return f"!{body}" if inverted else body
