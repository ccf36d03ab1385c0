"""Images to and from registries: `pull`, `push`, and what `run` does when an image is missing. Lean."""

from __future__ import annotations

import sys

from sampan.cli.bars import Bars
from sampan.cli.outcome import Failed, complain
from sampan.cli.progress import read_documents
from sampan.cli.registry_auth import auth_header
from sampan.client.http import quote
from sampan.errors import NotFound, SampanError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.http import Response
    from sampan.client.session import Session


def pull(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Fetch an image, or every tag of a name, and print what it is called here."""
    image = arguments[0]
    name, tag = _split(image)
    if flags.truth("all-tags"):
        if tag != "latest" or image.endswith(":latest"):
            raise Failed("tag can't be used with --all-tags/-a")
        tag = ""
    _fetch(context.session(), name, tag, platform=flags.text("platform"), quiet=flags.truth("quiet"))
    joint = "@" if tag.startswith("sha256:") else ":"
    sys.stdout.write(f"{name}{joint if tag else ''}{tag}\n")
    return 0


def push(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Send an image, or every tag of a name, and print its name."""
    name, tag = _split(arguments[0])
    if flags.truth("all-tags"):
        if tag != "latest" or arguments[0].endswith(":latest"):
            raise Failed("tag can't be used with --all-tags/-a")
        tag = ""
    _push(context, name, tag, quiet=flags.truth("quiet"))
    sys.stdout.write(f"{name}{':' if tag else ''}{tag}\n")
    return 0


def push_image(context: Context, image: str, *, quiet: bool) -> None:
    """Send one image to its registry, showing that on standard error.

    Raises:
        Failed: the push failed.
    """
    name, tag = _split(image)
    _push(context, name, tag, quiet=quiet)


def _push(context: Context, name: str, tag: str, *, quiet: bool) -> None:
    session = context.session()
    headers = auth_header(name) or [("X-Registry-Auth", "e30=")]
    path, query = f"/images/{quote(name)}/push", [("tag", tag)] if tag else []
    response = session.open("POST", path, query, headers=headers, patient=True)
    with Bars(quiet=quiet) as bars:
        _show(response, bars)
    session.recycle(response)


def _show(response: Response, bars: Bars) -> None:
    for document in read_documents(response):
        if document.get("error"):
            raise Failed(str(document["error"]), hint=str(document.get("hint") or ""))
        bars.show(document)


def pull_image(session: Session, image: str, *, platform: str, quiet: bool, missing: NotFound | None) -> None:
    """Ask the daemon to fetch image, and show what it says on standard error.

    Raises:
        NotFound: `missing`, if this daemon has no way to pull.
        Failed: the pull failed.
    """
    name, tag = _split(image)
    if not quiet:
        complain(f"image {name}:{tag} is not here; fetching it" if missing else f"fetching {name}:{tag}")
    try:
        _fetch(session, name, tag, platform=platform, quiet=quiet)
    except Unsupported as exc:
        if missing is None:
            raise Failed(f"--pull: cannot fetch {image}: {exc}", hint=exc.hint, code=125) from exc
        raise missing from exc
    except SampanError as exc:
        hint = exc.hint or (missing.hint if missing is not None else "")
        raise Failed(f"cannot fetch {image}: {exc}", hint=hint, code=125) from exc


def _fetch(session: Session, name: str, tag: str, *, platform: str, quiet: bool) -> None:
    query = [("fromImage", name), *([("tag", tag)] if tag else [])]
    query += [("platform", platform)] if platform else []
    response = session.open("POST", "/images/create", query, headers=auth_header(name), patient=True)
    with Bars(quiet=quiet) as bars:
        _show(response, bars)
    session.recycle(response)


def _split(image: str) -> tuple[str, str]:
    """Return name and tag; a digest takes the place of the tag."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")
