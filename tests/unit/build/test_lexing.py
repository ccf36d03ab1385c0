"""Lines, comments, directives, heredocs, flags."""

import pytest

from sampan.build.lexing import extract_flags, parse_json, parse_text
from sampan.build.syntax import DockerfileError
from sampan.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("FROM a\n", [("FROM", "a")], id="one line"),
        pytest.param("FROM a", [("FROM", "a")], id="no newline at the end"),
        pytest.param("\ufeffFROM a\n", [("FROM", "a")], id="byte order mark"),
        pytest.param("from a\r\nrun b\r\n", [("FROM", "a"), ("RUN", "b")], id="lower case, CRLF"),
        pytest.param("RUN a \\\n  b\n", [("RUN", "a   b")], id="continuation keeps leading blanks"),
        pytest.param("RUN a \\   \n  b\n", [("RUN", "a   b")], id="blanks behind the escape"),
        pytest.param("RUN a \\\n# no\n  b\n", [("RUN", "a   b")], id="comment inside"),
        pytest.param("RUN a \\\n\n  b\n", [("RUN", "a   b")], id="empty line inside"),
        pytest.param("RUN a \\\\\nRUN b\n", [("RUN", "a \\\\"), ("RUN", "b")], id="two escapes"),
        pytest.param("RUN a # b\n", [("RUN", "a # b")], id="no comment behind text"),
        pytest.param("  # c\n  RUN a\n", [("RUN", "a")], id="indented"),
        pytest.param("RUN a \\\n", [("RUN", "a")], id="continuation at the end of the file"),
        pytest.param("RUN\ta\n", [("RUN", "a")], id="tab"),
        pytest.param("# escape=`\nRUN a `\n b\\\nRUN c\n", [("RUN", "a  b\\"), ("RUN", "c")], id="backtick"),
        pytest.param("#a\n# escape=`\nRUN a `\nRUN b\n", [("RUN", "a `"), ("RUN", "b")], id="too late"),
        pytest.param("\\\nRUN a\n", [("RUN", "a")], id="escape alone"),
    ],
)
def test_lines(text: str, want: list[tuple[str, str]]) -> None:
    tree = parse_text(text.encode())
    assert [(node.keyword, node.text) for node in tree.nodes] == want


@pytest.mark.parametrize(
    ("text", "name", "content", "expand"),
    [
        ("RUN <<EOF\na\nb\nEOF\n", "EOF", "a\nb\n", True),
        ("RUN <<'EOF'\n$a\nEOF\n", "EOF", "$a\n", False),
        ('RUN <<"EOF"\n$a\nEOF\n', "EOF", "$a\n", False),
        ("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\n", "EOF", "a\nb\n", True),
        ("COPY <<file /x\n# no comment\n\\\nfile\n", "file", "# no comment\n\\\n", True),
        ("RUN <<EOF cat\nEOF\n", "EOF", "", True),
        ("ONBUILD RUN <<E\na\nE\n", "E", "a\n", True),
        ("RUN 3<<EOF cat\nx\nEOF\n", "EOF", "x\n", True),
        ("RUN <<EOF\r\na\r\nEOF\r\n", "EOF", "a\r\n", True),
    ],
)
def test_heredoc(text: str, name: str, content: str, expand: bool) -> None:
    (one,) = parse_text(text.encode()).nodes[0].heredocs
    assert (one.name, one.content, one.expand) == (name, content, expand)


@pytest.mark.parametrize(
    "text",
    ["RUN echo a<b\n", 'RUN ["a", "<<EOF"]\n', "CMD <<EOF\n", "RUN cat <<<word\n", "ENV a=<<EOF\n"],
)
def test_no_heredoc(text: str) -> None:
    assert parse_text(text.encode()).nodes[0].heredocs == ()


def test_two_heredocs() -> None:
    node = parse_text(b"COPY <<a <<b /d/\n1\na\n2\nb\nRUN x\n").nodes[0]
    assert [one.content for one in node.heredocs] == ["1\n", "2\n"]
    assert (node.place.first, node.place.last) == (1, 5)


@pytest.mark.parametrize(
    ("text", "line", "match"),
    [
        ("FROM a\nRUNN b\n", 2, r"unknown instruction: RUNN \(did you mean RUN\?\)"),
        ("FROM a\n\n\nCOYP b c\n", 4, "did you mean COPY"),
        ("FROM a\nxyzzy\n", 2, "unknown instruction: xyzzy$"),
        ("FROM a\nRUN <<EOF\nx\n", 2, "unterminated heredoc"),
        ("# escape=x\nFROM a\n", 1, "invalid escape token"),
        ("# escape=`\n# escape=`\nFROM a\n", 2, "only one escape parser directive"),
        ("FROM a\nRUN " + "x" * 65536, 2, "maximum allowed size"),
    ],
)
def test_wrong_lines(text: str, line: int, match: str) -> None:
    with pytest.raises(DockerfileError, match=match) as caught:
        parse_text(text.encode())
    assert str(caught.value).startswith(f"dockerfile parse error on line {line}: ")
    assert caught.value.place.first == line


@pytest.mark.parametrize(
    ("raw", "match"),
    [(b"", "cannot be empty"), (b"# x\n\n", "no instructions"), (b"FROM \xff\n", "no UTF-8")],
)
def test_no_dockerfile(raw: bytes, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        parse_text(raw)


def test_excerpt_shows_the_lines() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_text(b"FROM a\nRUNN b \\\n  c\nRUN d\n", file="web.Dockerfile")
    assert caught.value.hint.splitlines() == [
        "web.Dockerfile:2",
        "-" * 20,
        "   1 |     FROM a",
        "   2 | >>> RUNN b \\",
        "   3 | >>>   c",
        "   4 |     RUN d",
        "-" * 20,
    ]


def test_empty_continuation_is_warned_of() -> None:
    (warning,) = parse_text(b"RUN a \\\n\n b\n").warnings
    assert warning.message == "Empty continuation line found in: RUN a  b"


def test_directives() -> None:
    tree = parse_text(b"# syntax = docker/dockerfile:1\n#check=skip=all\nFROM a\n")
    assert tree.directives == {"syntax": "docker/dockerfile:1", "check": "skip=all"}


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("--a=b c", ("--a=b",), "c"),
        ("--a --b=1 c d", ("--a", "--b=1"), "c d"),
        ('--a="b c" d', ("--a=b c",), "d"),
        (r"--a=b\ c d", ("--a=b c",), "d"),
        ("-- --a", (), "--a"),
        ("c --a=b", (), "c --a=b"),
    ],
)
def test_flags(text: str, flags: tuple[str, ...], rest: str) -> None:
    assert extract_flags(text) == (flags, rest)


@pytest.mark.parametrize(
    ("text", "want"),
    [('["a", "b"]', ["a", "b"]), ("[]", []), ("['a']", None), ("[a", None), ("a", None), ('["a"] b', None)],
)
def test_json(text: str, want: list[str] | None) -> None:
    assert parse_json(text) == want


def test_json_of_numbers_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="comprised of strings only"):
        parse_json("[1]")
