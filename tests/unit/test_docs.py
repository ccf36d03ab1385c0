"""The pages of docs/ name files and pages that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    modules = re.findall(r"`([\w./-]+\.py)(?:::\w+)?`", text)
    ends = {f"/{file}" for file in FILES}
    assert [name for name in modules if not any(end.endswith(f"/{name}") for end in ends)] == []
    named = re.findall(r"`([\w./-]+\.py)::(\w+)`", text)
    assert [f"{file}::{name}" for file, name in named if not has_test(file, name)] == []
    links = re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def has_test(file: str, name: str) -> bool:
    """Tell whether a file of that name has a function of that name."""
    found = [ROOT / one for one in FILES if f"/{one}".endswith(f"/{file}")]
    return any(re.search(rf"^ *(?:async )?def {name}\(", path.read_text(), re.MULTILINE) for path in found)
