"""The rules of `--check`: for each what it finds, and what it leaves alone."""

# ruff: noqa: E501 -- a table: one case a line

from __future__ import annotations

import pytest

from sampan.build.checks import EXPERIMENTAL, RULES, Wanted, find_all, parse_wanted
from sampan.build.parsing import parse_dockerfile
from sampan.build.patterns import PatternList
from sampan.errors import InvalidArgument

ALL = Wanted(experimental=frozenset(("all",)))


def check(text: str, wanted: Wanted = ALL, *, ignored: str = "", known: bool = True) -> list[str]:
    """Return `rule line` for each finding."""
    found = find_all(
        parse_dockerfile(text.encode()),
        wanted,
        ignored=PatternList(ignored.split()),
        variables_of=lambda _: {"BASE"} if known else None,
        misfit_of=lambda image: "another machine's" if image == "foreign" else "",
    )
    return [f"{one.rule} {one.place.first}" for one in found]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param('FROM a AS b\nENV x=$BASE\nCMD ["x"]\n', "", id="nothing"),
        pytest.param("FROM a AS Bld\n", "StageNameCasing 1", id="StageNameCasing"),
        pytest.param("FROM a as b\n", "FromAsCasing 1", id="FromAsCasing"),
        pytest.param("from a as b\n", "", id="both lower"),
        pytest.param("FROM a\nRUN a \\\n\nb\n", "NoEmptyContinuation 2", id="NoEmptyContinuation"),
        pytest.param("FROM a\nrun b\nRUN c\n", "ConsistentInstructionCasing 2", id="one lower"),
        pytest.param("from a\nrun b\nRun c\n", "ConsistentInstructionCasing 3", id="one mixed"),
        pytest.param("FROM foreign\n", "InvalidBaseImagePlatform 1", id="InvalidBaseImagePlatform"),
        pytest.param("FROM --platform=$BUILDPLATFORM foreign\n", "", id="asked for by the line"),
        pytest.param("FROM a AS b\nFROM a AS b\n", "DuplicateStageName 2", id="DuplicateStageName"),
        pytest.param("FROM a AS scratch\n", "ReservedStageName 1", id="ReservedStageName"),
        pytest.param("FROM a\nCMD x y\n", "JSONArgsRecommended 2", id="command for the shell"),
        pytest.param("FROM a\nENTRYPOINT x\n", "JSONArgsRecommended 2", id="entrypoint for the shell"),
        pytest.param('FROM a\nSHELL ["x"]\nCMD x\n', "", id="shell of one's own"),
        pytest.param("FROM a\nMAINTAINER x\n", "MaintainerDeprecated 2", id="MaintainerDeprecated"),
        pytest.param("FROM a:$v\n", "InvalidDefaultArgInFrom 1,UndefinedArgInFrom 1", id="not declared"),
        pytest.param("ARG v=1\nFROM a:$v\n", "", id="declared"),
        pytest.param("ARG v\nFROM a:${v}\n", "InvalidDefaultArgInFrom 2", id="no default"),
        pytest.param("ARG v\nFROM a:${v:-1}\n", "", id="default in place"),
        pytest.param("FROM a\nWORKDIR x\n", "WorkdirRelativePath 2", id="WorkdirRelativePath"),
        pytest.param("FROM a\nWORKDIR /y\nWORKDIR x\n", "", id="relative to ours"),
        pytest.param("FROM a\nCOPY $x /y\n", "UndefinedVar 2", id="UndefinedVar"),
        pytest.param("FROM a\nARG x\nCOPY $x /y\n", "", id="declared without a value"),
        pytest.param("FROM a\nENV z=${x:-1}\n", "", id="default of a variable"),
        pytest.param("FROM a AS b\nENV x=1\nFROM b\nENV y=$x\nENV z=$w\n", "UndefinedVar 5", id="inherited"),
        pytest.param("FROM a\nENV x=$PATH:$http_proxy:$TARGETARCH\n", "", id="known to all"),
        pytest.param("FROM a\nRUN echo $x\n", "", id="the shell's variable"),
        pytest.param('FROM a\nCMD ["a"]\nCMD ["b"]\n', "MultipleInstructionsDisallowed 2", id="two commands"),
        pytest.param("FROM a\nHEALTHCHECK NONE\nFROM a\nHEALTHCHECK NONE\n", "", id="one a stage"),
        pytest.param("FROM a\nENV x 1\nLABEL y 2\n", "LegacyKeyValueFormat 2,LegacyKeyValueFormat 3", id="legacy"),
        pytest.param("FROM --platform=$TARGETPLATFORM a\n", "RedundantTargetPlatform 1", id="redundant"),
        pytest.param("FROM --platform=$BUILDPLATFORM a\n", "", id="built elsewhere"),
        pytest.param("FROM --platform=linux/arm64 a\n", "FromPlatformFlagConstDisallowed 1", id="constant"),
        pytest.param("FROM --platform=linux/arm64 a AS b_arm64\n", "", id="constant by its name"),
        pytest.param("FROM a\nENV API_KEY=1\nARG token\n", "SecretsUsedInArgOrEnv 2,SecretsUsedInArgOrEnv 3", id="secrets"),
        pytest.param("FROM a\nENV PUBLIC_KEY=1 KEYS=2 TOKEN_FILE=3\n", "", id="no secrets"),
        pytest.param("ARG password\nFROM a\n", "SecretsUsedInArgOrEnv 1", id="secret before FROM"),
        pytest.param("FROM a\nCOPY ./out /x\n", "CopyIgnoredFile 2", id="CopyIgnoredFile"),
        pytest.param("FROM a\nADD out/a http://x/out /x/\nCOPY --from=a out /\n", "CopyIgnoredFile 2", id="added"),
        pytest.param("# other\nFROM a AS b\n", "InvalidDefinitionDescription 2", id="wrong description"),
        pytest.param("# b is this\nFROM a AS b\n# v the version\nARG v\n", "", id="descriptions"),
        pytest.param("# other\n\nFROM a AS b\n", "", id="comment apart"),
        pytest.param("FROM a\nEXPOSE 80/TCP\n", "ExposeProtoCasing 2", id="ExposeProtoCasing"),
        pytest.param("FROM a\nEXPOSE 127.0.0.1:80:80\n", "ExposeInvalidFormat 2", id="ExposeInvalidFormat"),
    ],
)  # fmt: skip
def test_rules(text: str, want: str) -> None:
    assert ",".join(check(text, ignored="out")) == want


