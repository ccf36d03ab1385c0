"""Command lines that never reach a daemon: help, mistakes, completion."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.cli.commands import COMMANDS, NOUNS, all_commands, find_command, load
from sampan.cli.completion import complete
from sampan.cli.context import Context
from sampan.cli.help import EXAMPLES
from sampan.cli.main import run_command_line

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the address be one where nobody listens."""
    monkeypatch.setenv("SAMPAN_HOST", f"unix://{tmp_path}/nobody.sock")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("help", []),
        ("help-run", ["run", "--help"]),
        ("help-container", ["container"]),
        ("help-ps", ["help", "ps"]),
    ],
)
def test_help_pages(name: str, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(words) == 0
    shown = capfd.readouterr().out
    assert shown == (GOLDEN / f"{name}.txt").read_text()
    assert max(len(line) for line in shown.splitlines()) <= 110


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["rnu"], 1, "error: unknown command: sampan rnu\nhint: did you mean 'sampan run'?\n"),
        (
            ["container", "lst"],
            1,
            "error: unknown command: sampan container lst\nhint: did you mean 'sampan container ls'?\n",
        ),
        (["xyzzy"], 1, "error: unknown command: sampan xyzzy\nhint: see 'sampan help'\n"),
        (
            ["compose", "x"],
            1,
            "error: 'compose' is not part of this version of sampan\nhint: see 'sampan help' for what is\n",
        ),
        (
            ["run", "--memroy", "1g", "x"],
            125,
            "error: unknown flag: --memroy\nhint: did you mean --memory?\n",
        ),
        (
            ["run", "-m", "lots", "x"],
            125,
            "error: --memory: 'lots' is not a size\nhint: a number and a unit, such as 512k, 64m or 1.5g\n",
        ),
        (
            ["run"],
            1,
            "error: 'sampan container run' takes at least 1 argument, not 0\n"
            "hint: usage: sampan container run [OPTIONS] IMAGE [COMMAND] [ARG...]\n",
        ),
        (
            ["rename", "a"],
            1,
            "error: 'sampan container rename' takes exactly 2 arguments, not 1\n"
            "hint: usage: sampan container rename [OPTIONS] CONTAINER NEW_NAME\n",
        ),
        (
            ["version", "x"],
            1,
            "error: 'sampan version' takes no arguments, not 1\nhint: usage: sampan version [OPTIONS]\n",
        ),
        (["--nosuch", "ps"], 125, "error: unknown flag: --nosuch\n"),
        (
            ["image", "bootstrap", "bussybox"],
            1,
            "error: cannot bootstrap 'bussybox'\nhint: did you mean busybox?\n",
        ),
        (
            ["-H", "box", "ps"],
            1,
            "error: address 'box' is not understood\nhint: unix:///path, tcp://host:port or ssh://host\n",
        ),
        (["completion", "csh"], 1, "error: there is no completion for 'csh'\nhint: bash, zsh or fish\n"),
        (["ps", "--filter", "x"], 1, "error: -f, --filter: 'x' is not key=value\n"),
        (
            ["inspect", "--type", "thing", "x"],
            1,
            "error: --type: 'thing' is no kind of object\nhint: container, image, network or volume\n",
        ),
        (["logs", "--tail", "some", "x"], 1, "error: -n, --tail: 'some' is neither a number nor all\n"),
        (["events", "--format", "{{"], 64, "error: --format: template: at character 1: {{ without }}\n"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(
    words: list[str], code: int, error: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(words) == code
    found = capfd.readouterr()
    assert found.out == ""
    assert found.err == error


@pytest.mark.parametrize(
    ("words", "code"), [(["ps"], 1), (["run", "x"], 125), (["exec", "a", "b"], 1), (["create", "x"], 1)]
)
def test_nobody_listens(
    words: list[str], code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(words) == code
    error = capfd.readouterr().err
    assert error.startswith(
        f"error: cannot connect to unix://{tmp_path}/nobody.sock: nobody listens there\nhint: "
    )


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    from sampan import __version__

    assert run_command_line(["--version"]) == 0
    assert capfd.readouterr().out == f"sampan version {__version__}\n"


def test_every_command_can_be_found_loaded_and_explained(capfd: pytest.CaptureFixture[str]) -> None:
    paths = [path for row in COMMANDS for path in (row[0], *row[1])]
    assert len(paths) == len(set(paths))
    for command in all_commands():
        assert callable(load(command.handler))
        letters = [row[1] for _, rows in command.flag_groups() for row in rows if row[1]]
        names = [row[0] for _, rows in command.flag_groups() for row in rows]
        assert len(letters) == len(set(letters)), command.path
        assert len(names) == len(set(names)), command.path
        for path in (command.path, *command.aliases):
            found = find_command([*path.split(), "x"])
            assert found is not None
            assert found[0].path == command.path
        assert run_command_line([*command.path.split(), "--help"]) == 0
        assert command.summary in capfd.readouterr().out
    assert {path for path in EXAMPLES} <= {command.path for command in all_commands()}
    assert {path.partition(" ")[0] for path in paths if " " in path} == {noun for noun, _ in NOUNS}


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        (["ru"], ["run"], ["rm"]),
        (["container", ""], ["ls", "run", "exec"], ["bootstrap", "container"]),
        (["run", "--mem"], ["--memory", "--memory-swap"], ["--rm"]),
        (["run", "--network", ""], ["none", "host"], ["--rm"]),
        (["run", "--cidfile", ""], [":files"], []),
        (["run", "image", "--"], [], ["--rm"]),
        (["completion", ""], ["bash", "zsh", "fish"], []),
        (["image", "bootstrap", "d"], ["debian"], ["busybox"]),
        (["import", ""], [":files"], []),
        (["stop", ""], [], ["--signal"]),
        (["nosuch", ""], [], ["run"]),
    ],
)
def test_completion(
    words: list[str], wanted: list[str], unwanted: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert complete(Context(), words) == 0
    shown = [line.partition("\t")[0] for line in capfd.readouterr().out.splitlines()]
    assert set(wanted) <= set(shown)
    assert not set(unwanted) & set(shown)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["completion", shell]) == 0
    assert "sampan __complete" in capfd.readouterr().out
