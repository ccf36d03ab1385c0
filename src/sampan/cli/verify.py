"""`image verify`. Lean."""

from __future__ import annotations

import sys

from sampan.cli.archives import open_archive, read_pieces
from sampan.cli.listing import show_rows
from sampan.cli.outcome import Failed
from sampan.cli.pretty import compact_json
from sampan.cli.registry_auth import auth_header
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row

HEADINGS = {"Identity": "SIGNED AS", "Key": "KEY", "Claims": "CLAIMS"}


def verify(context: Context, flags: Flags, arguments: list[str]) -> int:
    """List the signatures of an image that known keys have made; 1 if there is none."""
    name = arguments[0]
    keys = [_read(path) for path in flags.items("key")]
    found = context.session().call(
        "POST",
        f"/sampan/v1/images/{quote(name)}/verify",
        body={"Keys": keys},  # type: ignore[dict-item]  # texts are JSON values
        headers=auth_header(name),
    )
    document = found if isinstance(found, dict) else {}
    signatures = document.get("Signatures")
    rows: list[Row] = [
        {
            "Identity": str(one.get("Identity")),
            "Key": str(one.get("Key"))[:16],
            "Claims": compact_json(one.get("Claims") or {}),
        }
        for one in (signatures if isinstance(signatures, list) else [])
        if isinstance(one, dict)
    ]
    if not rows:
        raise Failed(f"{name} ({document.get('Digest')}) has no signature by a known key")
    if not flags.text("format"):
        sys.stdout.write(f"{document.get('Digest')}\n")
    show_rows(rows, form=flags.text("format"), fields=tuple(HEADINGS), headings=HEADINGS)
    return 0


def _read(path: str) -> str:
    return b"".join(read_pieces(open_archive("--key", path))).decode("ascii", "replace")
