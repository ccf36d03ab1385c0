"""The examples of docs/python-api.md, run in order as one program, with what their comments promise.

Those of networks are marked `py` there and run by test_python_networks.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.system.cli.conftest import daemon, dockerd  # noqa: F401 -- fixtures
from tests.system.cli.harness import Daemon
from tests.system.sampand import needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
PROMISED = re.findall(r"print\(.*\) +# (.*)", "".join(EXAMPLES))


def test_the_examples(
    daemon: Daemon,  # noqa: F811 -- the fixture
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SAMPAN_HOST", daemon.host)
    names: dict[str, Any] = {}
    for number, example in enumerate(EXAMPLES, 1):
        exec(compile(example, f"{PAGE.name}, example {number}", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert PROMISED == ["b'hi\\n'", "3 b'oops\\n'", "4 b'in\\n' b'err\\n'", "0"]
    assert [line for line in lines if line in PROMISED][:4] == PROMISED
    for shown in (
        "b'4\\n'",
        "b'hello from 1000\\n'",
        "b'hello\\n'",
        "b'kept\\n'",
        "stdout b'one\\n'",
        "stderr b'two\\n'",
        "b'through\\n'",
        "['passwd']",
        "[Change(kind='added', path='/tmp/new')]",
        "[b'0\\n', b'1\\n', b'2\\n']",
        "b'ready\\n'",
    ):
        assert shown in lines
    assert lines[-1].startswith(("No such container: no-such-container", "Error: No such container"))
