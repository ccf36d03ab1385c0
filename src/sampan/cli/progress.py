"""The streams of JSON objects that long calls answer with. Lean (decision 0002)."""

from __future__ import annotations

from sampan import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.client.http import Response
    from sampan.fastjson import JsonValue


def read_documents(response: Response) -> Iterator[dict[str, JsonValue]]:
    """Yield each object of a stream as it comes; objects are separated by line ends or stand alone.

    Raises:
        InvalidArgument: something else than JSON came.
        Disconnected: the stream broke off.
    """
    rest = b""
    while piece := response.read_some():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield from _parse(line)
        if rest.endswith(b"}"):  # a daemon may leave the line end out after the last object
            document = _try_parse(rest)
            if document is not None:
                yield document
                rest = b""
    yield from _parse(rest)


def _parse(line: bytes) -> Iterator[dict[str, JsonValue]]:
    if line.strip():
        document = fastjson.loads(line)
        if isinstance(document, dict):
            yield document


def _try_parse(line: bytes) -> dict[str, JsonValue] | None:
    from sampan.errors import InvalidArgument

    try:
        document = fastjson.loads(line)
    except InvalidArgument:
        return None
    return document if isinstance(document, dict) else None
