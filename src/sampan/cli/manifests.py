"""`manifest create|annotate|inspect|push|rm`: image indexes, made of images that a registry has. Lean.

A new index is a draft in `manifests/` beside docker's config.json until it is pushed; the registry is asked
by sampand, with the credentials of whoever calls.
"""

from __future__ import annotations

import os
import sys

from sampan import fastjson
from sampan.cli import registry_auth
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.pretty import pretty_json
from sampan.client.http import quote
from sampan.errors import NotFound, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.fastjson import JsonValue

    Entry = dict[str, JsonValue]

_ATTESTATION = "unknown"  # the platform of what is no image, as BuildKit writes it


def inspect(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Show what a registry, or a draft, has under a name; nothing is pulled."""
    draft = _read_draft(arguments[0])
    if draft is not None:
        document: JsonValue = {"schemaVersion": 2, "manifests": [_descriptor(entry) for entry in draft]}
        sys.stdout.write(pretty_json(document) + "\n")
        return 0
    found = _ask(context, arguments[0])
    if not flags.truth("verbose"):
        sys.stdout.write(pretty_json(found["Document"]) + "\n")
        return 0
    shown: list[JsonValue] = [
        {"Ref": entry["Name"], "Descriptor": _descriptor(entry)} for entry in _images(found)
    ]
    sys.stdout.write(pretty_json(shown[0] if len(shown) == 1 else shown) + "\n")
    return 0


def create(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Begin an index, or add to one with --amend; nothing is sent yet."""
    name, *images = arguments
    entries: list[Entry] = _read_draft(name) or []
    if entries and not flags.truth("amend"):
        raise Failed(f"there is a draft of {name}", hint="add to it with --amend, or: sampan manifest rm")
    for image in images:
        for entry in _images(_ask(context, image)):
            platform = entry.get("Platform")
            if isinstance(platform, dict) and platform.get("os") == _ATTESTATION:
                continue
            entries = [one for one in entries if one.get("Digest") != entry.get("Digest")]
            entries.append({**entry, "Asked": image})
    _write_draft(name, entries)
    sys.stdout.write(f"Created manifest list {name}\n")
    return 0


def annotate(_context: Context, flags: Flags, arguments: list[str]) -> int:
    """Say for which platform an image of a draft is."""
    name, image = arguments
    entries = _draft(name)
    chosen = [one for one in entries if image in (one.get("Asked"), one.get("Name"), one.get("Digest"))]
    if not chosen:
        raise Failed(f"the draft of {name} has no {image}", hint=f"see: sampan manifest inspect {name}")
    for entry in chosen:
        platform = entry.get("Platform")
        changed = dict(platform) if isinstance(platform, dict) else {}
        for flag, key in (
            ("os", "os"),
            ("arch", "architecture"),
            ("variant", "variant"),
            ("os-version", "os.version"),
        ):
            if flags.given(flag):
                changed[key] = flags.text(flag)
        entry["Platform"] = changed
    _write_draft(name, entries)
    return 0


def push(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Send a draft to its registry, and print the digest."""
    name = arguments[0]
    images: list[JsonValue] = [
        {"Name": entry.get("Name"), "Platform": entry.get("Platform")} for entry in _draft(name)
    ]
    done = context.session().call(
        "POST",
        "/sampan/v1/manifests/push",
        body={"Name": name, "Images": images},
        headers=registry_auth.auth_header(name),
    )
    sys.stdout.write(f"{done['Digest'] if isinstance(done, dict) else ''}\n")
    if flags.truth("purge"):
        os.unlink(_path(name))
    return 0


def remove(_context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Throw drafts away."""
    for name in arguments:
        try:
            os.unlink(_path(name))
        except FileNotFoundError:
            raise _no_draft(name) from None
    return 0


def _ask(context: Context, name: str) -> dict[str, JsonValue]:
    path = f"/sampan/v1/manifests/{quote(name)}/json"
    try:
        found = context.session().call("GET", path, headers=registry_auth.auth_header(name))
    except NotFound as exc:
        if "page not found" in str(exc):
            raise Failed("this daemon cannot ask for manifests") from exc
        raise
    return found if isinstance(found, dict) else {}


def _images(found: dict[str, JsonValue]) -> list[Entry]:
    images = found.get("Images")
    return [one for one in images if isinstance(one, dict)] if isinstance(images, list) else []


def _descriptor(entry: Entry) -> JsonValue:
    return {
        "mediaType": entry.get("MediaType"),
        "digest": entry.get("Digest"),
        "size": entry.get("Size"),
        "platform": entry.get("Platform"),
    }


def _path(name: str) -> str:
    if not name or len(name) > 200:
        raise UsageError(f"{name[:50]!r} is no name of an image", code=1)
    return f"{registry_auth.folder()}/manifests/{quote(name).replace('/', '%2F')}.json"


def _draft(name: str) -> list[Entry]:
    entries = _read_draft(name)
    if entries is None:
        raise _no_draft(name)
    return entries


def _no_draft(name: str) -> Failed:
    return Failed(f"no such manifest: {name}", hint=f"begin one: sampan manifest create {name} IMAGE…")


def _read_draft(name: str) -> list[Entry] | None:
    try:
        with open(_path(name), "rb") as file:
            found = fastjson.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, SampanError) as exc:
        raise Failed(f"cannot read the draft of {name}: {exc}", hint=f"sampan manifest rm {name}") from exc
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _write_draft(name: str, entries: list[Entry]) -> None:
    registry_auth.write_private(_path(name), fastjson.dumps(entries).encode())
