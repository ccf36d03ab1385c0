"""`image copy`: an image to another sampand, without what that has already. Lean."""

from __future__ import annotations

import sys

from sampan.cli.context import Context
from sampan.cli.outcome import Failed, UsageError, complain
from sampan.cli.progress import read_documents
from sampan.cli.table import human_size, short_id
from sampan.client.http import quote
from sampan.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.flags import Flags
    from sampan.client.http import Response
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue


def copy(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Copy an image to the daemon at an address, and print its name there."""
    name, address = arguments
    source, target = context.session(), Context(host=address, debug=context.debug).session()
    if source.address == target.address:
        raise UsageError(f"{address} is the daemon that has the image", code=1)
    content = _ask(source, f"/sampan/v1/images/{quote(name)}/content", name)
    blobs = content["Blobs"] if isinstance(content["Blobs"], list) else []
    sizes = {str(one["Digest"]): one["Size"] for one in blobs if isinstance(one, dict)}
    missing = _missing(target, list(sizes))
    send = sum(size for digest, size in sizes.items() if digest in missing and isinstance(size, int))
    if not flags.truth("quiet"):
        here = len(sizes) - len(missing)
        complain(
            f"sending {len(missing)} of {len(sizes)} parts, {human_size(send, digits=3)}; {here} are there"
        )
    without: list[JsonValue] = [digest for digest in sizes if digest not in missing]
    response = source.open(
        "POST", f"/sampan/v1/images/{quote(name)}/archive", body={"Without": without}, patient=True
    )
    answer = target.open("POST", "/sampan/v1/images/load", chunks=_pieces(response), patient=True)
    for document in read_documents(answer):
        if document.get("error"):
            raise Failed(str(document["error"]), hint=str(document.get("hint") or ""))
    names = content["Names"] if isinstance(content["Names"], list) else []
    for one in names or [short_id(str(content["Id"]))]:
        sys.stdout.write(f"{one}\n")
    return 0


def _ask(source: Session, path: str, name: str) -> dict[str, JsonValue]:
    found = source.call("GET", path)
    if not isinstance(found, dict):
        raise Failed(f"the daemon did not say what {name} is made of")
    return found


def _missing(target: Session, digests: list[str]) -> set[str]:
    body: dict[str, JsonValue] = {"Digests": list(digests)}
    try:
        found = target.call("POST", "/sampan/v1/images/missing", body=body)
    except NotFound as exc:
        raise Failed(f"{target.address.text} is no sampand that takes copies") from exc
    return {str(one) for one in found} if isinstance(found, list) else set(digests)


def _pieces(response: Response) -> Iterator[bytes]:
    while piece := response.read_some():
        yield piece
