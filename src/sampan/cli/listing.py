"""Lists for people and programs: docker's `--format` over rows of named fields. Lean (decision 0002)."""

from __future__ import annotations

import sys

from sampan.cli.outcome import UsageError
from sampan.cli.table import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sampan.cli.template_functions import Value

    Row = dict[str, Value]


def show_rows(
    rows: Iterable[Row],
    *,
    form: str,
    fields: Sequence[str],
    headings: Mapping[str, str],
    quiet_field: str = "",
) -> None:
    """Print rows as `form` asks: a table of `fields`, `json`, a template, or `table TEMPLATE`.

    `quiet_field` is printed alone in place of the default table.

    Raises:
        TemplateError: the template is wrong, or names a field that rows do not have.
    """
    if form in ("", "table"):
        if quiet_field:
            out = "".join(f"{row[quiet_field]}\n" for row in rows)
        else:
            lines = [[headings[field] for field in fields]]
            out = render([*lines, *([str(row[field]) for field in fields] for row in rows)])
    elif form == "json":
        from sampan.cli.pretty import compact_json

        out = "".join(compact_json(row) + "\n" for row in rows)
    else:
        out = _by_template(rows, form, headings)
    sys.stdout.write(out)


def _by_template(rows: Iterable[Row], form: str, headings: Mapping[str, str]) -> str:
    from sampan.cli.template import Template

    is_table = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    if not is_table:
        return "".join(template.render(row) + "\n" for row in rows)
    head: Row = {field: heading for field, heading in headings.items()}
    head["Label"] = lambda name: str(name).upper()
    lines = [template.render(head), *(template.render(row) for row in rows)]
    cells = [line.split("\t") for line in lines]
    return render([row + [""] * (len(cells[0]) - len(row)) for row in cells])


def encode_filters(texts: Sequence[str]) -> str:
    """Return the API's `filters` for `key=value` texts; empty for none.

    Raises:
        UsageError: a text has no equals sign.
    """
    if not texts:
        return ""
    from sampan import fastjson

    filters: dict[str, dict[str, bool]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"-f, --filter: {text!r} is not key=value", code=1)
        if key.endswith("!"):
            key = key[:-1].strip().lower() + "!"
        filters.setdefault(key.strip().lower(), {})[value.strip()] = True
    return fastjson.dumps(filters)
