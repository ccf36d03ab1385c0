"""Fetching an image for `run` and `create`. Lean; loaded when an image is missing."""

from __future__ import annotations

from sampan.cli.outcome import Failed, complain
from sampan.cli.progress import read_documents
from sampan.errors import NotFound, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.client.session import Session


def pull_image(session: Session, image: str, *, platform: str, quiet: bool, missing: NotFound | None) -> None:
    """Ask the daemon to fetch image, and show what it says on standard error.

    Raises:
        NotFound: `missing`, if this daemon has no way to pull.
        SampanError: the pull failed.
    """
    name, tag = _split(image)
    query = [("fromImage", name), ("tag", tag)]
    if platform:
        query.append(("platform", platform))
    try:
        response = session.open("POST", "/images/create", query)
    except SampanError as exc:
        if missing is None:
            raise Failed(f"--pull: cannot fetch {image}: {exc}", hint=exc.hint, code=125) from exc
        raise missing from exc
    if not quiet:
        complain(f"image {name}:{tag} is not here; fetching it")
    for document in read_documents(response):
        if document.get("error"):
            raise Failed(f"cannot fetch {image}: {document['error']}", code=125)
        if not quiet and document.get("status") and not document.get("progressDetail"):
            complain(f"{document.get('id', '')}: {document['status']}".removeprefix(": "))
    session.recycle(response)


def _split(image: str) -> tuple[str, str]:
    """Return name and tag; a digest takes the place of the tag."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")
