"""Variables, quotes and escapes."""

import pytest

from sampan.build.words import WordError, Words, split_raw

VARIABLES = {"x": "val", "empty": "", "path": "/a/b/c.tar.gz", "two": "99 100", "star": "a*b"}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("plain", "plain"),
        ("$x", "val"),
        ("${x}", "val"),
        ("a$x.b", "aval.b"),
        ("a${x}b", "avalb"),
        ("$xb", ""),
        ("$missing", ""),
        (r"\$x", "$x"),
        (r"\${x}", "${x}"),
        (r"a\ b", "a b"),
        (r"\\x", r"\x"),
        ("'$x'", "$x"),
        ('"$x"', "val"),
        (r'"\$x"', "$x"),
        (r'"a\b"', r"a\b"),
        (r'"a\"b"', 'a"b'),
        ("'a\"b'", 'a"b'),
        ('"a\'b"', "a'b"),
        ("a'b'\"c\"", "abc"),
        ("$", "$"),
        ("a$", "a$"),
        ("$/x", "$/x"),
        ("${missing:-other}", "other"),
        ("${empty:-other}", "other"),
        ("${empty-other}", ""),
        ("${missing-other}", "other"),
        ("${x:-other}", "val"),
        ("${x:+other}", "other"),
        ("${empty:+other}", ""),
        ("${empty+other}", "other"),
        ("${missing+other}", ""),
        ("${missing:-$x}", "val"),
        ("${missing:-${x}}", "val"),
        ("${missing:-${no:-deep}}", "deep"),
        ("${missing:-'a}b'}", "a}b"),
        ("${x:?no}", "val"),
        ("${empty?no}", ""),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path#nothing}", "/a/b/c.tar.gz"),
        ("${path/a/z}", "/z/b/c.tar.gz"),
        ("${path/./_}", "/a/b/c_tar.gz"),
        ("${path//./_}", "/a/b/c_tar_gz"),
        ("${path//\\//-}", "-a-b-c.tar.gz"),
        ("${path/%no/x}", "/a/b/c.tar.gz"),
        (r"${star/\*/-}", "a-b"),
        ("${path%?gz}", "/a/b/c.tar"),
        ("${path%$missing}", "/a/b/c.tar.gz"),
    ],
)
def test_expand(text: str, want: str) -> None:
    assert Words(VARIABLES).expand(text) == want


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("'open", "single-quote"),
        ('"open', "double-quote"),
        ("${x", "modifier"),
        ("${}", "bad substitution"),
        ("${:-a}", "bad substitution"),
        ("${missing:?is needed}", "missing: is needed"),
        ("${missing?}", "missing: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty or unset"),
        ("${x:#v}", "unsupported modifier"),
        ("${x:%v}", "unsupported modifier"),
        ("${x^}", "unsupported modifier"),
        ("${x:-a", "missing"),
        ("${x/val}", "missing"),
    ],
)
def test_malformed(text: str, match: str) -> None:
    with pytest.raises(WordError, match=match):
        Words(VARIABLES).expand(text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a b", ["a", "b"]),
        ("$two", ["99", "100"]),
        ('"$two"', ["99 100"]),
        ("a$two", ["a99", "100"]),
        ("$missing", []),
        ("''", [""]),
    ],
)
def test_split(text: str, want: list[str]) -> None:
    assert Words(VARIABLES).split(text) == want


def test_backtick_is_the_escape() -> None:
    assert Words(VARIABLES, "`").expand(r"c:\dir`$x") == r"c:\dir$x"


def test_documents_keep_their_quotes() -> None:
    text = "'$x' \"${x}\" \\$x \\n \\\\"
    assert Words(VARIABLES).expand_document(text) == "'val' \"val\" $x \\n \\"


def test_unset_names_are_noted() -> None:
    words = Words(VARIABLES)
    words.expand("$x $nope ${neither:-1}")
    assert words.unset == {"nope", "neither"}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a=1 b=2", ["a=1", "b=2"]),
        ('a="1 2" b', ['a="1 2"', "b"]),
        (r"a=1\ 2 b", [r"a=1\ 2", "b"]),
        ("a='1 \\' b", ["a='1 \\'", "b"]),
        ("", []),
    ],
)
def test_split_raw(text: str, want: list[str]) -> None:
    assert split_raw(text) == want
