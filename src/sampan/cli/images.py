"""Commands on images: ls, load, import, save, tag, rm, history, bootstrap. Lean."""

from __future__ import annotations

import sys
import time

from sampan.cli.archives import check_destination, open_archive, read_pieces, write_archive
from sampan.cli.lifecycle import for_each
from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.progress import read_documents
from sampan.cli.table import ago, human_size, local_time, short_id, shorten
from sampan.client.http import quote
from sampan.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.client.http import Response
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

IMAGE_HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
HISTORY_HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_NONE = "<none>"
_CREATED_BY_WIDTH = 45
_BOOTSTRAPPED = ("busybox", "debian", "hello")


def ls(context: Context, flags: Flags, arguments: list[str]) -> int:
    """List images."""
    filters = flags.items("filter") + [f"reference={arguments[0]}" for _ in arguments]
    query = [("all", "1")] if flags.truth("all") else []
    if filters:
        query.append(("filters", encode_filters(filters)))
    found = context.session().call("GET", "/images/json", query)
    assert isinstance(found, list)
    digests = flags.truth("digests")
    fields = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    rows = [
        row
        for item in found
        if isinstance(item, dict)
        for row in image_rows(item, digests=digests, full=flags.truth("no-trunc"))
    ]
    if flags.truth("quiet"):
        rows = list({row["ID"]: row for row in rows}.values())  # an image with two names has one id
    show_rows(
        rows,
        form=flags.text("format"),
        fields=fields,
        headings=IMAGE_HEADINGS,
        quiet_field="ID" if flags.truth("quiet") else "",
    )
    return 0


def image_rows(item: dict[str, JsonValue], *, digests: bool, full: bool) -> Iterator[Row]:
    """Yield one row for each name of an image, or one without a name."""
    created, size = item.get("Created"), item.get("Size")
    moment, size_bytes = (value if isinstance(value, int) else 0 for value in (created, size))
    shared = item.get("SharedSize")
    base: Row = {
        "ID": str(item["Id"]) if full else short_id(str(item["Id"])),
        "CreatedSince": ago(moment),
        "CreatedAt": local_time(moment),
        "Size": human_size(size_bytes, digits=3),
        "VirtualSize": human_size(size_bytes, digits=3),
        "Containers": "N/A" if item.get("Containers") in (None, -1) else str(item["Containers"]),
        "SharedSize": human_size(shared, digits=3) if isinstance(shared, int) and shared >= 0 else "N/A",
        "UniqueSize": human_size(size_bytes - shared, digits=3)
        if isinstance(shared, int) and shared >= 0
        else "N/A",
    }
    for repository, tag, digest in _names(
        _texts(item.get("RepoTags")), _texts(item.get("RepoDigests")), digests=digests
    ):
        yield {**base, "Repository": repository, "Tag": tag, "Digest": digest}


def _texts(value: JsonValue) -> list[str]:
    return [str(item) for item in value if not str(item).startswith(_NONE)] if isinstance(value, list) else []


def _names(tags: list[str], raw_digests: list[str], *, digests: bool) -> list[tuple[str, str, str]]:
    """Return repository, tag and digest of each row."""
    by_repository: dict[str, list[str]] = {}
    for text in raw_digests:
        repository, _, digest = text.partition("@")
        by_repository.setdefault(repository, []).append(digest)
    rows = []
    for text in tags:
        repository, _, tag = text.rpartition(":")
        own = by_repository.get(repository, []) if digests else []
        rows += [(repository, tag, digest) for digest in own or [_NONE]]
    if rows:
        return rows
    pairs = [(repository, digest) for repository, own in by_repository.items() for digest in own]
    return [(repository, _NONE, digest) for repository, digest in pairs] or [(_NONE, _NONE, _NONE)]


