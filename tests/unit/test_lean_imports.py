"""Lean modules load none of the slow standard modules (docs/decisions/0002-lean-modules.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

# Patterns of module files below src/sampan, as architecture.md lists them.
LEAN = [
    "lean.py",
    "bundle.py",
    "errors.py",
    "ids.py",
    "log.py",
    "fastjson.py",
    "settings.py",
    "tls.py",
    "kernel/**/*.py",
    "spec/__init__.py",
    "spec/runtime.py",
    "runtime/**/*.py",
    "network/dns/*.py",
    "client/__init__.py",
    "client/address.py",
    "client/frames.py",
    "client/http.py",
    "client/session.py",
    "cli/*.py",
]
# Parts of lean packages that only sampand loads, which may import what it likes.
NOT_LEAN = ["runtime/launcher/spawn.py", "network/dns/client.py", "network/dns/resolvconf.py"]
# Only loaded to compile a seccomp profile, which is then cached; ctypes costs 2.5 ms.
LOADS_CTYPES = ["sampan.kernel.libseccomp", "sampan.runtime.seccomp_compile"]
BANNED = (
    "typing dataclasses enum re json socket signal subprocess pathlib contextlib functools logging threading "
    "argparse ctypes"
).split()

# One interpreter for all: it forks for each module, so that no import hides another's.
PROBE = """
import os, sys
source, banned, modules = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
early = [name for name in banned if name in sys.modules]
assert not early, f"the interpreter itself loads {early}"
sys.path.insert(0, source)
for module in modules:
    pid = os.fork()
    if pid == 0:
        try:
            __import__(module)
            print(module, *[name for name in banned if name in sys.modules])
        except BaseException as exc:
            print(module, repr(exc).replace(" ", "_"))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
"""


def lean_modules() -> list[str]:
    package = SOURCE / "sampan"
    files = sorted(
        {path for pattern in LEAN for path in package.glob(pattern)} - {package / path for path in NOT_LEAN}
    )
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names]


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The banned modules that each lean module loads, or the error of its import."""
    modules = lean_modules()
    arguments = [sys.executable, "-I", "-S", "-c", PROBE, str(SOURCE), " ".join(BANNED), " ".join(modules)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}


@pytest.mark.parametrize("module", lean_modules())
def test_loads_nothing_slow(module: str, loaded: dict[str, list[str]]) -> None:
    assert loaded[module] == (["ctypes"] if module in LOADS_CTYPES else [])


def test_the_probe_sees_what_is_loaded() -> None:
    """Shows that the test above can fail."""
    arguments = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        PROBE,
        str(SOURCE),
        " ".join(BANNED),
        "sampan.spec json no.such",
    ]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    spec, json_line, missing = result.stdout.splitlines()
    assert spec == "sampan.spec"
    assert {"json", "re", "enum"} <= set(json_line.split())
    assert "ModuleNotFoundError" in missing
