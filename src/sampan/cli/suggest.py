"""The word a user probably meant. Loaded only after something was not found."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word with the fewest edits to word, at most a third of its length; else nothing."""
    best, best_cost = "", max(1, len(word) // 3) + 1
    for candidate in known:
        cost = _distance(word, candidate)
        if cost < best_cost:
            best, best_cost = candidate, cost
    return best


def _distance(left: str, right: str) -> int:
    """Count insertions, deletions, replacements and swaps of neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
