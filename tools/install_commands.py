"""Write the commands `sampan`, `sampand`, `sampan-runtime` into this environment's bin directory.

An entry point made by pip cannot start the interpreter with `-I -S`, which saves 3 ms of every start
and keeps PYTHON* variables and the current directory out. With `-S` the module path is written by hand.
"""

from __future__ import annotations

import compileall
import os
import sys
import sysconfig
from pathlib import Path

COMMANDS = {
    "sampan": "sampan.cli.__main__",
    "sampand": "sampan.daemon.__main__",
    "sampan-runtime": "sampan.runtime.__main__",
}

SCRIPT = """#!{python} -IS
import sys
sys.path[:0] = [{source!r}, {packages!r}]
from {module} import main
main()
"""


def main() -> None:
    source = Path(__file__).resolve().parent.parent / "src"
    target = Path(sysconfig.get_path("scripts"))
    python = os.path.realpath(sys.executable)  # the binary itself: a symbolic link costs look-ups
    compileall.compile_dir(str(source), quiet=2, workers=1)
    for name, module in COMMANDS.items():
        text = SCRIPT.format(
            python=python, source=str(source), packages=sysconfig.get_path("purelib"), module=module
        )
        script = target / name
        if not script.exists() or script.read_text() != text:
            script.write_text(text)
            script.chmod(0o755)


if __name__ == "__main__":
    main()
