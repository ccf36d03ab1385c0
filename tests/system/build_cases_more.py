"""More Dockerfiles with their contexts: what dockerd made of each is kept in `build_golden.json`.

`tools/compare builds --write` writes that file anew by Debian's dockerd; the tests need none.
"""

# ruff: noqa: E501 -- a table: one case a line
from __future__ import annotations

from tests.system.build_cases import TREE, Case, File, archive_of

ODD: dict[str, File] = {
    "with space": "space\n",
    "ünïcode": "umlauts\n",
    "-dash": "dash\n",
    ".hidden": "dot\n",
    "a=b": "equals\n",
    "modes/suid": ("s\n", 0o4755),
    "modes/none": ("n\n", 0o000),
    "modes/sticky/": None,
    "modes/all": ("a\n", 0o777),
    "empty": "",
    "deep/er/and/deeper/f": "down\n",
    "long/" + "n" * 200: "long\n",
    "out": "->/etc/plain",
    "dangling": "->nowhere",
    "loop": "->loop",
}
INNER = archive_of({"t/": None, "t/f": ("t\n", 0o640), "t/l": "->f", "abs": "->/etc", "s": ("s\n", 0o4711)})


def more(name: str, text: str, **arguments: str) -> Case:
    return Case(name, text, {**TREE, "x.tar": INNER, "inner/y.tar": INNER}, arguments)


def odd(name: str, text: str) -> Case:
    return Case(name, text, ODD)


