"""Typed instructions, and what each refuses."""

import pytest

from sampan.build import instructions as i
from sampan.build.mount_options import parse_mount
from sampan.build.parsing import parse_dockerfile
from sampan.build.syntax import DockerfileError
from sampan.build.words import WordError


def parse_one(line: str) -> i.Instruction:
    return parse_dockerfile(f"FROM a\n{line}\n".encode()).stages[0].body[0]


def shell(text: str) -> i.Command:
    return i.Command((text,), is_shell=True)


@pytest.mark.parametrize(
    ("line", "field", "want"),
    [
        ("RUN echo hi", "command", shell("echo hi")),
        ('RUN ["echo", "hi"]', "command", i.Command(("echo", "hi"), is_shell=False)),
        ("RUN ['echo']", "command", shell("['echo']")),
        ("RUN --network=none x", "network", "none"),
        (
            "RUN --mount=type=tmpfs,target=/a --mount=target=/b x",
            "mounts",
            ("type=tmpfs,target=/a", "target=/b"),
        ),
        ("CMD a b", "command", shell("a b")),
        ("CMD []", "command", i.Command((), is_shell=False)),
        ("CMD", "command", shell("")),
        ('ENTRYPOINT ["a"]', "command", i.Command(("a",), is_shell=False)),
        ("COPY a b /c/", "sources", ("a", "b")),
        ('COPY ["a b", "/c d"]', "destination", "/c d"),
        ("COPY --from=x a b", "from_", "x"),
        ("COPY --chown=1:2 --chmod=755 --link a b", "chmod", "755"),
        ("COPY --link a b", "link", True),
        ("COPY --link=false a b", "link", False),
        ("COPY --exclude=*.o --exclude=x a b", "excludes", ("*.o", "x")),
        ("ADD --unpack=false a b", "unpack", False),
        ("ADD a b", "unpack", None),
        ("ADD a b", "add", True),
        ('ENV a=1 b="2 3"', "pairs", (("a", "1"), ("b", '"2 3"'))),
        ("ENV a b c", "pairs", (("a", "b c"),)),
        ("ENV a=", "pairs", (("a", ""),)),
        ("LABEL a.b=c", "pairs", (("a.b", "c"),)),
        ("ARG a", "pairs", (("a", None),)),
        ("ARG a=1 b", "pairs", (("a", "1"), ("b", None))),
        ("EXPOSE 80 81/udp", "ports", ("80", "81/udp")),
        ('VOLUME ["/a b"]', "paths", ("/a b",)),
        ("VOLUME /a /b", "paths", ("/a", "/b")),
        ("USER 1:2", "user", "1:2"),
        ("WORKDIR a b", "path", "a b"),
        ("ONBUILD RUN x", "expression", "RUN x"),
        ("ONBUILD COPY --chown=1 a b", "expression", "COPY --chown=1 a b"),
        ('SHELL ["a", "-c"]', "words", ("a", "-c")),
        ("STOPSIGNAL 9", "signal", "9"),
        ("HEALTHCHECK NONE", "test", ("NONE",)),
        ("HEALTHCHECK CMD a b", "test", ("CMD-SHELL", "a b")),
        ('HEALTHCHECK CMD ["a"]', "test", ("CMD", "a")),
        ("HEALTHCHECK --interval=1m30s CMD a", "interval_ns", 90 * 10**9),
        ("HEALTHCHECK --retries=3 CMD a", "retries", 3),
        ("MAINTAINER me <a@b>", "author", "me <a@b>"),
    ],
)
def test_fields(line: str, field: str, want: object) -> None:
    assert getattr(parse_one(line), field) == want


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("RUN", "RUN requires at least one argument"),
        ("RUN []", "RUN requires at least one argument"),
        ("RUN [1]", "comprised of strings only"),
        ("RUN --netwrk=none x", r"unknown flag: --netwrk \(did you mean network\?\)"),
        ("RUN --network=bridge x", "invalid network mode"),
        ("RUN --network x", "missing a value on flag: --network"),
        ("RUN --mount=type=bnd,target=/a x", r"unsupported mount type 'bnd' \(did you mean bind\?\)"),
        ("RUN --mount=target=/a,sharing=locked x", "unexpected key 'sharing' for mount type 'bind'"),
        ("RUN --security=no x", "is not valid"),
        ("COPY a", "requires at least two arguments, but only one was provided"),
        ("COPY", "requires at least two arguments"),
        ("COPY --from=$x a b", "variable expansion is not supported for --from"),
        ("COPY --chown=1 --chown=2 a b", "duplicate flag specified: --chown"),
        ("COPY --link=maybe a b", "expecting boolean value"),
        ("COPY --checksum=a a b", "unknown flag: --checksum"),
        ("COPY a <<EOF\nx\nEOF", "cannot accept a heredoc as a destination"),
        ("ADD --parents a b", "unknown flag: --parents"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV a=1 b", "can't find = in 'b'"),
        ("ENV =1", "ENV names can not be blank"),
        ("LABEL =1", "LABEL names can not be blank"),
        ("ARG =1", "ARG names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ('VOLUME [""]', "can not be an empty string"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "isn't allowed as an ONBUILD trigger"),
        ("ONBUILD COPY a", "requires at least two arguments"),
        ("ONBUILD RNU a", "did you mean RUN"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("HEALTHCHECK", "requires at least one argument"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK RUN x", "Unknown type 'RUN'"),
        ("HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --interval=x CMD x", "invalid duration"),
        ("HEALTHCHECK --retries=-1 CMD x", "cannot be negative"),
        ("FROM", "FROM requires either one argument, or three"),
        ("FROM a b", "FROM requires either one argument, or three"),
        ("FROM a is b", "FROM requires either one argument, or three"),
        ("FROM a AS 1b", "invalid name for build stage: '1b'"),
        ("FROM a AS b/c", "invalid name for build stage"),
    ],
)
def test_refusals(line: str, match: str) -> None:
    with pytest.raises(DockerfileError, match=match) as caught:
        parse_one(line)
    assert caught.value.place.first == 2


def test_stages() -> None:
    parsed = parse_dockerfile(b"ARG v=1\nFROM a AS Build\nRUN x\nFROM b\nCOPY --from=build x y\n")
    assert [stage.head.name for stage in parsed.stages] == ["build", ""]
    assert [len(stage.body) for stage in parsed.stages] == [1, 1]
    assert parsed.arguments[0].pairs == (("v", "1"),)


@pytest.mark.parametrize("text", ["RUN x\nFROM a\n", "ARG a\nARG b\n", "CMD x\n"])
def test_no_stage(text: str) -> None:
    with pytest.raises(DockerfileError, match="no build stage in current context"):
        parse_dockerfile(text.encode())


def test_heredoc_sources() -> None:
    copied = parse_one("COPY <<one a <<two /d/\n1\none\n2\ntwo")
    assert isinstance(copied, i.Copy)
    assert (copied.sources, copied.destination) == (("a",), "/d/")
    assert [one.name for one in copied.heredocs] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("target=/a", i.Mount(target="/a", read_only=True)),
        ("dst=/a,src=b,rw", i.Mount(target="/a", source="b")),
        ("type=cache,target=/a,sharing=LOCKED", i.Mount(kind="cache", target="/a", sharing="locked")),
        ("type=cache,target=/a,mode=0700,uid=1", i.Mount(kind="cache", target="/a", mode=0o700, uid=1)),
        ("type=tmpfs,target=/a,size=1m", i.Mount(kind="tmpfs", target="/a", size_bytes=1 << 20)),
        ("type=secret,id=a,required", i.Mount(kind="secret", id="a", required=True)),
        ("type=secret,source=a,env=B", i.Mount(kind="secret", id="a", env="B")),
        ('type=cache,"target=/a,b"', i.Mount(kind="cache", target="/a,b")),
        ("type=cache,target=$x", i.Mount(kind="cache", target="VALUE")),
        ("type=ssh", i.Mount(kind="ssh")),
    ],
)
def test_mounts(text: str, want: i.Mount) -> None:
    assert parse_mount(text, lambda value: value.replace("$x", "VALUE")) == want


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("type=cache", "target is required"),
        ("type=cache,target=/a,sharing=no", "unsupported sharing value"),
        ("type=cache,target=/a,mode=9", "invalid value '9' for mode"),
        ("type=cache,target", "must be a key=value pair"),
        ("type=tmpfs,target=/a,size=x", "invalid value for size"),
        ("type=secret", "needs an id"),
        ("target=/a,from=$x", "not supported for the from"),
        ("type=cache,trget=/a", "did you mean target"),
    ],
)
def test_bad_mounts(text: str, match: str) -> None:
    with pytest.raises(WordError, match=match):
        parse_mount(text, str)