def history(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Show the layers of an image, newest first."""
    found = context.session().call("GET", f"/images/{quote(arguments[0])}/history")
    assert isinstance(found, list)
    human, full = flags.truth("human", True), flags.truth("no-trunc")
    show_rows(
        (_history_row(item, human=human, full=full) for item in found if isinstance(item, dict)),
        form=flags.text("format"),
        fields=("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
        headings=HISTORY_HEADINGS,
        quiet_field="ID" if flags.truth("quiet") else "",
    )
    return 0


def _history_row(item: dict[str, JsonValue], *, human: bool, full: bool) -> Row:
    created, size = item.get("Created"), item.get("Size")
    moment, size_bytes = (value if isinstance(value, int) else 0 for value in (created, size))
    image, command = str(item.get("Id")), str(item.get("CreatedBy") or "").replace("\t", " ")
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))
    at = f"{at[:-2]}:{at[-2:]}" if not at.endswith("+0000") else f"{at[:-5]}Z"
    return {
        "ID": image if full else short_id(image),
        "CreatedSince": ago(moment) if human else at,
        "CreatedAt": at,
        "CreatedBy": command if full else shorten(command, _CREATED_BY_WIDTH),
        "Size": human_size(size_bytes, digits=3) if human else str(size_bytes),
        "Comment": str(item.get("Comment") or ""),
    }


def load(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Load images from an archive."""
    fd = open_archive("-i, --input", flags.text("input"), instead="sampan load -i ARCHIVE")
    query = [("quiet", "1" if flags.truth("quiet") else "0")]
    if flags.text("platform"):
        query.append(("platform", flags.text("platform")))
    response = context.session().open(
        "POST",
        "/images/load",
        query,
        chunks=read_pieces(fd),
        headers=[("Content-Type", "application/x-tar")],
    )
    return _show_progress(response, quiet=flags.truth("quiet"))


def import_(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make an image from an archive of a root file system, and print its id; sampand fetches a URL."""
    source = arguments[0]
    is_url = "://" in source
    fd = 0 if is_url else open_archive("import", source)
    repository, tag = split_reference(arguments[1]) if len(arguments) > 1 else ("", "")
    query = [
        ("fromSrc", source if is_url else "-"),
        ("repo", repository),
        ("tag", tag),
        ("message", flags.text("message")),
    ]
    query += [("changes", text) for text in flags.items("change")]
    if flags.text("platform"):
        query.append(("platform", flags.text("platform")))
    response = context.session().open(
        "POST",
        "/images/create",
        query,
        chunks=() if is_url else read_pieces(fd),
        headers=[("Content-Type", "application/x-tar")],
    )
    return _show_progress(response, quiet=False)


def save(context: Context, flags: Flags, names: list[str]) -> int:
    """Write images to an archive."""
    path = flags.text("output")
    check_destination(path, instead="sampan save -o ARCHIVE IMAGE")
    query = [("names", name) for name in names]
    query += [("platform", platform) for platform in flags.items("platform")]
    try:
        response = context.session().open("GET", "/images/get", query)
    except NotFound as exc:
        if "page not found" not in str(exc):
            raise
        raise Failed("this daemon cannot save images") from exc
    write_archive(response, path)
    return 0


def tag(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Give an image another name."""
    repository, name = split_reference(arguments[1])
    query = [("repo", repository), ("tag", name)]
    context.session().call("POST", f"/images/{quote(arguments[0])}/tag", query)
    return 0


def remove(context: Context, flags: Flags, names: list[str]) -> int:
    """Remove images; print what was untagged and deleted."""
    query = [("force", "1")] if flags.truth("force") else []
    if flags.truth("no-prune"):
        query.append(("noprune", "1"))
    query += [("platforms", _platform_json(text)) for text in flags.items("platform")]

    def step(session: Session, name: str) -> str | None:
        try:
            done = session.call("DELETE", f"/images/{quote(name)}", query)
        except NotFound:
            if not flags.truth("force"):
                raise
            return None
        items = [item for item in done if isinstance(item, dict)] if isinstance(done, list) else []
        lines = [f"{key}: {item[key]}" for item in items for key in ("Untagged", "Deleted") if item.get(key)]
        return "\n".join(lines) or None

    return for_each(context, names, step)


def bootstrap(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a base image from the distribution's packages."""
    name, _, suite = arguments[0].partition(":")
    if name not in _BOOTSTRAPPED:
        from sampan.cli.suggest import nearest

        near = nearest(name, _BOOTSTRAPPED)
        hint = f"did you mean {near}?" if near else f"there are recipes for {', '.join(_BOOTSTRAPPED)}"
        raise UsageError(f"cannot bootstrap {name!r}", hint=hint, code=1)
    query = [("name", name)]
    if suite:
        query.append(("suite", suite))
    response = context.session().open("POST", "/sampan/v1/images/bootstrap", query)
    return _show_progress(response, quiet=flags.truth("quiet"))


def _show_progress(response: Response, *, quiet: bool) -> int:
    """Print what a long call says; its error ends the command.

    Raises:
        Failed: the daemon reported an error in the stream.
    """
    for document in read_documents(response):
        detail = document.get("errorDetail")
        if document.get("error") or detail:
            message = document.get("error") or (detail.get("message") if isinstance(detail, dict) else "")
            raise Failed(str(message), hint=str(document.get("hint") or ""))
        text = document.get("stream") or document.get("status")
        if text and not quiet and not document.get("progressDetail"):
            sys.stdout.write(str(text).rstrip("\n") + "\n")
            sys.stdout.flush()
    return 0


def split_reference(text: str) -> tuple[str, str]:
    """Return repository and tag; the daemon supplies `latest`."""
    head, colon, last = text.rpartition(":")
    return (head, last) if colon and "/" not in last else (text, "")


def _platform_json(text: str) -> str:
    from sampan import fastjson

    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    parts = {"os": system, "architecture": architecture, "variant": variant}
    return fastjson.dumps({key: value for key, value in parts.items() if value})
