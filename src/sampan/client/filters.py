"""Filters of lists, prunes and events, as the API takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sampan import fastjson

Filters = Mapping[str, Sequence[str]]  # name → alternatives


def encode_filters(filters: Filters | None) -> list[tuple[str, str]]:
    """Return the query for filters."""
    if not filters:
        return []
    return [("filters", fastjson.dumps({key: list(values) for key, values in filters.items()}))]
