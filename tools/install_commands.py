"""Write the commands `sampan`, `sampand`, `sampan-runtime` into this environment's bin directory.

An entry point made by pip cannot start the interpreter with `-I -S`, which saves 3 ms of every start and
keeps PYTHON* variables and the current directory out. With `-S` the module path is written by hand.

`sampan-runtime` enters containers, so its interpreter has to run through a read-only mount (CVE-2019-5736,
decision 0010). A few lines of Perl, whose start costs 1.5 ms and which every Debian has, set that up before
Python starts; without Perl the runtime does it itself by starting twice.
"""

from __future__ import annotations

import compileall
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SOURCE))

from sampan.bundle import write_bundle, write_loader  # noqa: E402 -- this checkout's, wherever the tool is started

COMMANDS = {
    "sampan": "sampan.cli.__main__",
    "sampand": "sampan.daemon.__main__",
    "sampan-registry": "sampan.registry.server.__main__",
    "sampan-runtime": "sampan.runtime.__main__",
}

SCRIPT = """#!{python} -IS
import sys
sys.path[:0] = [{source!r}, {packages!r}]
from {module} import main
main()
"""

BUNDLE_SCRIPT = """#!{python} -IS
import gc
gc.disable()
import marshal, posix, sys
sys.path[:0] = [{source!r}, {packages!r}]
fd = posix.open({loader!r}, posix.O_RDONLY | posix.O_CLOEXEC)
exec(marshal.loads(posix.read(fd, 1 << 20)))  # sampan/bundle.py
posix.close(fd)
use_bundle({bundle!r}, sys.argv[1] if sys.argv[1:] else "")
from {module} import main
gc.freeze()
gc.enable()
main()
"""

# open_tree(2), mount_setattr(2), execveat(2) by number; the latter two are missing in libc.
PERL_STAGE = """#!/usr/bin/perl
# sampan-runtime: start Python through a detached read-only mount of its own file, so that no container can
# write to it by /proc/<pid>/exe (CVE-2019-5736). Without the privilege, or on an old kernel, it starts as it
# is, and sampan.runtime.own_program decides. Written by tools/install_commands.py.
my $python = "{python}";
my @words = ($python, "-IS", "{script}", @ARGV);
my ($empty, $path) = ("", $python);  # syscall refuses literals
my $fd = syscall(428, -100, $path, 0x80001);  # open_tree: AT_FDCWD, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
if ($fd >= 0) {{
    my $attributes = pack("Q4", 7, 0, 0, 0);  # MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    if (syscall(442, $fd, $empty, 0x1000, $attributes, 32) == 0) {{  # mount_setattr, AT_EMPTY_PATH
        my @environment = map {{ "$_=$ENV{{$_}}" }} keys %ENV;
        my ($argv, $envp) = (pack("p*x8", @words), pack("p*x8", @environment));
        syscall({execveat}, $fd, $empty, $argv, $envp, 0x1000);
    }}
}}
exec {{ $python }} @words;
"""
EXECVEAT = {"x86_64": 322, "aarch64": 281}

# What is bundled for the two commands that start often, as paths below src/sampan.
RUNTIME_MODULES = ("*.py", "kernel/*.py", "kernel/cgroups/*.py", "spec/*.py", "runtime/*.py")
CLI_MODULES = ("*.py", "client/*.py", "cli/*.py")
# What their quick subcommands import.
QUICK_PATHS = {
    "sampan": {
        "run": ("sampan.cli.__main__", "sampan.cli.flag_table", "sampan.cli.context", "sampan.cli.run"),
        "exec": ("sampan.cli.__main__", "sampan.cli.flag_table", "sampan.cli.context", "sampan.cli.execute"),
    },
    "sampan-runtime": {
        "run": ("sampan.runtime.main", "sampan.runtime.commands_run", "sampan.runtime.foreground"),
    },
}


def main() -> None:
    target = Path(sysconfig.get_path("scripts"))
    compileall.compile_dir(str(SOURCE), quiet=2, workers=1)
    for name, module in COMMANDS.items():
        if name in ("sampand", "sampan-registry"):
            write_script(target / name, fill(SCRIPT, module=module))
    folder = target.parent / "lib/sampan"
    folder.mkdir(parents=True, exist_ok=True)
    write_script(target / "sampan", bundled_script("sampan", CLI_MODULES, folder))
    install_runtime(target, folder)


def fill(template: str, **more: object) -> str:
    python = os.path.realpath(sys.executable)  # the binary itself: a symbolic link costs look-ups
    packages = sysconfig.get_path("purelib")
    return template.format(python=python, source=str(SOURCE), packages=packages, **more)


def bundled_script(command: str, patterns: tuple[str, ...], folder: Path) -> str:
    """Write a command's bundle into folder; return the script that uses it."""
    bundle, loader = folder / f"{command}.bundle", folder / f"{command}.loader"
    orders, extensions = {}, {}
    for subcommand, modules in QUICK_PATHS[command].items():
        orders[subcommand], more = imported(modules)
        extensions |= more
    write_bundle(str(bundle), bundled_modules(patterns), orders=orders, extensions=extensions)
    write_loader(str(loader))
    return fill(BUNDLE_SCRIPT, bundle=str(bundle), loader=str(loader), module=COMMANDS[command])


def install_runtime(target: Path, folder: Path) -> None:
    script = bundled_script("sampan-runtime", RUNTIME_MODULES, folder)
    execveat = EXECVEAT.get(platform.machine())
    if execveat is None or not os.access("/usr/bin/perl", os.X_OK):
        write_script(target / "sampan-runtime", script)
        return
    write_script(folder / "sampan-runtime.py", script)
    stage = fill(PERL_STAGE, script=str(folder / "sampan-runtime.py"), execveat=execveat)
    write_script(target / "sampan-runtime", stage)


def imported(modules: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Return what importing these imports: modules of ours in the order of `Orders`; C modules' files."""
    script = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
    script += "".join(f"import {name}\n" for name in modules)
    script += "for name, module in sys.modules.items(): print(name, getattr(module, '__file__', None) or '-')"
    command = [sys.executable, "-X", "importtime", "-ISc", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    files = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    extensions = {name: path for name, path in files.items() if path.endswith(".so")}
    ended = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]  # a line when one is done
    return packages_first([name for name in ended if name.partition(".")[0] == "sampan"]), extensions


def packages_first(names: list[str]) -> list[str]:
    """Move each package before what is in it: one that imports its own modules is done behind them."""
    ordered: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        parents = (".".join(parts[:count]) for count in range(1, len(parts)))
        ordered |= dict.fromkeys((*parents, name))
    return list(ordered)


def bundled_modules(patterns: tuple[str, ...]) -> dict[str, str]:
    """Return the sources to bundle, by the dotted names of their modules."""
    paths = sorted(path for pattern in patterns for path in (SOURCE / "sampan").glob(pattern))
    names = {path: ".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths}
    return {
        name.removesuffix(".__init__"): str(path)
        for path, name in names.items()
        if path.name != "__main__.py" or path.parent.name == "cli"
    }


def write_script(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)


if __name__ == "__main__":
    main()
