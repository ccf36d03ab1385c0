"""Values of flags that are comma-separated fields. Lean."""

from __future__ import annotations

from sampan.cli.outcome import UsageError


def split_fields(flag: str, text: str) -> list[str]:
    """Split comma-separated fields; a field in double quotes may contain commas (RFC 4180)."""
    fields, at = [], 0
    while at <= len(text):
        if text[at : at + 1] == '"':
            end = at + 1
            while end < len(text) and (text[end] != '"' or text[end : end + 2] == '""'):
                end += 2 if text[end] == '"' else 1
            if end >= len(text) or text[end + 1 : end + 2] not in ("", ","):
                raise UsageError(f"{flag}: {text!r}: a quoted field does not end")
            fields.append(text[at + 1 : end].replace('""', '"'))
            at = end + 2
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            fields.append(text[at:end])
            at = end + 1
    return fields
