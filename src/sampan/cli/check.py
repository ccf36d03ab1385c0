"""`sampan system check`. Lean (decision 0002)."""

from __future__ import annotations

from sampan.cli.listing import show_rows
from sampan.cli.table import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.fastjson import JsonValue

HEADINGS = {"Kind": "KIND", "Name": "NAME", "Size": "SIZE", "State": "STATE", "Path": "PATH"}
_DONE = ("removed", "mended")
_FOUND = 1  # something is left over and was not removed


def check(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Compare the records with the disk and the kernel; 1 if something is wrong and was not repaired."""
    query = [("repair", "1")] if flags.truth("repair") else []
    query += [("images", "1")] if flags.truth("images") else []
    answer = context.session().call("POST", "/sampan/v1/system/check", query, patient=True)
    document = answer if isinstance(answer, dict) else {}
    found = document.get("Findings")
    findings = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if findings or flags.text("format"):
        show_rows(
            [_row(one) for one in findings],
            form=flags.text("format"),
            fields=tuple(HEADINGS),
            headings=HEADINGS,
        )
    if not flags.text("format"):
        notes = document.get("Notes")
        for note in notes if isinstance(notes, list) else []:
            print(note)
        print(_summary(findings, document.get("Reclaimed")))
    return 0 if all(one.get("State") in _DONE for one in findings) else _FOUND


def _row(finding: dict[str, JsonValue]) -> Row:
    size, error = finding.get("Size"), finding.get("Error")
    state = f"{finding.get('State')}: {error}" if error else str(finding.get("State"))
    return {
        "Kind": str(finding.get("Kind")),
        "Name": str(finding.get("Name")),
        "Size": human_size(size if isinstance(size, int) else 0),
        "State": state,
        "Path": str(finding.get("Path")),
    }


def _summary(findings: list[dict[str, JsonValue]], reclaimed: JsonValue) -> str:
    if not findings:
        return "nothing is left over"
    done = sum(one.get("State") in _DONE for one in findings)
    if done:
        size = human_size(reclaimed if isinstance(reclaimed, int) else 0)
        return f"{done} of {len(findings)} repaired, {size} reclaimed"
    damaged = sum(one.get("State") == "damaged" for one in findings)
    if damaged == len(findings):
        return f"{damaged} damaged: remove their images and pull or load them again"
    return f"{len(findings)} found; --repair removes what is left over"
