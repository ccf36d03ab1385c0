"""What the command loads: the fast path is short, and nothing slow is in it (decision 0002)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.client.scripted import Scripted, answer

SOURCE = Path(__file__).parents[3] / "src"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from sampan.cli.main import run_command_line
code = run_command_line(sys.argv[1:])
own = [name for name in sys.modules if name.startswith("sampan")]
others = [name for name in sys.modules if not name.startswith("sampan")]
sys.stderr.write(f"{code}|{' '.join(own)}|{' '.join(others)}")
"""
# Built-in or C modules, and those that the interpreter itself has loaded with -IS.
ALLOWED = frozenset(
    "sys builtins _frozen_importlib _imp _thread _warnings _weakref _frozen_importlib_external marshal posix "
    "time zipimport codecs _codecs encodings encodings.aliases encodings.utf_8 _signal _abc abc "
    "encodings.ascii encodings.latin_1 io _io __main__ __future__ os stat _stat _collections_abc posixpath "
    "os.path genericpath _socket select _json termios errno".split()
)
SESSION = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.sampan.session\r\n\r\n"
    b'\x04\x00\x00\x00\x00\x00\x00\x0f{"Id":"'
    + b"a" * 6
    + b'"}'
    + b"\x05\x00\x00\x00\x00\x00\x00\x10"
    + b'{"StatusCode":0}'
)


def loaded(daemon: Scripted, folder: Path, *arguments: str) -> tuple[str, set[str], set[str]]:
    """Return the exit code, and the modules of ours and of others that one command has loaded."""
    script = (
        folder / "program.py"
    )  # a file as the installed command is: `-c` loads linecache since Python 3.13
    script.write_text(PROGRAM)
    command = [sys.executable, "-IS", str(script), str(SOURCE), "-H", f"unix://{daemon.path}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    code, own, others = done.stderr.split("|")
    return code, set(own.split()), set(others.split())


@pytest.mark.parametrize(
    ("arguments", "reply", "most"),
    [
        pytest.param(["run", "--rm", "--network", "none", "busybox", "true"], SESSION, 25, id="run"),
        pytest.param(["exec", "web", "true"], SESSION, 25, id="exec"),
        pytest.param(["ps"], answer(b"[]"), 20, id="ps"),
    ],
)
def test_the_fast_path_loads_little(tmp_path: Path, arguments: list[str], reply: bytes, most: int) -> None:
    with Scripted(tmp_path, [reply]) as daemon:
        code, own, others = loaded(daemon, tmp_path, *arguments)
    assert code == "0"
    assert others - ALLOWED == set()
    assert len(own) <= most, sorted(own)
