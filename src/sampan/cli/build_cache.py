"""`sampan builder cache`: what `RUN --mount=type=cache` keeps, listed, saved, brought elsewhere. Lean."""

from __future__ import annotations

from sampan.cli.archives import check_destination, open_archive, read_pieces, write_archive
from sampan.cli.build_rows import show_kept
from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags

_PATH = "/sampan/v1/build/mounts"
_HEADINGS = {"Id": "ID", "Size": "SIZE", "InUse": "IN USE", "LastUsedAt": "LAST USED"}


def cache(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Do what the first argument says: ls, export ID, import ID.

    Raises:
        UsageError: it is none of them, or its ID is missing.
    """
    verb, names = arguments[0], arguments[1:]
    if verb == "ls" and not names:
        return show_kept(context, flags, _PATH, _HEADINGS)
    if verb == "export" and names:
        return _export(context, flags, names[0])
    if verb == "import" and names:
        return _import(context, flags, names[0])
    raise UsageError("write: builder cache ls, builder cache export ID, or builder cache import ID")


def _export(context: Context, flags: Flags, mount_id: str) -> int:
    path = flags.text("output", "-")
    check_destination(path, instead=f"sampan builder cache export {mount_id} --output FILE")
    query = [("id", mount_id)]
    write_archive(context.session().open("GET", f"{_PATH}/content", query, patient=True), path)
    return 0


def _import(context: Context, flags: Flags, mount_id: str) -> int:
    fd = open_archive("-i, --input", flags.text("input", "-"))
    session = context.session()
    query, headers = [("id", mount_id)], [("Content-Type", "application/x-tar")]
    chunks = read_pieces(fd)
    session.recycle(
        session.open("PUT", f"{_PATH}/content", query, chunks=chunks, headers=headers, patient=True)
    )
    return 0
