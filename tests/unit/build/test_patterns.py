"""Go's patterns, and `.dockerignore`."""

import pytest

from sampan.build.ignore import parse_ignore
from sampan.build.patterns import PatternList, compile_match
from sampan.errors import InvalidArgument


@pytest.mark.parametrize(
    ("pattern", "path", "want"),
    [
        ("*", "a", True),
        ("*", "a/b", False),
        ("a*", "abc", True),
        ("?", "/", False),
        ("a?c", "abc", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[[]a", "[a", True),
        (r"\*a", "*a", True),
        (r"\*a", "ba", False),
        ("bar[.]txt", "bar.txt", True),
        ("bar[.]txt", "barxtxt", False),
        ("*/b", "a/b", True),
        (".*", ".hidden", True),
        ("*", ".hidden", True),
    ],
)
def test_match(pattern: str, path: str, want: bool) -> None:
    assert bool(compile_match(pattern).fullmatch(path)) is want


@pytest.mark.parametrize("pattern", ["[", "[a", "a\\", "[]", "[a-]"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        compile_match(pattern)


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        pytest.param("a\n", ["a", "a/b"], ["b", "ab"], id="a name, and all below"),
        pytest.param("/a\n", ["a"], ["b/a"], id="leading slash"),
        pytest.param("a/\n", ["a", "a/b"], [], id="trailing slash"),
        pytest.param("*/temp*\n", ["x/temp", "x/tempo"], ["temp", "x/y/temp"], id="one level"),
        pytest.param("*/*/temp*\n", ["x/y/temp"], ["x/temp"], id="two levels"),
        pytest.param("temp?\n", ["tempa"], ["temp", "x/tempa"], id="question mark"),
        pytest.param("**/*.o\n", ["a.o", "x/a.o", "x/y/a.o"], ["a.c"], id="any depth"),
        pytest.param("x/**\n", ["x/a", "x/a/b"], ["y"], id="all below"),
        pytest.param("**/node/**\n", ["node/a", "x/node/a"], ["nodes/a"], id="two double stars"),
        pytest.param("*.md\n!README.md\n", ["a.md"], ["README.md"], id="exception"),
        pytest.param(
            "*.md\n!README*.md\nREADME-s.md\n", ["README-s.md", "a.md"], ["README.md"], id="last wins"
        ),
        pytest.param("*\n!a\n", ["b", "b/c"], ["a", "a/c"], id="all but one"),
        pytest.param("a\n!a/b\n", ["a/c"], ["a/b", "a/b/d"], id="an exception below"),
        pytest.param("# a\n #b\n", ["#b"], ["a", " #b"], id="comment only in the first column"),
        pytest.param("  a  \n\n", ["a"], [], id="blanks are trimmed"),
        pytest.param("./a/../b\n", ["b"], ["a"], id="cleaned"),
        pytest.param("\ufeffa\n", ["a"], [], id="byte order mark"),
        pytest.param("a\r\n", ["a"], [], id="CRLF"),
        pytest.param("! a\n", [], ["a"], id="blank behind the mark"),
        pytest.param("a[1-3]\n", ["a1"], ["a4"], id="bracket"),
        pytest.param(".git\n", [".git/config"], [".gitignore"], id="no prefix"),
        pytest.param("**\n!src\n", ["a", "x/y"], ["src", "src/a"], id="double star alone"),
    ],
)
def test_ignore(text: str, ignored: list[str], kept: list[str]) -> None:
    patterns = parse_ignore(text.encode())
    assert [path for path in ignored if not patterns.matches(path)] == []
    assert [path for path in kept if patterns.matches(path)] == []


@pytest.mark.parametrize(("text", "match"), [("!\n", "illegal exclusion"), ("a\n[\n", "line 2")])
def test_bad_ignore(text: str, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        parse_ignore(text.encode())


def test_exceptions_are_known() -> None:
    assert PatternList(["a", "!b"]).has_exceptions
    assert not PatternList(["a"]).has_exceptions
