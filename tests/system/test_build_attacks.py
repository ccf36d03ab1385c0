"""Builds that attack: what a Dockerfile, its context or its commands try against the machine.

The numbers in names are those of the vulnerability that is meant.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.system.buildkit_kit import build as buildx_build
from tests.system.buildkit_kit import needs_buildx
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root
from tests.system.test_build_remote import Repository, needs_git, repository

pytestmark = [needs_root, needs_busybox]
__all__ = ["repository"]  # the fixture


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(text)
    return sampand.sampan("build", *options, str(folder))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of the machine with an empty directory, an empty file, and a secret."""
    folder = tmp_path / "victim"
    (folder / "directory").mkdir(parents=True)
    (folder / "file").touch()
    (folder / "secret").write_text("of the machine")
    return folder


@pytest.mark.parametrize("name", ["directory", "file"])
def test_cleaning_mount_points_follows_no_links_2024_23652(
    sampand: Sampand, tmp_path: Path, victim: Path, name: str
) -> None:
    """The directory that a mount point lies in is moved away, and a link out of the root put in its place."""
    mount = "tmpfs,target=/a/directory" if name == "directory" else "bind,source=f,target=/a/file"
    (tmp_path / "context").mkdir()
    (tmp_path / "context/f").write_text("x")
    script = f"mv /a /z && ln -s {victim} /a && readlink /a"
    done = build(sampand, tmp_path / "context", f"FROM busybox\nRUN --mount=type={mount} {script}\n")
    assert done.code == 0, done.err
    assert str(victim) in done.text
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"]


def test_an_id_of_a_cache_mount_is_no_path_2024_9675(sampand: Sampand, tmp_path: Path) -> None:
    before = set(os.listdir(sampand.data))
    for number, mount_id in enumerate(("../../../climbed", "/etc", "..", ".")):
        mount = f"--mount=type=cache,id={mount_id},target=/c"
        text = f"FROM busybox\nRUN {mount} ls -A /c > /got; echo {number} > /c/f\n"
        done = build(sampand, tmp_path / "context", text)
        assert done.code == 0, done.err
    assert set(os.listdir(sampand.data)) <= before | {"build-cache", "build-contexts"}
    assert not (sampand.data.parent / "climbed").exists()


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind,from=other,source=/link,target=/m",
        "type=bind,from=other,source=/link/../link,target=/m",
        "type=cache,from=other,source=/link,target=/m",
    ],
)
def test_a_source_that_is_a_link_stays_inside_2024_1753(
    sampand: Sampand, tmp_path: Path, victim: Path, mount: str
) -> None:
    text = (
        f"FROM busybox AS other\nRUN ln -s {victim} /link && ln -s / /all\n"
        f"FROM busybox\nRUN --mount={mount} find /m; cat /m/secret\n"
    )
    done = build(sampand, tmp_path / "context", text)
    assert done.code != 0
    assert "of the machine" not in done.text + done.err


def test_a_whole_root_by_a_link_is_the_stages_own_2024_1753(
    sampand: Sampand, tmp_path: Path, victim: Path
) -> None:
    text = (
        "FROM busybox AS other\nRUN ln -s ../../../../.. /all\n"
        "FROM busybox\nRUN --mount=type=bind,from=other,source=/all,target=/m "
        f"ls /m; ls {victim} /m{victim}\n"
    )
    done = build(sampand, tmp_path / "context", text)
    assert "\nbin\n" in done.text
    assert "secret" not in done.text


def test_a_link_in_a_cache_mount_leads_nowhere_2024_23651(
    sampand: Sampand, tmp_path: Path, victim: Path
) -> None:
    """A later step mounts below a link that an earlier one has left in the cache."""
    mount = "--mount=type=cache,id=linked,target=/c"
    text = (
        f"FROM busybox\nRUN {mount} ln -sfn {victim} /c/link\n"
        f"RUN {mount} --mount=type=tmpfs,target=/c/link/directory "
        "echo x > /c/link/directory/f; cat /c/link/secret\n"
    )
    done = build(sampand, tmp_path / "context", text)
    assert "of the machine" not in done.text
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"]
    assert os.listdir(victim / "directory") == []


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("RUN --mount=type=bind,bind-propagation=shared,target=/m true", "unexpected key 'bind-propagation'"),
        ("RUN --mount=type=bind,target=/m,relabel=shared true", "unexpected key 'relabel'"),
        ("RUN --security=insecure true", "entitlement security.insecure is not allowed"),
        ("RUN --network=host true", "entitlement network.host is not allowed"),
        ("RUN --device=vendor.com/device true", "device"),
    ],
)
@pytest.mark.parametrize("door", ["ours", "buildx"])
def test_privileges_are_the_clients_to_give_2024_9407_23653(
    sampand: Sampand, tmp_path: Path, line: str, match: str, door: str
) -> None:
    folder = tmp_path / "context"
    done = build(sampand, folder, f"FROM busybox\n{line}\n")
    if door == "buildx":
        done = buildx_build(sampand, folder)
    assert done.code != 0
    assert match in done.err