COPIES = [
    more("source with a dot", "COPY ./a.txt /d/"),
    more("source with a dot inside", "COPY sub/./one /d/"),
    more("source that goes up inside", "COPY sub/../a.txt /d/"),
    more("source with two slashes", "COPY sub//one /d/"),
    more("directory with a slash in front", "COPY /sub /d"),
    more("destination deep with a slash", "COPY a.txt /d/x/y/z/"),
    more("files of several folders", "COPY a.txt sub/one sub/deep/three /d/"),
    more("question mark below", "COPY sub/o?e /d/"),
    more("range below", "COPY sub/[a-o]* /d/"),
    more("range inverted", "COPY sub/[^t]* /d/"),
    more("star for a folder", "COPY */one /d/"),
    more("two stars for folders", "COPY */*/three /d/"),
    more("stars within names", "COPY s*/d*/t* /d/"),
    more("star that matches a folder and files", "COPY sub* a* /d/"),
    more("empty directory", "COPY sub/empty /d"),
    more("empty directory with a slash", "COPY sub/empty/ /d/"),
    more("everything to the work directory", "WORKDIR /w\nCOPY sub ."),
    more("to the directory above", "WORKDIR /w/y\nCOPY a.txt ../x"),
    more("relative directory", "WORKDIR /w\nCOPY sub ./x/"),
    more("dot slash", "WORKDIR /w\nCOPY a.txt ./"),
    more("owner of parents", "COPY --chown=1:2 a.txt /x/y/z"),
    more("owner of a merged directory", "RUN mkdir /d\nCOPY --chown=1:2 sub /d"),
    more("owner root in so many words", "COPY --chown=0:0 sub /d"),
    more("over an existing file", "RUN echo old > /d && chmod 700 /d\nCOPY a.txt /d"),
    more("over a link to a file", "RUN ln -s /etc/plain /l\nCOPY a.txt /l"),
    more("through a relative link", "RUN mkdir -p /r/s && ln -s r/s /l\nCOPY sub /l/"),
    more("through two links", "RUN mkdir /r && ln -s r /l && ln -s l /m\nCOPY a.txt /m/x/"),
    more("two copies merged", "COPY sub /d\nCOPY a.txt /d/deep/"),
    more("the same twice", "COPY sub /d\nCOPY sub /d"),
    more("a mode that changes", "COPY a.txt /d/f\nCOPY run.sh /d/f"),
    more("into a directory of a stage", "FROM busybox AS a\nRUN mkdir -m 700 /d\nFROM a\nCOPY a.txt /d/"),
    more("JSON with several", 'COPY ["a.txt", "b.txt", "/d/"]'),
    more("continued", "COPY a.txt \\\n     b.txt \\\n     /d/"),
    more("variables in all", "ARG s=sub\nENV d=/e\nCOPY $s/one ${s}/two $d/${s}/"),
    odd("name with a blank", 'COPY ["with space", "/d/"]'),
    odd("name with a blank at both ends", 'COPY ["with space", "/a b/c d"]'),
    odd("name with umlauts", "COPY ünïcode /d/"),
    odd("hidden name", "COPY .hidden /d/"),
    odd("name with equals", "COPY a=b /d/"),
    odd("special modes", "COPY modes /d"),
    odd("empty file", "COPY empty /d/"),
    odd("deep directory", "COPY deep /d"),
    odd("long name", "COPY long /d/"),
]
ADDS = [
    more("archive to a deep name", "ADD x.tar /d/e/f"),
    more("archive over a directory", "RUN mkdir -m 700 /d && echo x > /d/t\nRUN rm /d/t\nADD x.tar /d"),
    more("archive with an owner", "ADD --chown=3:4 x.tar /d/"),
    more("archive inside a directory stays", "ADD inner /d/"),
    more("archive beside a file", "ADD a.txt x.tar /d/"),
    more("archive twice", "ADD x.tar /d/\nADD x.tar /d/"),
    more("added file with an owner", "ADD --chown=5 a.txt /d"),
    more("added directory merged", "RUN mkdir -p /d/deep\nADD sub /d"),
]
RUNS = [
    more("directory becomes a file", "RUN mkdir /x && touch /x/y\nRUN rm -r /x && echo f > /x"),
    more("file becomes a directory", "RUN touch /x\nRUN rm /x && mkdir /x && touch /x/y"),
    more("link replaced", "RUN ln -s a /x\nRUN ln -sfn b /x"),
    more("link becomes a directory", "RUN ln -s tmp /x\nRUN rm /x && mkdir /x"),
    more("made and removed", "RUN touch /x\nRUN rm /x"),
    more("made and removed at once", "RUN touch /x && rm /x"),
    more("removed and made again", "RUN mkdir /x && touch /x/a\nRUN rm -r /x\nRUN mkdir /x && touch /x/b"),
    more("directory moved", "RUN mkdir /x && touch /x/a\nRUN mv /x /y"),
    more("file moved", "RUN echo 1 > /x\nRUN mv /x /y"),
    more("hard links of an older layer", "RUN echo 1 > /x\nRUN ln /x /y"),
    more("hard link changed", "RUN echo 1 > /x && ln /x /y\nRUN echo 2 >> /x"),
    more("mode of an older layer", "RUN touch /x\nRUN chmod 600 /x"),
    more("mode of a base directory", "RUN chmod 700 /home"),
    more("owner of a base file", "RUN chown 5:6 /etc/plain"),
    more("owners below", "RUN mkdir -p /x/y && touch /x/y/z\nRUN chown -R 3:4 /x"),
    more("special bits", "RUN mkdir /x && chmod 3777 /x && touch /x/s && chmod 6755 /x/s"),
    more("empty directories", "RUN mkdir -p /x/y/z"),
    more("names with blanks and quotes", 'RUN mkdir "/x y" && touch "/x y/it\'s"'),
    more("umask of the shell", "RUN umask 077; touch /x; mkdir /y"),
    more("exit code of a pipe", "RUN false | true\nRUN touch /x"),
    more("several lines", "RUN echo a > /x && \\\n    echo b >> /x && \\\n\techo c >> /x"),
    more("comments within", "RUN echo a > /x && \\\n# a comment\n    # another\n    echo b >> /x"),
    more("exec form with variables", 'ENV v=1\nRUN ["sh", "-c", "echo $v > /x"]'),
    more("exec form does not expand", 'ENV v=1\nRUN ["touch", "/$v"]'),
    more("quotes for the shell", "RUN echo 'a \"b\"' \"c 'd'\" > /x"),
    more("arguments in the environment", "ARG a=1\nARG b\nRUN env | grep -E '^[ab]=' | sort > /x", b="2"),
    more("home of root", "RUN echo $HOME > /x"),
    more("home of a user", "USER user\nRUN echo $HOME > /tmp/x"),
    more("groups of a user", "USER user\nRUN id -G > /tmp/x"),
    more("user and group", "USER user:0\nRUN id -u > /tmp/x; id -g >> /tmp/x"),
    more("a number with a group", "USER 77:88\nRUN id -u > /tmp/x; id -g >> /tmp/x"),
    more("back to root", "USER user\nUSER 0\nRUN touch /x"),
    more("directory that is not there", "WORKDIR /n/m\nRUN touch x"),
    more("standard error is no failure", "RUN echo x >&2; touch /x"),
]
SETTINGS = [
    more("environment with blanks", "ENV a=\"b c\" d='e f' g=h\\ i"),
    more("environment with quotes inside", 'ENV a=b\\"c d="e\\"f" g=\'h"i\''),
    more("environment of others", "ENV x=1 y=2\nENV z=$x$y w=${x}y v=$xy"),
    more("environment of a default", "ENV y=2\nENV z=${x:-$y} w=${x:-${y}}"),
    more("environment, set or not", "ENV e=\nENV b=${e:-2} f=${e:+5}"),
    more("environment with a hash", "ENV a=b#c d='#e'"),
    more("environment with equals", 'ENV a=b=c d="e=f"'),
    more("environment emptied", "ENV a=1\nENV a="),
    more("environment with a path", "ENV PATH=$PATH:/x"),
    more("environment over lines", 'ENV a=1 \\\n    b=2 \\\n    c="3 4"'),
    more("environment, old form with quotes", 'ENV a "b c" d'),
    more("environment, old form with equals", "ENV a b=c"),
    more("environment, old form expanded", "ENV x 1\nENV a $x b"),
    more("environment escaped", "ENV x=1\nENV a=\\$x b=\"\\$x\" c='\\$x'"),
    more("environment in single quotes", "ENV x=1\nENV a='$x' b=\"'$x'\""),
    more("labels over lines", 'LABEL a="1" \\\n      b="2"'),
    more("labels with points", "LABEL com.example.a/b=c org.x-y=z"),
    more("labels emptied", "LABEL a=1 b=\nLABEL a="),
    more("labels of a base", "FROM busybox AS b\nLABEL a=1 b=2\nFROM b\nLABEL b=3 c=4"),
    more("labels with variables", "ARG v=1\nENV w=2\nLABEL a=$v b=\"$w c\" d='$v'"),
    more("labels, old form", "LABEL a b c"),
    more("ports of both protocols", "EXPOSE 53/udp 53/tcp"),
    more("ports in capitals", "EXPOSE 80/TCP 81/Udp"),
    more("ports twice", "EXPOSE 80 80/tcp 81\nEXPOSE 81"),
    more("ports of a range with a protocol", "EXPOSE 90-92/udp"),
    more("ports of an argument", "ARG p=8080\nEXPOSE $p/tcp"),
    more("volume twice", 'VOLUME /a\nVOLUME ["/a", "/b"]'),
    more("volume of a variable", "ENV v=/data\nVOLUME $v/x"),
    more("user of a variable", "ARG u=user\nUSER $u"),
    more("user of a number", "USER 42"),
    more("stop signal of a number", "STOPSIGNAL 9"),
    more("stop signal without SIG", "STOPSIGNAL TERM"),
    more("stop signal of a variable", "ENV s=SIGINT\nSTOPSIGNAL $s"),
    more("maintainer", "MAINTAINER Some One <x@example.org>"),
    more("work directory with a slash at the end", "WORKDIR /a/b/"),
    more("work directory with two slashes", "WORKDIR //a//b"),
    more("work directory with a blank", "WORKDIR /a b"),
    more("work directory that is there", "RUN mkdir -m 700 /a\nWORKDIR /a"),
    more("work directory that is a dot", "WORKDIR /a\nWORKDIR ."),
    more("work directory of root again", "WORKDIR /a\nWORKDIR /"),
    more("work directory through a link", "RUN mkdir /r && ln -s r /l\nWORKDIR /l/x"),
    more("work directory of a default", "WORKDIR ${d:-/e}/f"),
    more("command emptied", 'CMD ["a"]\nCMD []'),
    more("entrypoint emptied", 'ENTRYPOINT ["a"]\nENTRYPOINT []'),
    more("command before the entrypoint", 'CMD ["a"]\nENTRYPOINT ["b"]'),
    more(
        "command of a base and an entrypoint here",
        'FROM busybox AS b\nCMD ["a"]\nFROM b\nENTRYPOINT ["b"]\nCMD ["c"]',
    ),
    more("entrypoint of a base kept", 'FROM busybox AS b\nENTRYPOINT ["a"]\nFROM b\nCMD ["c"]'),
    more("command with a variable stays", "ENV v=1\nCMD echo $v"),
    more("command in single quotes is for the shell", "CMD ['a', 'b']"),
    more("command with blanks in JSON", 'CMD [ "a" , "b c" ]'),
    more("command with escapes in JSON", 'CMD ["a\\"b", "c\\\\d", "e\\tf"]'),
    more("command over lines", 'CMD ["a", \\\n     "b"]'),
    more("shell then commands", 'SHELL ["/bin/ash", "-c"]\nENTRYPOINT a\nCMD b'),
    more("shell twice", 'SHELL ["/bin/ash", "-c"]\nRUN echo 1 > /x\nSHELL ["/bin/sh", "-xc"]\nCMD y'),
    more(
        "health check with all",
        "HEALTHCHECK --interval=1m30s --timeout=5s --start-period=2m --retries=4 CMD a | b",
    ),
    more("health check twice", 'HEALTHCHECK CMD a\nHEALTHCHECK CMD ["b"]'),
    more(
        "health check of a base taken away", "FROM busybox AS b\nHEALTHCHECK CMD a\nFROM b\nHEALTHCHECK NONE"
    ),
    more("health check kept", "FROM busybox AS b\nHEALTHCHECK CMD a\nFROM b\nENV x=1"),
    more(
        "triggers of several kinds",
        "FROM busybox AS b\nONBUILD ENV a=1\nONBUILD LABEL b=2\nONBUILD WORKDIR /w\nONBUILD RUN echo $a > x\nFROM b",
    ),
    more("trigger with a copy", "FROM busybox AS b\nONBUILD COPY a.txt /d/\nFROM b"),
    more(
        "triggers are not for grandchildren",
        "FROM busybox AS a\nONBUILD ENV x=1\nFROM a AS b\nFROM b\nENV y=2",
    ),
    more(
        "trigger with an argument",
        "FROM busybox AS b\nONBUILD ARG v=1\nONBUILD RUN echo $v > /x\nFROM b",
        v="2",
    ),
]
ARGUMENTS = [
    more("argument with a blank", 'ARG v="a b"\nRUN echo "$v" > /x'),
    more("argument of an argument", "ARG a=1\nARG b=$a-2\nRUN echo $b > /x"),
    more("argument of another's outside", "ARG a=1\nARG b=$a-2\nRUN echo $b > /x", a="7"),
    more("argument declared twice", "ARG a=1\nRUN echo $a > /x\nARG a=2\nRUN echo $a >> /x"),
    more("argument without a default", 'ARG a\nRUN echo "[$a]" > /x'),
    more("argument emptied outside", 'ARG a=1\nRUN echo "[$a]" > /x', a=""),
    more("argument kept by an environment", "ARG a=1\nENV a=$a"),
    more("argument of a tag", "ARG t=latest\nFROM busybox:${t}\nRUN touch /x"),
    more("argument of a stage", "ARG s=b\nFROM busybox AS b\nRUN touch /y\nFROM $s\nRUN touch /x"),
    more("argument with a modifier in FROM", "ARG i\nFROM ${i:-busybox}\nRUN touch /x"),
    more("argument in a stage below another", 'FROM busybox AS a\nARG v=1\nFROM a\nRUN echo "[$v]" > /x'),
]
STAGES = [
    more(
        "third stage from the first",
        "FROM busybox AS a\nRUN echo 1 > /x\nFROM busybox AS b\nRUN echo 2 > /y\nFROM busybox\nCOPY --from=a /x /\nCOPY --from=1 /y /",
    ),
    more(
        "a chain of stages",
        "FROM busybox AS a\nRUN echo 1 > /x\nFROM a AS b\nRUN echo 2 >> /x\nFROM b\nRUN echo 3 >> /x",
    ),
    more(
        "star from a stage",
        "FROM busybox AS a\nRUN mkdir /o && touch /o/a1 /o/a2 /o/b\nFROM busybox\nCOPY --from=a /o/a* /d/",
    ),
    more(
        "relative paths from a stage",
        "FROM busybox AS a\nWORKDIR /w\nRUN echo 1 > x\nFROM busybox\nWORKDIR /v\nCOPY --from=a w/x ./y",
    ),
    more(
        "links from a stage",
        "FROM busybox AS a\nRUN mkdir /o && cd /o && echo 1 > f && ln -s f l && ln -s /etc e\nFROM busybox\nCOPY --from=a /o /d",
    ),
    more(
        "modes from a stage",
        "FROM busybox AS a\nRUN mkdir -m 1777 /o && touch /o/s && chmod 4711 /o/s\nFROM busybox\nCOPY --from=a /o /d",
    ),
    more(
        "owners from a stage changed",
        "FROM busybox AS a\nRUN touch /f && chown 5:6 /f\nFROM busybox\nCOPY --from=a --chown=7:8 /f /g",
    ),
    more(
        "empty directory from a stage",
        "FROM busybox AS a\nRUN mkdir -p /o/e\nFROM busybox\nCOPY --from=a /o /d",
    ),
    more(
        "what a stage removed is not copied",
        "FROM busybox AS a\nRUN mkdir /o && touch /o/a /o/b\nRUN rm /o/a\nFROM busybox\nCOPY --from=a /o /d",
    ),
    more("scratch with several", "FROM scratch\nCOPY a.txt b.txt /d/\nCOPY sub /e\nENV x=1"),
    more(
        "scratch of a stage",
        'FROM busybox AS a\nRUN echo 1 > /x\nFROM scratch\nCOPY --from=a /x /y\nENTRYPOINT ["/y"]',
    ),
]
TEXTS = [
    Case("lower-case instructions", 'FROM busybox\nenv a=1\nrun echo $a > /x\ncmd ["y"]'),
    Case("blank lines and comments", "# first\n\nFROM busybox\n\n   # indented\nRUN touch /x\n\n\n"),
    Case("indented instructions", "FROM busybox\n  RUN touch /x\n\tENV a=1"),
    Case("blanks after a continuation", "FROM busybox\nRUN echo a \\  \n  > /x"),
    Case("continuation within a word", "FROM busybox\nRUN tou\\\nch /x"),
    Case("another escape", "# escape=`\nFROM busybox\nRUN echo a `\n  > /x\nENV b=c`$d e=\\f"),
    Case("ends of lines as on Windows", "FROM busybox\r\nENV a=1\r\nRUN echo b > /x\r\n"),
    Case("mark of byte order", "\ufeffFROM busybox\nRUN touch /x"),
    Case("blanks around", "FROM   busybox  \nENV   a=1   b=2  \nRUN   touch   /x  "),
    Case("no end of the last line", "FROM busybox\nRUN touch /x"),
    Case("two escapes at an end", "FROM busybox\nRUN echo 'a\\\\\\\\' > /x"),
]
MORE = [*COPIES, *ADDS, *RUNS, *SETTINGS, *ARGUMENTS, *STAGES, *TEXTS]

# What dockerd's classic builder does otherwise, and why we follow BuildKit's reference: the file has ours.
DIFFERS = {
    "special modes": "classic drops the set-user-id bit",
    "archive with an owner": "classic leaves --chown out of archives",
    "work directory with a slash at the end": "classic keeps the slash",
    "work directory with two slashes": "classic keeps both",
    "argument in a stage below another": "classic does not inherit ARGs",
}
