"""Dockerfiles with their contexts: a table, for sampand alone and beside dockerd."""

# ruff: noqa: E501 -- a table: one case a line
from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field

File = str | bytes | tuple[str, int] | None  # content; content and mode; None is a directory; "->x" a link


@dataclass(frozen=True)
class Case:
    """text: the Dockerfile after `FROM busybox`, unless it has a FROM. ours: dockerd cannot do it."""

    name: str
    text: str
    files: dict[str, File] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    ours: bool = False

    @property
    def dockerfile(self) -> str:
        return self.text if "FROM " in self.text else f"FROM busybox\n{self.text}"


TREE: dict[str, File] = {
    "a.txt": "aaa\n",
    "b.txt": ("bbb\n", 0o600),
    "run.sh": ("#!/bin/sh\necho run\n", 0o755),
    "sub/one": "1\n",
    "sub/two": ("2\n", 0o640),
    "sub/deep/three": "3\n",
    "sub/deep/link": "->three",
    "sub/empty/": None,
    "link": "->a.txt",
    "linkdir": "->sub",
    "up": "->/../../a.txt",
    "[x].txt": "bracket\n",
}


def case(name: str, text: str, *, ours: bool = False, **arguments: str) -> Case:
    return Case(name, text, TREE, arguments, ours)