def test_variables_of_an_unknown_base() -> None:
    assert check("FROM a\nENV x=$y\n", known=False) == []


def test_what_is_skipped() -> None:
    text = "FROM a AS Bld\nMAINTAINER x\nCOPY out /x\n"
    assert check(text, parse_wanted("")) == ["StageNameCasing 1", "MaintainerDeprecated 2"]
    assert check(text, parse_wanted("skip=StageNameCasing")) == ["MaintainerDeprecated 2"]
    assert check(text, parse_wanted("skip=all;error=true")) == []
    assert parse_wanted("skip=A, B ; error=true").is_error
    some = parse_wanted("skip=all;experimental=CopyIgnoredFile")
    assert check(text, some, ignored="out") == []
    more = parse_wanted("skip=StageNameCasing,MaintainerDeprecated;experimental=all")
    assert check(text, more, ignored="out") == ["CopyIgnoredFile 3"]
    assert "CopyIgnoredFile" in EXPERIMENTAL


@pytest.mark.parametrize("text", ["skip", "what=1", "error=perhaps"])
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid check option"):
        parse_wanted(text)


def test_texts() -> None:
    text = b"ARG verison=1\nFROM a:$version\n"
    found = find_all(
        parse_dockerfile(text), ALL, ignored=None, variables_of=lambda _: None, misfit_of=lambda _: ""
    )
    assert found[-1].message == "FROM argument 'version' is not declared (did you mean verison?)"
    assert found[-1].url == "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"


def test_every_documented_rule_is_here() -> None:
    assert len(RULES) == 22
