from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.runtime.commands_change import parse_signal
from sampan.runtime.executing import parse_cpus
from sampan.runtime.options import Option, parse
from sampan.runtime.state import check_id

OPTIONS = (
    Option(names=("bundle", "b"), kind="text", help=""),
    Option(names=("detach", "d"), kind="flag", help=""),
    Option(names=("env", "e"), kind="list", help=""),
    Option(names=("count",), kind="number", help=""),
    Option(names=("interval",), kind="seconds", help=""),
)


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        (["--bundle", "x", "-d", "id", "-d"], ["id", "-d"]),
        (["-bundle=x", "--d", "id"], ["id"]),
        (["-b=x", "--detach=true", "--", "-x"], ["-x"]),
        (["-b", "x", "-detach", "-"], ["-"]),
    ],
)
def test_forms(words: list[str], rest: list[str]) -> None:
    values, left = parse(OPTIONS, words)
    assert (values.text("bundle"), values.flag("detach"), left) == ("x", True, rest)


def test_kinds() -> None:
    values, _ = parse(
        OPTIONS, ["-e", "a=1", "--env=b=2", "--count", "-3", "--interval", "1500ms", "--detach=false"]
    )
    assert values.list("env") == ("a=1", "b=2")
    assert values.number("count") == -3
    assert values.seconds("interval") == 1.5
    assert values.flag("detach") is False
    empty, _ = parse(OPTIONS, [])
    assert (
        empty.list("env"),
        empty.number("count"),
        empty.seconds("interval"),
        empty.text("bundle", "z"),
    ) == (
        (),
        None,
        None,
        "z",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bundel"], "unknown option '--bundel'"),
        (["--bundle"], "option '--bundle' needs a value"),
        (["--count", "1_0"], "'1_0' is not a whole number"),
        (["--count", "\u0661"], "is not a whole number"),
        (["--count="], "is not a whole number"),
        (["--interval", "5"], "'5' is not a duration such as 5s"),
        (["--detach=maybe"], "'maybe' is neither true nor false"),
    ],
)
def test_wrong(words: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(OPTIONS, words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN", 34), ("64", 64)]
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "9999", "SIGFOO", "SIG_IGN", "_DFL", "٩"])
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="unknown signal"):
        parse_signal(text)


@pytest.mark.parametrize(("text", "cpus"), [("0", {0}), ("0-2,5", {0, 1, 2, 5}), ("1, 3", {1, 3})])
def test_processors(text: str, cpus: set[int]) -> None:
    assert parse_cpus(text, "x") == cpus


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-99999999999", "9000", "1-", "-1", "1,,2"])
def test_no_processors(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^x:"):
        parse_cpus(text, "x")


@pytest.mark.parametrize("id", ["a", "A_b+c-d.e", "0", "x" * 1024])
def test_ids(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", ".", "..", "...", ".a", "a/b", "a b", "a\n", "ä", "x" * 1025, "a\0"])
def test_no_ids(id: str) -> None:
    with pytest.raises(InvalidArgument, match="is invalid"):
        check_id(id)
