"""`sampan image copy`: from one sampand to another, by a socket and by a real sshd, without what is there."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from tests.system.registry_kit import free_port
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, wait_for
from tests.system.store_kit import entry, image_archive, tar

pytestmark = [needs_root, needs_busybox]

BASE = tar((entry("base"), os.urandom(300_000)))
ONE = tar((entry("one"), b"1"))
TWO = tar((entry("two"), b"2"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = Sampand(tmp_path_factory.mktemp("other"))
    daemon.start()
    yield daemon
    daemon.close()


@pytest.fixture
def loaded(sampand: Sampand, other: Sampand) -> Iterator[None]:
    """one:1 and two:1 are at the source and share a layer; nothing is at the target."""
    for name, layers in (("one:1", [BASE, ONE]), ("two:1", [BASE, TWO])):
        assert sampand.docker("load", stdin=image_archive(layers, tags=[name])).code == 0
    yield
    for image in other.docker("images", "-aq", "--no-trunc").text.split():
        other.docker("rmi", "-f", image)


def copy(sampand: Sampand, *arguments: str) -> Result:
    return sampand.sampan("image", "copy", *arguments)


@pytest.mark.usefixtures("loaded")
def test_only_what_is_missing_travels(sampand: Sampand, other: Sampand) -> None:
    first = copy(sampand, "one:1", other.host)
    assert (first.code, first.text) == (0, "one:1"), first.err
    assert "sending 4 of 4 parts, 318kB; 0 are there" in first.err
    second = copy(sampand, "two:1", other.host)
    assert "sending 3 of 4 parts" in second.err
    assert "kB" in second.err
    assert "; 1 are there" in second.err
    again = copy(sampand, "two:1", other.host)
    assert "sending 0 of 4 parts, 0B; 4 are there" in again.err
    for name in ("one:1", "two:1"):
        ids = [one.docker("inspect", "-f", "{{.Id}}", name).text for one in (sampand, other)]
        assert ids[0] == ids[1]
    checked = other.sampan("system", "check", "--images")
    assert (checked.code, checked.text) == (0, "nothing is left over")


@pytest.mark.usefixtures("loaded")
def test_names(sampand: Sampand, other: Sampand) -> None:
    """By id all names go along; an image that is there under another name gets this one too."""
    sampand.docker("tag", "one:1", "again:1")
    image = sampand.docker("images", "-q", "--no-trunc", "one:1").text
    assert copy(sampand, "-q", "one:1", other.host).text == "one:1"
    done = copy(sampand, "-q", "again:1", other.host)
    assert (done.text, done.err) == ("again:1", "")
    assert sorted(other.docker("images", "--format", "{{.Repository}}").text.split()) == ["again", "one"]
    assert copy(sampand, image, other.host).code == 0
    sampand.docker("rmi", "again:1")


@pytest.mark.usefixtures("loaded")
def test_what_goes_wrong(sampand: Sampand, other: Sampand, tmp_path: Path) -> None:
    missing = copy(sampand, "nothing", other.host)
    assert (missing.code, "No such image: nothing" in missing.err) == (1, True)
    nobody = copy(sampand, "one:1", f"unix://{tmp_path}/none.sock")
    assert (nobody.code, "nobody listens there" in nobody.err) == (1, True)
    itself = copy(sampand, "one:1", sampand.host)
    assert "is the daemon that has the image" in itself.err
    strange = copy(sampand, "one:1", "ftp://x")
    assert "is not understood" in strange.err
    password = copy(sampand, "one:1", "ssh://anna:secret@x")
    assert "a password is asked for by ssh itself" in password.err
    assert other.docker("images", "-q").text == ""


@pytest.mark.usefixtures("loaded")
def test_an_archive_that_lacks_what_is_not_here_is_refused(sampand: Sampand, other: Sampand) -> None:
    content = sampand.call("GET", "/sampan/v1/images/one:1/content")
    digests = [one["Digest"] for one in content["Blobs"]]
    assert other.call("POST", "/sampan/v1/images/missing", {"Digests": digests}) == digests
    layer = max(content["Blobs"], key=lambda one: one["Size"])["Digest"]
    status, _, archive = sampand.request("POST", "/sampan/v1/images/one:1/archive", {"Without": [layer]})
    assert (status, len(archive) < 100_000) == (200, True)
    status, _, told = other.request("POST", "/sampan/v1/images/load", raw=archive)
    assert b"is missing" in told
    plain = other.docker("load", stdin=archive)
    assert "is missing" in plain.err + plain.text
    assert other.docker("images", "-q").text == ""
    status, _, told = other.request("POST", "/sampan/v1/images/missing", {"Digests": ["x"]})
    assert status == 400


@pytest.fixture
def ssh_home(tmp_path: Path, other: Sampand) -> Iterator[tuple[str, Path]]:
    """A real sshd on loopback that knows our key; `sampan` there means the other daemon. Address and HOME."""
    sshd = which("sshd", path="/usr/sbin:/usr/bin")
    if sshd is None or which("ssh") is None:
        pytest.skip("no sshd (Debian: openssh-server)")
    os.makedirs("/run/sshd", exist_ok=True)
    keys, home, port = tmp_path / "keys", tmp_path / "home", free_port()
    keys.mkdir(mode=0o700)
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    bin_folder = Path(sys.executable).parent
    (keys / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"SetEnv PATH={bin_folder}:/usr/bin:/bin SAMPAN_HOST={other.host}\n"
    )
    (home / ".ssh/config").write_text(
        f"Host *\n  IdentityFile {keys}/user\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n"
        "  LogLevel ERROR\n  BatchMode yes\n"
    )
    process = subprocess.Popen([sshd, "-D", "-e", "-f", keys / "config"], stderr=subprocess.DEVNULL)
    user = pwd.getpwuid(os.getuid()).pw_name
    address = f"ssh://{user}@127.0.0.1:{port}"
    try:
        wait_for(
            lambda: subprocess.run(["ssh-keyscan", "-p", str(port), "127.0.0.1"], capture_output=True).stdout,
            "sshd",
        )
        yield address, home
    finally:
        process.terminate()
        process.wait()


@pytest.mark.usefixtures("loaded")
def test_by_ssh(sampand: Sampand, other: Sampand, ssh_home: tuple[str, Path], tmp_path: Path) -> None:
    address, home = ssh_home
    config = home / ".ssh/config"  # ssh takes the home directory from /etc/passwd, not from HOME
    wrapper = tmp_path / "bin"
    wrapper.mkdir()
    (wrapper / "ssh").write_text(f'#!/bin/sh\nexec {which("ssh")} -F {config} "$@"\n')
    (wrapper / "ssh").chmod(0o755)
    usual = dict(sampand.environment)
    sampand.environment["PATH"] = f"{wrapper}:{usual['PATH']}"
    try:
        done = copy(sampand, "one:1", address)
        assert (done.code, done.text) == (0, "one:1"), done.err
        assert "sending 4 of 4" in done.err
        listed = sampand.sampan("-H", address, "images", "--format", "{{.Repository}}")
        assert listed.text == "one", listed.err
        explicit = sampand.sampan("-H", f"{address}{other.socket}", "images", "-q")
        assert explicit.text
        refused = sampand.sampan("-H", address.replace("@", "nobody@"), "images")
        assert refused.code == 1
        sampand.environment["PATH"] = "/nonexistent"
        without = copy(sampand, "one:1", address)
        assert "there is no ssh on this machine" in without.err
    finally:
        sampand.environment.clear()
        sampand.environment.update(usual)
