"""The build context that both scripts use: right and wrong Dockerfiles, and a file to copy."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "Dockerfile": (
        "FROM busybox\nENV WHO=world\nLABEL a=b\nWORKDIR /work\nCOPY file copied\n"
        'RUN echo said; echo more > made\nEXPOSE 80\nCMD ["cat", "made"]\n'
    ),
    "file": "content\n",
    "args.df": 'FROM busybox\nARG A=default\nENV SEEN=$A\nCMD ["sh", "-c", "echo $SEEN"]\n',
    "multi.df": (
        "FROM busybox AS first\nRUN echo one > /one\nCMD cat /one\n"
        "FROM busybox\nCOPY --from=first /one /two\nCMD cat /two\n"
    ),
    "unknown.df": "FROM busybox\nNONSENSE x\n",
    "empty.df": "",
    "nofrom.df": "RUN true\n",
    "fails.df": "FROM busybox\nRUN echo before; exit 3\n",
    "nocopy.df": "FROM busybox\nCOPY nosuch /\n",
    "nobase.df": "FROM 127.0.0.1:1/nosuch\n",
    "badcmd.df": "FROM busybox\nEXPOSE nonsense\n",
    "net.df": "FROM busybox\nRUN ls /sys/class/net\n",
    "hosts.df": "FROM busybox\nRUN grep other /etc/hosts\n",
    "limits.df": "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2\n",
}


def write(folder: Path) -> None:
    """Make the context."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
