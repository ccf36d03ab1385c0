"""The real docker command line looks at containers and images, and works inside running ones."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root, wait_for
from tests.system.terminal import Terminal

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def box(sampand: Sampand, cli: str) -> Iterator[str]:
    """A running container named box."""
    script = "trap 'exit 0' TERM; echo one; echo two >&2; while :; do sleep 0.2; done"
    done = sampand.docker(
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "box",
        "--label",
        "tier=back",
        "busybox",
        "sh",
        "-c",
        script,
        cli=cli,
    )
    assert done.code == 0, done.err
    yield done.text
    sampand.docker("rm", "-f", "box", cli=cli)


def test_ps_filters_and_formats(sampand: Sampand, cli: str, box: str) -> None:
    assert sampand.docker("ps", "-q", "--no-trunc", "-f", "label=tier=back", cli=cli).text == box
    assert sampand.docker("ps", "-q", "-f", "label=tier=front", cli=cli).text == ""
    assert sampand.docker("ps", "-q", "-f", "name=^/?bo", "-f", "status=running", cli=cli).text == box[:12]
    assert sampand.docker("ps", "-q", "-f", "ancestor=busybox", cli=cli).text == box[:12]
    assert "bad" in sampand.docker("ps", "-f", "bad=x", cli=cli).err
    header, row = sampand.docker("ps", cli=cli).text.splitlines()
    assert header.split()[:4] == ["CONTAINER", "ID", "IMAGE", "COMMAND"]
    assert row.split()[:2] == [box[:12], "busybox"]


def test_inspect(sampand: Sampand, cli: str, box: str) -> None:
    shown = json.loads(sampand.docker("inspect", "box", cli=cli).out)[0]
    assert (shown["Id"], shown["Name"], shown["State"]["Status"]) == (box, "/box", "running")
    assert sampand.docker("inspect", "-f", "{{.State.Pid}}", "box", cli=cli).text.isdigit()
    missing = sampand.docker("inspect", "nothing-of-this-name", cli=cli)
    assert (missing.code, missing.out.strip()) == (1, b"[]")
    assert "No such object: nothing-of-this-name" in missing.err


def test_logs(sampand: Sampand, cli: str, box: str) -> None:
    wait_for(lambda: b"two" in sampand.docker("logs", "box", cli=cli).err.encode(), "both lines")
    done = sampand.docker("logs", "box", cli=cli)
    assert (done.out, done.err) == (b"one\n", "two\n")
    assert sampand.docker("logs", "--tail", "0", "box", cli=cli).out == b""
    stamped = sampand.docker("logs", "-t", "box", cli=cli).text
    assert stamped[4] == "-"
    assert stamped.endswith("Z one")
    missing = sampand.docker("logs", "nothing", cli=cli)
    assert "No such container: nothing" in missing.err


def test_logs_follow_to_the_end(sampand: Sampand, cli: str, box: str) -> None:
    command = [cli, "logs", "-f", "box"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=sampand.environment
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"one\n"
        sampand.docker("stop", "box", cli=cli)
        assert follower.stdout.read() == b""
        assert follower.wait(20) == 0


def test_exec(sampand: Sampand, cli: str, box: str) -> None:
    done = sampand.docker(
        "exec", "-e", "A=x", "-w", "/tmp", "box", "sh", "-c", "echo $A; pwd; echo e >&2; exit 6", cli=cli
    )
    assert (done.code, done.out, done.err) == (6, b"x\n/tmp\n", "e\n")
    assert sampand.docker("exec", "-u", "user", "box", "id", "-u", cli=cli).text == "1000"
    done = sampand.docker("exec", "-i", "box", "cat", stdin=b"through\n", cli=cli)
    assert (done.code, done.out) == (0, b"through\n")
    assert sampand.docker("exec", "-d", "box", "touch", "/made", cli=cli).code == 0
    wait_for(lambda: sampand.docker("exec", "box", "ls", "/made", cli=cli).code == 0, "detached exec")


def test_exec_that_cannot_run(sampand: Sampand, cli: str, box: str) -> None:
    missing = sampand.docker("exec", "box", "no-such", cli=cli)
    assert missing.code == 127
    assert "executable file not found" in missing.out.decode() + missing.err
    assert sampand.docker("exec", "box", "/etc/plain", cli=cli).code == 126
    unknown = sampand.docker("exec", "-u", "nobody-here", "box", "true", cli=cli)
    assert unknown.code != 0
    assert "nobody-here" in unknown.err + unknown.out.decode()
    gone = sampand.docker("exec", "nothing", "true", cli=cli)
    assert "No such container: nothing" in gone.err


def test_exec_on_a_terminal(sampand: Sampand, cli: str, box: str) -> None:
    with Terminal([cli, "exec", "-it", "box", "sh"], sampand.environment, rows=21, columns=77) as terminal:
        terminal.expect("# ")
        terminal.send("until [ \"$(stty size)\" = '21 77' ]; do sleep 0.1; done; tty; exit 3\r")
        terminal.expect("/dev/pts/")
        assert terminal.wait() == 3


def test_top_and_rename(sampand: Sampand, cli: str, box: str) -> None:
    shown = sampand.docker("top", "box", cli=cli).text.splitlines()
    assert shown[0].split()[:3] == ["UID", "PID", "PPID"]
    assert "sh -c trap" in shown[1]
    assert sampand.docker("rename", "box", "other", cli=cli).code == 0
    assert sampand.docker("ps", "--format", "{{.Names}}", cli=cli).text == "other"
    assert sampand.docker("rename", "other", "box", cli=cli).code == 0
    assert sampand.docker("rename", "box", "bad name", cli=cli).code == 1


def test_kill_and_wait(sampand: Sampand, cli: str, box: str) -> None:
    with subprocess.Popen([cli, "wait", "box"], stdout=subprocess.PIPE, env=sampand.environment) as waiting:
        assert sampand.docker("kill", "-s", "TERM", "box", cli=cli).text == "box"
        out, _ = waiting.communicate(timeout=20)
    assert out == b"0\n"
    refused = sampand.docker("kill", "box", cli=cli)
    assert refused.code == 1
    assert "is not running" in refused.err
    assert sampand.docker("kill", "-s", "NOPE", "box", cli=cli).code == 1


def test_pause(sampand: Sampand, cli: str, box: str) -> None:
    assert sampand.docker("pause", "box", cli=cli).text == "box"
    assert "(Paused)" in sampand.docker("ps", "--format", "{{.Status}}", cli=cli).text
    refused = sampand.docker("exec", "box", "true", cli=cli)
    assert "is paused, unpause the container before exec" in refused.err
    assert sampand.docker("unpause", "box", cli=cli).text == "box"


def test_update_of_a_limit(sampand: Sampand, cli: str, box: str) -> None:
    assert sampand.docker("update", "--memory", "64m", "--memory-swap", "64m", "box", cli=cli).text == "box"
    assert sampand.docker("inspect", "-f", "{{.HostConfig.Memory}}", "box", cli=cli).text == str(64 << 20)


def test_events(sampand: Sampand, cli: str) -> None:
    before = wait_for(lambda: sampand.call("GET", "/info")["SystemTime"], "time")
    sampand.docker("run", "--rm", "--network", "none", "--name", "ev", "busybox", "true", cli=cli)
    after = sampand.call("GET", "/info")["SystemTime"]
    done = sampand.docker(
        "events",
        "--since",
        before,
        "--until",
        after,
        "--format",
        "{{.Type}} {{.Action}}",
        "-f",
        "container=ev",
        cli=cli,
    )
    actions = [line.split()[1] for line in done.text.splitlines()]
    assert actions == ["create", "attach", "start", "die", "destroy"]


def test_image_verbs(sampand: Sampand, cli: str) -> None:
    assert sampand.docker("tag", "busybox", "local/copy:v1", cli=cli).code == 0
    listed = sampand.docker("images", "--format", "{{.Repository}}:{{.Tag}}", cli=cli).text.splitlines()
    assert sorted(listed) == ["busybox:latest", "local/copy:v1"]
    shown = json.loads(sampand.docker("image", "inspect", "local/copy:v1", cli=cli).out)[0]
    assert sorted(shown["RepoTags"]) == ["busybox:latest", "local/copy:v1"]
    assert sampand.docker("history", "-q", "--no-trunc", "local/copy:v1", cli=cli).text == shown["Id"]
    assert sampand.docker("rmi", "local/copy:v1", cli=cli).text == "Untagged: local/copy:v1"
    missing = sampand.docker("rmi", "nothing", cli=cli)
    assert missing.code == 1
    assert "No such image: nothing" in missing.err


def test_import_run_and_remove(sampand: Sampand, cli: str, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(busybox_tar())
    done = sampand.docker(
        "import", "-c", 'CMD ["echo", "imported"]', "-m", "by hand", str(archive), "made:1", cli=cli
    )
    assert done.text.startswith("sha256:"), done.err
    assert sampand.docker("run", "--rm", "--network", "none", "made:1", cli=cli).text == "imported"
    assert f"Deleted: {done.text}" in sampand.docker("rmi", "made:1", cli=cli).text


def save_archive(reference: str) -> bytes:
    """Return an archive as `docker save` writes it, with one layer that holds one file."""

    def pack(files: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    import hashlib

    layer = pack({"file": b"content"})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created_by": "by hand"}],
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": ["a/layer.tar"]}]).encode()
    return pack({name: config, "a/layer.tar": layer, "manifest.json": manifest})


def test_load(sampand: Sampand, cli: str) -> None:
    done = sampand.docker("load", stdin=save_archive("loaded:x"), cli=cli)
    assert done.text == "Loaded image: loaded:x", done.err
    assert sampand.docker("rmi", "loaded:x", cli=cli).code == 0


def test_load_of_a_broken_archive(sampand: Sampand, cli: str) -> None:
    before = sampand.call("GET", "/images/json")
    done = sampand.docker("load", stdin=save_archive("broken:x")[:4000], cli=cli)
    assert done.code == 1
    assert done.err.strip() != ""
    assert sampand.call("GET", "/images/json") == before


def test_system_commands(sampand: Sampand, cli: str) -> None:
    shown = sampand.docker("version", cli=cli)
    assert shown.code == 0
    assert "Server" in shown.text
    info = sampand.docker("info", cli=cli)
    assert info.code == 0, info.err
    assert "Storage Driver: overlay2" in info.text
    assert sampand.docker("system", "df", cli=cli).code == 0
    assert sampand.docker("system", "df", "-v", cli=cli).code == 0
    assert "none" in sampand.docker("network", "ls", cli=cli).text
    assert sampand.docker("volume", "ls", cli=cli).text.split() == ["DRIVER", "VOLUME", "NAME"]
    assert "swarm manager" in sampand.docker("service", "ls", cli=cli).err
    refused = sampand.docker("commit", "nothing", cli=cli)
    assert "No such container: nothing" in refused.err


def test_container_prune(sampand: Sampand, cli: str) -> None:
    made = sampand.docker("create", "--network", "none", "busybox", cli=cli).text
    assert made in sampand.docker("container", "prune", "-f", cli=cli).text
    assert sampand.docker("ps", "-aq", cli=cli).text == ""


def test_stats(sampand: Sampand, cli: str, box: str) -> None:
    done = sampand.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemPerc}}", cli=cli)
    name, processes, memory = done.text.split()
    assert (name, int(processes) >= 1, memory.endswith("%")) == ("box", True, True), done.err