CASES = [
    case("file to directory with a slash", "COPY a.txt /d/"),
    case("file to an absent name", "COPY a.txt /d"),
    case("file to an existing directory", "RUN mkdir /d\nCOPY a.txt /d"),
    case("file over a file", "COPY a.txt /etc/plain"),
    case("file into missing parents", "COPY a.txt /x/y/z/f"),
    case("directory to an absent name", "COPY sub /d"),
    case("directory to a slash", "COPY sub /d/"),
    case("directory with a slash", "COPY sub/ /d"),
    case("directory with a dot", "COPY sub/. /d"),
    case("directory merged", "RUN mkdir -p /d/deep && chmod 700 /d /d/deep && echo x >/d/keep\nCOPY sub /d"),
    case("whole context", "COPY . /d/"),
    case("whole context to the root", "COPY sub /"),
    case("several files", "COPY a.txt b.txt /d/"),
    case("files and directories", "COPY a.txt sub /d/"),
    case("relative destination", "WORKDIR /w\nCOPY a.txt ."),
    case("relative destination below", "WORKDIR /w\nCOPY a.txt x/"),
    case("relative destination name", "WORKDIR /w\nCOPY a.txt x"),
    case("source with a slash in front", "COPY /a.txt /d/"),
    case("source that climbs", "COPY ../a.txt /d/", ours=True),
    case("star", "COPY *.txt /d/"),
    case("question mark", "COPY ?.txt /d/"),
    case("bracket", "COPY [ab].txt /d/"),
    case("escaped bracket", "COPY [[]x].txt /d/"),
    case("star of a directory", "COPY su* /d/"),
    case("star below", "COPY sub/* /d/"),
    case("mode kept", "COPY run.sh b.txt /d/"),
    case("link as a source", "COPY link /d/", ours=True),
    case("link as a source by name", "COPY link /d"),
    case("link to a directory", "COPY linkdir /d/"),
    case("link inside a directory", "COPY sub/deep /d/"),
    case("destination is a link", "RUN mkdir /real && ln -s real /l\nCOPY a.txt /l/"),
    case("destination link is absolute", "RUN mkdir /real && ln -s /real /l\nCOPY sub /l/x"),
    case("chown numbers", "COPY --chown=1:2 sub /d"),
    case("chown one number", "COPY --chown=7 a.txt /d/"),
    case("chown names", "COPY --chown=user:user a.txt /d/"),
    case("chown a user", "COPY --chown=user sub /n/d/", ours=True),
    case("owned by root whatever USER says", "USER user\nCOPY a.txt /d/"),
    case("archive added", "ADD x.tar /d/"),
    case("archive added to a name", "ADD x.tar /d"),
    case("gzip added", "ADD x.tar.gz /d/"),
    case("archive copied", "COPY x.tar /d/"),
    case("no archive added", "ADD a.txt /d/"),
    case("directory added", "ADD sub /d/"),
    case("JSON form", 'COPY ["a.txt", "/d e/"]'),
    case("from a stage", "FROM busybox AS b\nRUN mkdir /o && echo x >/o/f\nFROM busybox\nCOPY --from=b /o /p"),
    case("from a stage by number", "FROM busybox\nRUN echo x >/f\nFROM busybox\nCOPY --from=0 /f /g"),
    case("from a stage, owners kept", "FROM busybox AS b\nRUN echo x >/f; chown 5:6 /f\nFROM busybox\nCOPY --from=b /f /g"),
    case("from an image", "COPY --from=busybox /etc/passwd /p"),
    case("from a stage, upper case", "FROM busybox AS Bld\nRUN echo x >/f\nFROM busybox\nCOPY --from=BLD /f /g"),
    case("FROM a stage", "FROM busybox AS a\nENV x=1\nRUN echo $x >/f\nFROM a\nRUN cat /f >/g"),
    case("scratch", "FROM scratch\nCOPY a.txt /"),
    case("scratch with a directory", "FROM scratch\nCOPY sub /d/\nCMD [\"/x\"]"),
    case("run shell", "RUN echo a b > /f && mkdir -p /x/y"),
    case("run exec", 'RUN ["touch", "/f"]'),
    case("run deletes", "RUN rm /etc/plain && rmdir /var"),
    case("run makes a directory anew", "RUN rm -r /usr && mkdir /usr && touch /usr/x"),
    case("run with modes and owners", "RUN touch /f; chmod 4755 /f; chown 3:4 /f; mkfifo /p; ln /f /g; ln -s f /h"),
    case("run in a directory", "WORKDIR /w/x\nRUN pwd > f"),
    case("run as a user", "WORKDIR /home\nRUN chmod 777 .\nUSER user\nRUN id -u > /home/f"),
    case("run as numbers", "USER 12:34\nRUN id -u > /tmp/f; id -g >> /tmp/f"),
    case("shell", 'SHELL ["/bin/sh", "-ec"]\nRUN echo x > /f\nCMD x'),
    case("continuation", "RUN echo a \\\n  # no\n\n  b > /f"),
    case("environment", 'ENV a=1 b="2 3" c=\'$a\' d=$a e=\\$a\nRUN echo "$a|$b|$c|$d|$e" > /f'),
    case("environment, old form", "ENV a b c\nRUN echo $a > /f"),
    case("environment before the line", "ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc"),
    case("environment in place", "ENV a=1\nENV b=2\nENV a=3"),
    case("modifiers", "ENV a=x\nENV b=${a:-1} c=${n:-2} d=${a:+3} e=${n:+4}"),
    case("argument", "ARG v=1\nRUN echo $v > /f\nENV w=$v"),
    case("argument from outside", "ARG v=1\nRUN echo $v > /f\nENV w=$v", v="7"),
    case("argument before FROM", "ARG i=busybox\nFROM $i\nRUN echo \"[$i]\" > /f"),
    case("argument before FROM, imported", "ARG i=busybox\nFROM $i\nARG i\nRUN echo \"[$i]\" > /f"),
    case("argument before its line", "RUN echo \"[$v]\" > /f\nARG v=1"),
    case("argument and environment", "ARG v=1\nENV v=2\nRUN echo $v > /f"),
    case("environment and argument", "ENV v=2\nARG v=1\nRUN echo $v > /f", v="3"),
    case("argument in another stage", "FROM busybox AS a\nARG v=1\nFROM busybox\nRUN echo \"[$v]\" > /f"),
    case("variable in COPY", "ENV d=/d s=a.txt\nCOPY $s ${d}/x/"),
    case("workdir", "WORKDIR /a\nWORKDIR b\nWORKDIR ../c"),
    case("workdir with variables", "ENV x=/y\nWORKDIR $x/z"),
    case("labels", 'LABEL a=b "c d"="e f" g=\'h i\'\nLABEL a=z'),
    case("expose", "EXPOSE 80 81/udp 90-92"),
    case("expose variables", "ENV p=\"99 100\"\nEXPOSE $p"),
    case("volumes", 'VOLUME /a /b\nVOLUME ["/c d"]'),
    case("user", "USER 1:2"),
    case("commands: both exec", 'ENTRYPOINT ["a"]\nCMD ["b"]'),
    case("commands: entrypoint shell", "ENTRYPOINT a b\nCMD [\"c\"]"),
    case("commands: command shell", 'ENTRYPOINT ["a"]\nCMD b c'),
    case("commands: both shell", "ENTRYPOINT a\nCMD b"),
    case("commands: the last wins", 'CMD ["a"]\nCMD ["b"]'),
    case("entrypoint clears the base's command", "FROM busybox AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"y\"]"),
    case("command kept", "FROM busybox AS a\nCMD [\"x\"]\nFROM a\nENV a=1"),
    case("stopsignal", "STOPSIGNAL SIGKILL"),
    case("healthcheck shell", "HEALTHCHECK --interval=5s --retries=2 CMD true"),
    case("healthcheck exec", 'HEALTHCHECK --timeout=1m --start-period=3s CMD ["true", "x"]'),
    case("healthcheck none", "HEALTHCHECK NONE"),
    case("onbuild kept", "ONBUILD RUN echo x\nONBUILD COPY a /b"),
    case("onbuild runs", "FROM busybox AS a\nONBUILD RUN echo x > /f\nONBUILD ENV y=1\nFROM a\nRUN cat /f > /g"),
    case("ignored files", "COPY . /d/", ours=False),
    case("heredoc file", "COPY <<one <<two /d/\n1\none\n2\ntwo", ours=True),
    case("heredoc to a name", "COPY <<EOF /d/f\nhello\nEOF", ours=True),
    case("heredoc expands", "ENV x=1\nCOPY <<EOF /f\n$x \\$x '$x'\nEOF", ours=True),
    case("heredoc quoted", "ENV x=1\nCOPY <<'EOF' /f\n$x\nEOF", ours=True),
    case("heredoc run", "RUN <<EOF\necho a > /f\necho b >> /f\nEOF", ours=True),
    case("heredoc script", "RUN <<EOF\n#!/bin/sh\necho $0 > /f\nEOF", ours=True),
    case("heredoc for a program", "RUN cat <<A >/f && cat <<B >>/f\n1\nA\n2\nB", ours=True),
    case("chmod octal", "COPY --chmod=711 a.txt sub /x/y/", ours=True),
    case("chmod symbolic", "COPY --chmod=u=rwX,go=rX sub /d/", ours=True),
    case("parents", "COPY --parents sub/deep/three a.txt /d/", ours=True),
    case("parents with a pivot", "COPY --parents sub/./deep/three /d/", ours=True),
    case("parents with stars", "COPY --parents **/three /d/", ours=True),
    case("exclude", "COPY --exclude=deep --exclude=*o* sub /d/", ours=True),
    case("wildcard without a match", "COPY a.txt no* /d/", ours=True),
    case("not unpacked", "ADD --unpack=false x.tar /d/", ours=True),
    case("bind mount", "RUN --mount=target=/c cat /c/a.txt > /f && ls /c > /g", ours=True),
    case("bind of a file", "RUN --mount=source=sub/one,target=/x/one cat /x/one > /f", ours=True),
    case("bind of a stage", "FROM busybox AS b\nRUN echo 1 >/o\nFROM busybox\nRUN --mount=from=b,source=/o,target=/m cat /m >/f", ours=True),
    case("writes to a bind are gone", "RUN --mount=target=/c,rw touch /c/new && ls /c > /f", ours=True),
    case("cache mount leaves nothing", "RUN --mount=type=cache,target=/var/c/d touch /var/c/d/x", ours=True),
    case("tmpfs mount", "RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x && df /t | tail -1 | grep -c tmpfs > /f", ours=True),
    case("replace patterns", "ENV v=a-b-c\nENV x=${v//-/_} y=${v#*-} z=${v%%-*}", ours=True),
]  # fmt: skip


def archive_of(files: dict[str, File]) -> bytes:
    """Return files as a tar archive of root's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            text, info.mode = content if isinstance(content, tuple) else (content, 0o644)
            if isinstance(text, str) and text.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, text[2:]
                archive.addfile(info)
                continue
            data = text if isinstance(text, bytes) else text.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def context_of(case: Case, *, dockerfile: str = "Dockerfile") -> bytes:
    """Return a case's context as a tar archive."""
    files = dict(case.files)
    inner = archive_of({"in/": None, "in/x": ("x\n", 0o750), "in/y": "->x"})
    files["x.tar"] = inner
    import gzip

    files["x.tar.gz"] = gzip.compress(inner, mtime=0)
    if case.name == "ignored files":
        files[".dockerignore"] = "*.txt\n!a.txt\nsub/deep\nx.*\n"
    files[dockerfile] = case.dockerfile
    return archive_of(files)
