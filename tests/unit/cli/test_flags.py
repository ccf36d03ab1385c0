"""Flags are read as docker's clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sampan.cli.flags import Flags, parse_flags
from sampan.cli.outcome import UsageError

if TYPE_CHECKING:
    from sampan.cli.flags import Group

TABLE: tuple[Group, ...] = (
    (
        "Options",
        (
            ("interactive", "i", "bool", ""),
            ("tty", "t", "bool", ""),
            ("env", "e", "list", ""),
            ("name", "", "string", ""),
            ("publish", "p", "list", ""),
            ("cpu-shares", "c", "int", ""),
            ("sig-proxy", "", "bool", ""),
        ),
    ),
)


def parse(*arguments: str, interspersed: bool = False) -> tuple[Flags, list[str]]:
    return parse_flags(TABLE, arguments, interspersed=interspersed)


def test_letters_may_stand_together_and_end_with_one_that_has_a_value() -> None:
    flags, rest = parse("-ite", "A=b", "image", "-x")
    assert flags.truth("interactive")
    assert flags.truth("tty")
    assert flags.items("env") == ["A=b"]
    assert rest == ["image", "-x"]


@pytest.mark.parametrize(
    ("words", "want"),
    [
        pytest.param(["-e", "A=b"], ["A=b"], id="letter, then value"),
        pytest.param(["-eA=b"], ["A=b"], id="value behind the letter"),
        pytest.param(["-e=A=b"], ["A=b"], id="equals sign behind the letter"),
        pytest.param(["--env", "A=b"], ["A=b"], id="name, then value"),
        pytest.param(["--env=A=b"], ["A=b"], id="name and equals sign"),
        pytest.param(["--env=A", "-e", "B"], ["A", "B"], id="given again"),
        pytest.param(["-e", "-p"], ["-p"], id="a value that looks like a flag"),
        pytest.param(["--env="], [""], id="empty value"),
    ],
)
def test_spellings_of_a_value(words: list[str], want: list[str]) -> None:
    flags, rest = parse(*words)
    assert flags.items("env") == want
    assert rest == []


@pytest.mark.parametrize(
    ("word", "want"),
    [("--sig-proxy", True), ("--sig-proxy=false", False), ("--sig-proxy=0", False), ("-t=F", False)],
)
def test_bool_flags_take_a_value_only_with_an_equals_sign(word: str, want: bool) -> None:
    flags, rest = parse(word, "false")
    assert flags.truth("tty" if word.startswith("-t") else "sig-proxy", True) is want
    assert rest == ["false"]


def test_what_follows_the_first_argument_belongs_to_the_container() -> None:
    flags, rest = parse("-i", "image", "-t", "--name", "x")
    assert not flags.given("tty")
    assert rest == ["image", "-t", "--name", "x"]


def test_flags_may_follow_arguments_where_they_are_interspersed() -> None:
    flags, rest = parse("a", "-t", "b", "--", "-i", interspersed=True)
    assert flags.truth("tty")
    assert not flags.given("interactive")
    assert rest == ["a", "b", "-i"]


def test_two_dashes_end_the_flags() -> None:
    flags, rest = parse("-t", "--", "-i", "x")
    assert rest == ["-i", "x"]
    assert not flags.given("interactive")


def test_the_last_of_a_single_value_counts() -> None:
    assert parse("--name", "a", "--name", "b")[0].text("name") == "b"


@pytest.mark.parametrize(("text", "want"), [("5", 5), ("-1", -1), ("0x10", 16), ("007", 7)])
def test_whole_numbers(text: str, want: int) -> None:
    assert parse("-c", text)[0].number("cpu-shares") == want


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--nmae", "x"], "unknown flag: --nmae", "did you mean --name?"),
        (["--zzz"], "unknown flag: --zzz", ""),
        (["-z"], "unknown shorthand flag: 'z' in -z", ""),
        (["-itz"], "unknown shorthand flag: 'z' in -itz", ""),
        (["--name"], "flag needs an argument: --name", ""),
        (["-e"], "flag needs an argument: -e, --env", ""),
        (["--tty=maybe"], "--tty: 'maybe' is neither true nor false", ""),
        (["-c", "many"], "-c, --cpu-shares: 'many' is not a whole number", ""),
        (["-c", "1_0"], "-c, --cpu-shares: '1_0' is not a whole number", ""),
        (["-c", ""], "-c, --cpu-shares: '' is not a whole number", ""),
    ],
)
def test_mistakes_are_named(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert (str(caught.value), caught.value.hint, caught.value.code) == (message, hint, 125)


def test_help_is_always_known() -> None:
    assert parse("--help")[0].truth("help")
    assert parse("-h")[0].truth("help")
