from __future__ import annotations

import msgspec
import pytest

from sampan.errors import InvalidArgument
from sampan.spec.docker.common import Empty
from sampan.spec.image import ContainerDefaults
from sampan.store.changes import apply_changes


def changed(*changes: str, **start: object) -> dict[str, object]:
    """Return the fields that differ from an empty image's."""
    result = apply_changes(msgspec.convert(start, ContainerDefaults), changes)
    empty = msgspec.structs.asdict(ContainerDefaults())
    return {name: value for name, value in msgspec.structs.asdict(result).items() if value != empty[name]}


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ("CMD [not json", {"Cmd": ["/bin/sh", "-c", "[not json"]}),
        ('ENTRYPOINT ["/x"]', {"Entrypoint": ["/x"]}),
        (
            "ENV A=1 B=\"two words\" C='single $A' D=a\\ b",
            {"Env": ["A=1", "B=two words", "C=single $A", "D=a b"]},
        ),
        ("ENV NAME the rest of it", {"Env": ["NAME=the rest of it"]}),
        ("LABEL a=b c.d='e f'", {"Labels": {"a": "b", "c.d": "e f"}}),
        (
            "EXPOSE 80 53/udp 1000-1002",
            {
                "ExposedPorts": dict.fromkeys(
                    ["80/tcp", "53/udp", "1000/tcp", "1001/tcp", "1002/tcp"], Empty()
                )
            },
        ),
        ("VOLUME /a /b", {"Volumes": {"/a": Empty(), "/b": Empty()}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": Empty()}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("WORKDIR app/x", {"WorkingDir": "/app/x"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
    ],
)
def test_instructions(line: str, want: dict[str, object]) -> None:
    assert changed(line) == want


def test_variables_come_from_the_lines_before() -> None:
    result = changed("ENV PATH=/bin DIR=/srv", "ENV PATH=$PATH:/x", "WORKDIR ${DIR}/app", "USER \\$DIR")
    assert result == {"Env": ["PATH=/bin:/x", "DIR=/srv"], "WorkingDir": "/srv/app", "User": "$DIR"}


def test_several_lines_in_one_change() -> None:
    assert changed("# comment\nUSER 1\n\nWORKDIR /x\n") == {"User": "1", "WorkingDir": "/x"}


def test_healthcheck() -> None:
    health = apply_changes(
        ContainerDefaults(), ["HEALTHCHECK --interval=1m30s --timeout=500ms --retries=2 CMD curl -f http://x"]
    ).Healthcheck
    assert health is not None
    assert (health.Test, health.Interval, health.Timeout, health.Retries) == (
        ["CMD-SHELL", "curl -f http://x"],
        90_000_000_000,
        500_000_000,
        2,
    )
    none = apply_changes(ContainerDefaults(), ["HEALTHCHECK NONE"]).Healthcheck
    assert none is not None
    assert none.Test == ["NONE"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FROM x", "^FROM is not a valid change command$"),
        ("RUN x", "^RUN is not a valid change command$"),
        ("CMD", "CMD needs an argument"),
        ("ENV A", "needs the form name=value"),
        ("ENV A=1 B", "has not the form"),
        ('LABEL a="b', "quote is not closed"),
        ("ENV A=${B:-c}", r"only \$NAME"),
        ("EXPOSE 0", "no range of ports"),
        ("EXPOSE 80-70", "no range of ports"),
        ("EXPOSE 99999", "no range of ports"),
        ("EXPOSE x", "no port"),
        ("EXPOSE \u0661", "no port"),
        ("USER a b", "exactly one argument"),
        ("STOPSIGNAL not-a-signal", "invalid signal"),
        ("ONBUILD FROM x", "isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK --interval=5 CMD x", "no duration"),
        ("HEALTHCHECK --color=red CMD x", "unknown option --color"),
        ("HEALTHCHECK curl", "HEALTHCHECK takes"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        apply_changes(ContainerDefaults(), [line])
