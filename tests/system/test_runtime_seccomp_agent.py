"""SCMP_ACT_NOTIFY: a real agent behind listenerPath decides about system calls of init and of an exec."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.bundles import Config, Runtime, both, needs_busybox, needs_root, put

pytestmark = [needs_root, needs_busybox]
AGENT = str(Path(__file__).with_name("seccomp_agent.py"))
SCRIPT = """
mkdir /tmp/plain && echo made
mkdir /tmp/secret 2>&1 || ls /tmp
echo $PPID
"""


class Agent:
    """The program, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "agent.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-I", AGENT, self.path], stdout=subprocess.PIPE, text=True
        )
        assert self.next() == {"ready": True}

    def next(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.close()


def notifying(path: str, *names: str, nnp: bool = True) -> Any:
    profile: Config = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
    }
    return both(put("linux", "seccomp", value=profile), put("process", "noNewPrivileges", value=nnp))


@pytest.mark.parametrize("nnp", [True, False], ids=["no new privileges", "may gain privileges"])
def test_agent_decides_for_init(runtime: Runtime, agent: Agent, nnp: bool) -> None:
    done = runtime.sh(SCRIPT, notifying(agent.path, "mkdir", "mkdirat", "getppid", nnp=nnp))
    assert done.lines == [
        "made",
        "mkdir: can't create directory '/tmp/secret': Disk quota exceeded",
        "plain",
        "4242",
    ]
    (runtime.root / "tmp/plain").rmdir()
    told = agent.next()
    assert told["ociVersion"] == told["state"]["ociVersion"]
    assert told["fds"] == ["seccompFd"]
    assert told["metadata"] == "for the agent"
    assert told["pid"] == told["state"]["pid"]
    assert told["state"]["status"] == "creating"
    assert told["state"]["id"] == runtime.ids[-1]


def test_agent_decides_for_an_exec(runtime: Runtime, agent: Agent) -> None:
    id = runtime.start(notifying(agent.path, "mkdir", "mkdirat", "getppid"))
    created = agent.next()
    done = runtime.exec(id, "sh", "-c", "mkdir /tmp/secret 2>&1; echo $PPID")
    assert done.lines == ["mkdir: can't create directory '/tmp/secret': Disk quota exceeded", "4242"]
    told = agent.next()
    assert told["state"]["status"] == "running"
    assert told["state"]["pid"] == created["pid"] != told["pid"]
    runtime.call("delete", "--force", id)


def test_nobody_listens(runtime: Runtime, tmp_path: Path) -> None:
    done = runtime.run(notifying(str(tmp_path / "nobody"), "mkdir"))
    assert done.code == 1
    assert "linux.seccomp.listenerPath" in done.err
    assert "No such file or directory" in done.err


def test_agent_that_ended(runtime: Runtime, agent: Agent) -> None:
    """The container goes on; what needs the agent says that it is not there."""
    id = runtime.start(notifying(agent.path, "mkdir", "mkdirat"))
    agent.next()
    agent.close()
    again = runtime.call("state", id)
    assert json.loads(again.out)["status"] == "running"
    refused = runtime.exec(id, "true")
    assert refused.code != 0
    assert "linux.seccomp.listenerPath" in refused.err
    runtime.call("delete", "--force", id)