def test_a_dockerfile_that_is_a_link_out_2026_33748(sampand: Sampand, tmp_path: Path, victim: Path) -> None:
    (victim / "Dockerfile").write_text("FROM busybox\nRUN echo taken\n")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("Dockerfile")
        link.type, link.linkname = tarfile.SYMTYPE, str(victim / "Dockerfile")
        archive.addfile(link)
    done = sampand.sampan("build", "-", stdin=buffer.getvalue())
    assert done.code != 0
    assert "taken" not in done.text


@needs_git
@pytest.mark.parametrize(
    ("fragment", "match"),
    [
        ("main:../../../../../..{victim}", "folder"),
        ("../../..", "does not contain ref"),
        ("--upload-pack=touch {victim}/touched", ""),
        ("main:-x", "folder"),
    ],
)
def test_fragments_of_a_repository_2026_44517(
    sampand: Sampand, tmp_path: Path, victim: Path, repository: Repository, fragment: str, match: str
) -> None:
    place = f"{repository.url}#{fragment.format(victim=victim)}"
    for done in (
        build(sampand, tmp_path / "context", f'FROM scratch\nADD ["{place}", "/r"]\n'),
        sampand.sampan("build", place),
    ):
        assert done.code != 0
        assert match in done.err
        assert "of the machine" not in done.text
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"]


@needs_git
@pytest.mark.parametrize("url", ["file://{served}", "{served}", "ext::touch {victim}/touched"])
def test_submodules_come_by_the_network_only(
    sampand: Sampand, tmp_path: Path, victim: Path, repository: Repository, url: str
) -> None:
    """A repository whose submodule is a path of the machine, or a command."""
    place = url.format(served=tmp_path / "served/r.git", victim=victim)
    commit = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub2")
    (repository.work / ".gitmodules").write_text(f'[submodule "sub2"]\n\tpath = sub2\n\turl = {place}\n')
    repository.git("add", ".gitmodules")
    repository.git("commit", "-q", "-m", "x")
    repository.git("push", "-q", "origin", "HEAD")
    done = build(sampand, tmp_path / "context", f"FROM busybox\nADD {repository.url} /r\nRUN ls -A /r/sub2\n")
    assert done.code != 0
    assert "submodule" in done.err
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"]


@needs_git
def test_a_repository_runs_nothing_of_its_own(
    sampand: Sampand, tmp_path: Path, victim: Path, repository: Repository
) -> None:
    """Hooks, filters and commands that a repository brings, and git's configuration of the machine's user."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {home}\n[filter "x"]\n\tsmudge = touch {victim}/filter\n'
    )
    (home / "post-checkout").write_text(f"#!/bin/sh\ntouch {victim}/hook\n")
    (home / "post-checkout").chmod(0o755)
    repository.commit(
        **{
            ".gitattributes": "* filter=x\n",
            "hooks__post-checkout": f"#!/bin/sh\ntouch {victim}/hook\n",
            ".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = {repository.url}\n'
            f"\tupdate = !touch {victim}/update\n",
        }
    )
    done = build(sampand, tmp_path / "context", f"FROM scratch\nADD {repository.url} /r\n")
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"], done.err


def test_no_environment_of_the_machine_reaches_run(sampand: Sampand, tmp_path: Path) -> None:
    done = build(sampand, tmp_path / "context", "FROM busybox\nRUN env\n")
    names = {line.partition("=")[0] for line in done.text.splitlines() if "=" in line and line[0].isalpha()}
    assert names <= {"PATH", "HOME", "HOSTNAME", "PWD", "SHLVL"}, done.text


def test_an_archive_that_climbs(sampand: Sampand, tmp_path: Path, victim: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    with tarfile.open(context / "a.tar", "w") as archive:
        link = tarfile.TarInfo("through")
        link.type, link.linkname = tarfile.SYMTYPE, str(victim)
        archive.addfile(link)
        for name in ("through/touched", "../../../../../../../../tmp/climbed", f"{victim}/touched"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    for link_flag in ("", "--link "):
        build(sampand, context, f"FROM busybox\nADD {link_flag}a.tar /d/\nRUN find /d\n")
    assert sorted(os.listdir(victim)) == ["directory", "file", "secret"]
    assert not Path("/tmp/climbed").exists()


@needs_buildx
def test_a_client_that_asks_for_more_than_it_has(sampand: Sampand, tmp_path: Path) -> None:
    """Entitlements are named by the client alone: a Dockerfile that wants them fails without."""
    folder = tmp_path / "context"
    build(sampand, folder, "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status\n")
    assert buildx_build(sampand, folder).code == 1
    assert buildx_build(sampand, folder, "--allow=security.insecure").code == 0


def test_commands_of_a_step_end_with_it(sampand: Sampand, tmp_path: Path) -> None:
    word = f"9{os.getpid()}"
    done = build(sampand, tmp_path / "context", f"FROM busybox\nRUN (setsid sleep {word} &) ; true\n")
    assert done.code == 0, done.err
    assert subprocess.run(["pgrep", "-f", f"sleep {word}"], capture_output=True).stdout == b""
