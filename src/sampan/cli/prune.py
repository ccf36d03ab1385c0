"""`sampan container prune`, `image prune`, `volume prune`, `system prune`. Lean (decision 0002)."""

from __future__ import annotations

import sys

from sampan.cli.listing import encode_filters
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.table import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

    # title, path, list in the answer
    Kind = tuple[str, str, str]

_CONTAINERS: Kind = ("Deleted Containers:", "/containers/prune", "ContainersDeleted")
_NETWORKS: Kind = ("Deleted Networks:", "/networks/prune", "NetworksDeleted")
_VOLUMES: Kind = ("Deleted Volumes:", "/volumes/prune", "VolumesDeleted")
_IMAGES: Kind = ("Deleted Images:", "/images/prune", "ImagesDeleted")
_BUILDS: Kind = ("Deleted build cache objects:", "/build/prune", "CachesDeleted")


def containers(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Remove containers that do not run."""
    _confirm(flags, "WARNING! This will remove all stopped containers.")
    return _show(context.session(), [(_CONTAINERS, _query(flags))])


def images(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Remove images without a name, or with --all those that no container uses."""
    every = flags.truth("all")
    what = "all images without at least one container associated to them" if every else "all dangling images"
    _confirm(flags, f"WARNING! This will remove {what}.")
    return _show(context.session(), [(_IMAGES, _image_query(flags))])


def builds(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Forget the steps of builds, and remove the layers that no image has."""
    _confirm(flags, "WARNING! This will remove all build cache.")
    from sampan.cli.values import parse_size

    query = _query(flags) + ([("all", "1")] if flags.truth("all") else [])
    if flags.text("keep-storage"):
        query.append(("reserved-space", str(parse_size("keep-storage", flags.text("keep-storage")))))
    return _show(context.session(), [(_BUILDS, query)])


def volumes(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Remove anonymous volumes, or with --all named ones too, that no container has."""
    every = flags.truth("all")
    what = "all" if every else "anonymous"
    _confirm(flags, f"WARNING! This will remove {what} local volumes not used by at least one container.")
    return _show(context.session(), [(_VOLUMES, _query(flags, *(["all=true"] if every else [])))])


def networks(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Remove networks that no container has."""
    _confirm(flags, "WARNING! This will remove all custom networks not used by at least one container.")
    return _show(context.session(), [(_NETWORKS, _query(flags))])


def system(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Remove everything that is not in use."""
    with_volumes, filters = flags.truth("volumes"), flags.items("filter")
    if with_volumes and any(text.startswith("until=") for text in filters):
        raise UsageError('the filter "until" does not go with --volumes', code=1)
    kinds = [(_CONTAINERS, _query(flags)), (_NETWORKS, _query(flags))]
    if with_volumes:
        kinds.append((_VOLUMES, _query(flags)))
    kinds += [(_IMAGES, _image_query(flags)), (_BUILDS, _query(flags))]
    _confirm(flags, _warning(flags))
    return _show(context.session(), kinds)


def _warning(flags: Flags) -> str:
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if flags.truth("volumes"):
        lines.append("all anonymous volumes not used by at least one container")
    every = flags.truth("all")
    lines.append(
        "all images without at least one container associated to them" if every else "all dangling images"
    )
    lines.append("all build cache" if every else "unused build cache")
    text = "WARNING! This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if flags.items("filter"):
        text += "\n  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {one}\n" for one in sorted(flags.items("filter")))
    return text


def _query(flags: Flags, *more: str) -> list[tuple[str, str]]:
    filters = [*flags.items("filter"), *more]
    return [("filters", encode_filters(filters))] if filters else []


def _image_query(flags: Flags) -> list[tuple[str, str]]:
    return _query(flags, f"dangling={'false' if flags.truth('all') else 'true'}")


def _confirm(flags: Flags, warning: str) -> None:
    """Ask on the terminal, unless --force was given.

    Raises:
        Failed: the answer is not yes.
    """
    if flags.truth("force"):
        return
    sys.stdout.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed("nothing was removed", hint="answer y, or use -f")


def _show(session: Session, kinds: Sequence[tuple[Kind, list[tuple[str, str]]]]) -> int:
    freed = 0
    for (title, path, field), query in kinds:
        answer = session.call("POST", path, query)
        document = answer if isinstance(answer, dict) else {}
        lines = list(_lines(document.get(field)))
        if lines:
            print("\n".join([title, *lines, ""]), flush=True)
        size = document.get("SpaceReclaimed")
        freed += size if isinstance(size, int) else 0
    print(f"Total reclaimed space: {human_size(freed)}")
    return 0


def _lines(deleted: JsonValue) -> Iterator[str]:
    """Yield what went: ids and names, or the steps of images."""
    for one in deleted if isinstance(deleted, list) else []:
        if not isinstance(one, dict):
            yield str(one)
        elif "Untagged" in one:
            yield f"untagged: {one['Untagged']}"
        else:
            yield f"deleted: {one.get('Deleted')}"
