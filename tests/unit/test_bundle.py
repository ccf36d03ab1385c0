"""A bundle of modules gives what the sources give, and never what they gave once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan import bundle

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "tree/parcel"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Doc."""\nNAME = __name__\n')
    (folder / "inner.py").write_text("from parcel import NAME\nVALUE = f'{NAME} one'\nFILE = __file__\n")
    (folder / "apart.py").write_text("VALUE = 'apart'\n")
    sources = {"parcel": str(folder / "__init__.py"), "parcel.inner": str(folder / "inner.py")}
    bundle.write_bundle(str(tmp_path / "bundle"), sources, orders={"open": ["parcel", "parcel.inner"]})
    bundle.write_loader(str(tmp_path / "loader"))
    return tmp_path


def run(folder: Path, script: str, subcommand: str = "") -> str:
    """Run a script in an interpreter that has the bundle, and the tree behind it."""
    start = f"import sys; sys.path[:0] = [{str(folder / 'tree')!r}, {SOURCE!r}]\n"
    start += "from sampan.bundle import use_bundle\n"
    start += f"use_bundle({str(folder / 'bundle')!r}, {subcommand!r})\n"
    done = subprocess.run(
        [sys.executable, "-IS", "-B", "-c", start + script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


LOADER = "import parcel.inner as m; print(type(m.__spec__.loader).__name__, m.VALUE, m.FILE.rsplit('/')[-1])"


def test_modules_come_from_the_bundle(package: Path) -> None:
    assert run(package, LOADER) == "_Finder parcel one inner.py"


def test_a_module_that_is_not_in_it_comes_from_its_file(package: Path) -> None:
    assert run(package, "import parcel.apart as m; print(m.VALUE)") == "apart"


LOADED = "; print(sys.modules['parcel'].inner is m)"


def test_a_subcommand_has_its_modules_at_once(package: Path) -> None:
    assert run(package, "print(sys.modules['parcel'].inner.VALUE)", "open") == "parcel one"
    assert run(package, LOADER + LOADED, "open") == "_Finder parcel one inner.py\nTrue"
    assert run(package, "print('parcel' in sys.modules)", "close") == "False"


def test_what_is_loaded_ahead_is_a_module_as_any(package: Path) -> None:
    show = "import parcel, parcel.inner as m; s = m.__spec__; print(s.name, s.parent, m.__package__, "
    show += "m.__loader__ is s.loader, parcel.__path__, parcel.__spec__.parent, parcel.__package__)"
    assert run(package, show, "open") == run(package, show)


def test_a_package_that_imports_what_is_in_it_is_loaded_once(package: Path) -> None:
    init = package / "tree/parcel/__init__.py"
    init.write_text(init.read_text() + "from parcel.inner import VALUE\n")
    sources = {"parcel": str(init), "parcel.inner": str(init.with_name("inner.py"))}
    bundle.write_bundle(str(package / "bundle"), sources, orders={"open": ["parcel", "parcel.inner"]})
    show = "import parcel, parcel.inner as m; print(parcel.VALUE is m.VALUE, parcel.inner is m)"
    assert run(package, LOADER, "open") == "_Finder parcel one inner.py"
    assert run(package, show, "open") == "True True"


def test_an_edited_source_wins_ahead_of_time_as_well(package: Path) -> None:
    inner = package / "tree/parcel/inner.py"
    inner.write_text(inner.read_text().replace("one", "two"))
    assert run(package, LOADER, "open") == "SourceFileLoader parcel two inner.py"


def test_a_module_that_fails_ahead_of_time_is_not_kept(package: Path) -> None:
    inner = package / "tree/parcel/inner.py"
    inner.write_text("raise ValueError('no')\n")
    sources = {"parcel": str(package / "tree/parcel/__init__.py"), "parcel.inner": str(inner)}
    bundle.write_bundle(str(package / "other"), sources, orders={"open": ["parcel", "parcel.inner"]})
    script = f"try: use_bundle({str(package / 'other')!r}, 'open')\n"
    script += "except ValueError as exc: print(exc, 'parcel.inner' in sys.modules)"
    assert run(package, script) == "no False"


def test_the_loader_is_the_module(package: Path) -> None:
    script = f"import marshal; exec(marshal.loads(open({str(package / 'loader')!r}, 'rb').read()))\n"
    script += f"use_bundle({str(package / 'bundle')!r}, 'open'); print(sys.modules['parcel.inner'].VALUE)"
    assert run(package, script) == "parcel one"


def test_an_edited_source_wins(package: Path) -> None:
    inner = package / "tree/parcel/inner.py"
    inner.write_text(inner.read_text().replace("one", "two"))
    assert run(package, LOADER) == "SourceFileLoader parcel two inner.py"


def test_a_source_with_another_time_wins(package: Path) -> None:
    os.utime(package / "tree/parcel/inner.py", ns=(1, 1))
    assert "SourceFileLoader" in run(package, LOADER)


def test_a_removed_source_is_gone(package: Path) -> None:
    (package / "tree/parcel/inner.py").unlink()
    assert run(package, "try: import parcel.inner\nexcept ImportError: print('gone')") == "gone"


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"\xff" * 100])
def test_a_broken_bundle_is_passed_over(package: Path, content: bytes) -> None:
    (package / "bundle").write_bytes(content)
    assert "SourceFileLoader" in run(package, LOADER)


def test_no_bundle(package: Path) -> None:
    (package / "bundle").unlink()
    assert "SourceFileLoader" in run(package, LOADER)


def test_a_bundle_replaced_meanwhile(package: Path) -> None:
    script = "import parcel, posix\n"
    script += f"open({str(package / 'other')!r}, 'wb').write(b'x' * 5000)\n"
    script += f"posix.rename({str(package / 'other')!r}, {str(package / 'bundle')!r})\n"
    assert run(package, script + LOADER) == "_Finder parcel one inner.py"


def test_no_descriptor_stays_open(package: Path) -> None:
    assert run(package, "import os, parcel.inner; print(len(os.listdir('/proc/self/fd')))") == "4"
