"""`sampan inspect`, and the same below `container` and `image`. Lean."""

from __future__ import annotations

import sys

from sampan.cli.outcome import UsageError, complain
from sampan.cli.pretty import compact_json, pretty_json
from sampan.client.http import quote
from sampan.errors import InvalidArgument, NotFound, SampanError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

# Kinds in the order they are tried in, with the path of one object and what a missing one is called.
_KINDS = (
    ("container", "/containers/{}/json", "container"),
    ("image", "/images/{}/json", "image"),
    ("network", "/networks/{}", "network"),
    ("volume", "/volumes/{}", "volume"),
)


def inspect(context: Context, flags: Flags, names: list[str]) -> int:
    """Show objects of any kind, or of the one that --type names."""
    kind = flags.text("type")
    if kind and kind not in [row[0] for row in _KINDS]:
        raise UsageError(
            f"--type: {kind!r} is no kind of object", hint="container, image, network or volume", code=1
        )
    return _inspect(context, flags, names, [kind] if kind else [row[0] for row in _KINDS])


def inspect_containers(context: Context, flags: Flags, names: list[str]) -> int:
    """Show containers."""
    return _inspect(context, flags, names, ["container"])


def inspect_images(context: Context, flags: Flags, names: list[str]) -> int:
    """Show images."""
    return _inspect(context, flags, names, ["image"])


def inspect_volumes(context: Context, flags: Flags, names: list[str]) -> int:
    """Show volumes."""
    return _inspect(context, flags, names, ["volume"])


def inspect_networks(context: Context, flags: Flags, names: list[str]) -> int:
    """Show networks."""
    if flags.truth("anatomy"):
        from sampan.cli.network_anatomy import show

        return show(context, flags, names)
    return _inspect(context, flags, names, ["network"])


def _inspect(context: Context, flags: Flags, names: list[str], kinds: Sequence[str]) -> int:
    if flags.truth("anatomy"):
        from sampan.cli.explain import show

        return max(show(context, flags, [name]) for name in names)
    show_one = _formatter(flags.text("format"))
    session, found, missing = context.session(), [], []  # type: Session, list[JsonValue], list[SampanError]
    for name in names:
        try:
            found.append(_find(session, name, kinds, flags))
        except SampanError as exc:
            missing.append(exc)
    if show_one is None:
        print(pretty_json(found))
    else:
        for item in found:
            print(show_one(item))
    sys.stdout.flush()
    for error in missing:
        if isinstance(error, NotFound):
            complain(f"Error: {error}")  # docker's words: scripts look for them
        else:
            complain(f"error: {error}")
    return 1 if missing else 0


def _formatter(form: str) -> Callable[[JsonValue], str] | None:
    """Return what turns an object into a line; None for docker's indented list."""
    if not form:
        return None
    if form == "json":
        return compact_json
    from sampan.cli.template import Template

    return Template(form).render


def _find(session: Session, name: str, kinds: Sequence[str], flags: Flags) -> JsonValue:
    """Return the first object of that name.

    Raises:
        NotFound: `No such object: NAME`, or `No such KIND: NAME` when only one kind was looked at.
    """
    for kind, path, _ in _KINDS:
        if kind not in kinds:
            continue
        query = [("size", "1")] if kind == "container" and flags.truth("size") else []
        try:
            return session.call("GET", path.format(quote(name)), query)
        except (NotFound, Unsupported) as exc:
            if len(kinds) == 1 and "page not found" not in str(exc):
                raise
        except InvalidArgument as exc:
            # A name that cannot be an image reference may still be another kind of object.
            if "invalid reference format" not in str(exc) or len(kinds) == 1:
                raise
    word = kinds[0] if len(kinds) == 1 else "object"
    raise NotFound(f"No such {word}: {name}")
