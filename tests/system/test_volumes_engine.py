"""Volumes where the docker command cannot look: swapped links, owners, crashes, propagation."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, serve, wait_for

from sampan.kernel.constants import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REMOUNT
from sampan.kernel.mounts import mount, umount
from sampan.store.database import Database

pytestmark = [needs_root, needs_busybox]
RUN = ("run", "--rm", "--network", "none")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Sampand]:
    daemon = serve(tmp_path)
    try:
        yield daemon
    finally:
        daemon.close()


def volumes(daemon: Sampand) -> list[str]:
    return sorted(volume["Name"] for volume in daemon.call("GET", "/volumes")["Volumes"])


def create(daemon: Sampand, name: str, host: dict[str, object], *command: str, **config: object) -> str:
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none", **host}, **config}
    answer = daemon.call("POST", f"/containers/create?name={name}", body)
    return str(answer["Id"])


def test_a_swapped_link_in_a_volume_leads_nowhere(daemon: Sampand, tmp_path: Path) -> None:
    """The subpath is resolved inside the volume at the mount, while another container swaps it for links."""
    data = Path(daemon.call("POST", "/volumes/create", {"Name": "shared"})["Mountpoint"])
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("host")
    (data / "sub").mkdir()
    (data / "sub/key").write_text("volume")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(data / "sub", data / "aside")
            os.symlink(secret, data / "sub")
            os.unlink(data / "sub")
            os.rename(data / "aside", data / "sub")

    mount_point = {
        "Type": "volume",
        "Source": "shared",
        "Target": "/s",
        "VolumeOptions": {"Subpath": "sub"},
    }
    create(daemon, "victim", {"Mounts": [mount_point]}, "cat", "/s/key")
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(25):
            status, _, answer = daemon.request("POST", "/containers/victim/start")
            assert status == 204 or b"does not exist" in answer, answer
            daemon.call("POST", "/containers/victim/wait")
    finally:
        stop.set()
        swapper.join()
    logs = daemon.request("GET", "/containers/victim/logs?stdout=1&stderr=1")[2]
    assert b"host" not in logs
    os.rename(data / "sub", data / "real")
    os.symlink("real", data / "sub")
    daemon.call("POST", "/containers/victim/start")
    daemon.call("POST", "/containers/victim/wait")
    assert b"volume" in daemon.request("GET", "/containers/victim/logs?stdout=1&tail=1")[2]


def test_copy_up_keeps_what_files_are(daemon: Sampand, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, mode, owner, content in (
            ("srv", tarfile.DIRTYPE, 0o2750, 7, b""),
            ("srv/file", tarfile.REGTYPE, 0o4711, 8, b"content"),
            ("srv/link", tarfile.SYMTYPE, 0o777, 0, b"/etc/passwd"),
            ("srv/hard", tarfile.LNKTYPE, 0o4711, 8, b"srv/file"),
            ("srv/pipe", tarfile.FIFOTYPE, 0o622, 9, b""),
            ("srv/deep/er", tarfile.DIRTYPE, 0o700, 3, b""),
            ("escape", tarfile.SYMTYPE, 0o777, 0, b"../../../../../srv"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, owner, owner + 1, 1000
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                entry.linkname = content.decode()
            else:
                entry.size = len(content)
            if name == "srv/file":
                entry.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            archive.addfile(entry, io.BytesIO(content))
    status, _, answer = daemon.request(
        "POST", "/images/create?fromSrc=-&repo=filled&changes=VOLUME%20/escape", raw=data.getvalue()
    )
    assert (status, b"error" in answer) == (200, False), answer
    create(daemon, "made", {"Binds": ["full:/srv"]}, "x", Image="filled")
    full = Path(daemon.call("GET", "/volumes/full")["Mountpoint"])
    top = full.stat()
    assert (stat.S_IMODE(top.st_mode), top.st_uid, top.st_gid) == (0o2750, 7, 8)
    file = (full / "file").stat()
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_mtime, file.st_nlink) == (0o4711, 8, 1000, 2)
    assert os.getxattr(full / "file", "user.note") == b"kept"
    assert (full / "hard").samefile(full / "file")
    assert os.readlink(full / "link") == "/etc/passwd"
    assert stat.S_ISFIFO((full / "pipe").stat().st_mode)
    assert stat.S_IMODE((full / "deep/er").stat().st_mode) == 0o700
    (anonymous,) = [name for name in volumes(daemon) if name != "full"]
    escaped = Path(daemon.call("GET", f"/volumes/{anonymous}")["Mountpoint"])
    assert sorted(os.listdir(escaped)) == sorted(os.listdir(full)), "a link is followed inside the image"


def test_owners_through_an_idmapped_mount(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    os.chown(source, 3000, 3001)
    (source / "roots").touch()
    script = "stat -c '%u %g' /m; touch /m/new; stat -c '%u' /m/roots"
    plain = daemon.docker(*RUN, "-u", "1000:1000", "-v", f"{source}:/m:idmap", "busybox", "sh", "-c", script)
    assert plain.text.split() == ["1000", "1000", "0"], plain.err
    made = (source / "new").stat()
    assert (made.st_uid, made.st_gid) == (3000, 3001)
    chosen = daemon.docker(*RUN, "-v", f"{source}:/m:ro,uid=5,gid=6", "busybox", "stat", "-c", "%u %g", "/m")
    assert chosen.text == "5 6"
    whole = daemon.docker(
        *RUN, "-v", f"{source}:/m:idmap=uids=3000-0-1;gids=3001-0-1", "busybox", "sh", "-c", script
    )
    assert whole.text.split()[:3] == ["0", "0", "65534"]
    in_volume = daemon.docker(*RUN, "-u", "1000:1000", "-v", "data:/d:idmap", "busybox", "touch", "/d/x")
    assert in_volume.code == 0, in_volume.err
    assert (daemon.data / "volumes/data/_data/x").stat().st_uid == 0


def test_what_the_host_has_read_only_stays_so(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "ro"
    source.mkdir()
    mount(str(source), str(source), None, MS_BIND)
    try:
        mount(None, str(source), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        done = daemon.docker(*RUN, "-v", f"{source}:/m", "busybox", "touch", "/m/x")
        assert "Read-only file system" in done.err
    finally:
        umount(str(source))


def test_mounts_below_a_source(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "below").mkdir(parents=True)
    mount(str(source), str(source), None, MS_BIND)
    try:
        mount(None, str(source), None, MS_PRIVATE)
        mount("tmpfs", str(source / "below"), "tmpfs")
        writes = "touch /m/x; touch /m/below/x"
        read_only = daemon.docker(*RUN, "-v", f"{source}:/m:ro", "busybox", "sh", "-c", writes)
        assert read_only.err.count("Read-only file system") == 2, "read-only with all below it"
        alone = f"type=bind,source={source},target=/m,bind-recursive=disabled"
        done = daemon.docker(*RUN, "--mount", alone, "busybox", "sh", "-c", "mount | grep -c ' /m'")
        assert done.text == "1"
        top = f"type=bind,source={source},target=/m,readonly,bind-recursive=writable"
        done = daemon.docker(*RUN, "--mount", top, "busybox", "sh", "-c", writes)
        assert done.err.count("Read-only file system") == 1
    finally:
        umount(str(source / "below"))
        umount(str(source))


def test_a_slave_sees_mounts_of_the_host(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "shared"
    (source / "later").mkdir(parents=True)
    mount(str(source), str(source), None, MS_BIND)
    try:
        mount(None, str(source), None, 1 << 20)  # MS_SHARED
        create(daemon, "slave", {"Binds": [f"{source}:/m:rslave"]}, "sleep", "60")
        create(daemon, "private", {"Binds": [f"{source}:/m"]}, "sleep", "60")
        for name in ("slave", "private"):
            daemon.call("POST", f"/containers/{name}/start")
        mount("tmpfs", str(source / "later"), "tmpfs")
        try:
            (source / "later/seen").touch()
            assert daemon.docker("exec", "slave", "ls", "/m/later").text == "seen"
            assert daemon.docker("exec", "private", "ls", "/m/later").text == ""
        finally:
            umount(str(source / "later"))
    finally:
        daemon.remove_containers()
        umount(str(source))


def test_propagation_of_what_is_private_is_refused(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "private"
    source.mkdir()
    mount(str(source), str(source), None, MS_BIND)
    try:
        mount(None, str(source), None, 1 << 18)  # MS_PRIVATE
        for kind, want in (
            ("rslave", "shared or slave"),
            ("slave", "shared or slave"),
            ("rshared", "shared"),
        ):
            create(daemon, kind, {"Binds": [f"{source}:/m:{kind}"]}, "true")
            status, _, body = daemon.request("POST", f"/containers/{kind}/start")
            message = f"path {source} is mounted on {source} but it is not a {want} mount"
            assert (status, json.loads(body)["message"]) == (400, message)
    finally:
        daemon.remove_containers()
        umount(str(source))


def test_mounts_and_users_after_kill_9(daemon: Sampand) -> None:
    options = {"type": "tmpfs", "device": "tmpfs"}
    daemon.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": options})
    for name in ("one", "two"):
        create(daemon, name, {"Binds": ["memory:/m"]}, "sleep", "60")
        daemon.call("POST", f"/containers/{name}/start")
    data = str(daemon.data / "volumes/memory/_data")
    daemon.kill()
    daemon.start()
    assert daemon.mounts() == [data]
    daemon.call("DELETE", "/containers/one?force=1")
    assert daemon.mounts() == [data]
    daemon.kill()
    pid = daemon.process
    assert pid is not None
    daemon.start()
    daemon.call("POST", "/containers/two/kill")
    wait_for(lambda: daemon.mounts() == [], "unmounted with the last user")


def test_a_container_that_ended_while_sampand_was_away(daemon: Sampand) -> None:
    options = {"type": "tmpfs", "device": "tmpfs"}
    daemon.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": options})
    create(daemon, "short", {"Binds": ["memory:/m"]}, "sleep", "60")
    daemon.call("POST", "/containers/short/start")
    pid = daemon.call("GET", "/containers/short/json")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, 9)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "it is dead")
    daemon.start()
    wait_for(lambda: daemon.mounts() == [], "what nobody uses is unmounted")


def test_anonymous_volumes_of_a_container_that_ended_meanwhile(daemon: Sampand) -> None:
    create(daemon, "gone", {"AutoRemove": True}, "sleep", "60", Volumes={"/v": {}})
    daemon.call("POST", "/containers/gone/start")
    pid = daemon.call("GET", "/containers/gone/json")["State"]["Pid"]
    assert len(volumes(daemon)) == 1
    daemon.kill()
    os.kill(pid, 9)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "it is dead")
    daemon.start()
    wait_for(lambda: volumes(daemon) == [], "--rm takes its volumes")
    wait_for(lambda: os.listdir(daemon.data / "volumes") == [], "and their files")


def test_killed_anywhere_while_volumes_come_and_go(daemon: Sampand) -> None:
    """Rows, directories and users agree after each kill -9; a named volume's data is always whole."""
    daemon.call("POST", "/volumes/create", {"Name": "precious"})
    (daemon.data / "volumes/precious/_data/file").write_text("data")
    for round in range(8):
        stop = threading.Event()

        def churn(stop: threading.Event = stop) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    body = {
                        "Image": "busybox",
                        "Cmd": ["true"],
                        "Volumes": {"/etc": {}, "/v": {}},
                        "HostConfig": {"NetworkMode": "none", "Binds": ["precious:/p", f"v{number % 3}:/n"]},
                    }
                    made = json.loads(daemon.request("POST", "/containers/create", body)[2])
                    daemon.request("DELETE", f"/containers/{made['Id']}?v=1")
                    daemon.request("DELETE", f"/volumes/v{number % 3}")
                except (OSError, ValueError, KeyError):
                    return

        worker = threading.Thread(target=churn)
        worker.start()
        stop.wait(0.05 + 0.07 * round)
        daemon.kill()
        stop.set()
        worker.join()
        daemon.start()
        daemon.remove_containers()
        assert (daemon.data / "volumes/precious/_data/file").read_text() == "data"
        daemon.call("POST", "/v1.51/volumes/prune")
        left = [name for name in volumes(daemon) if len(name) == 64]
        assert left == [], "anonymous volumes are all known and unused"
        wait_for(lambda: sorted(os.listdir(daemon.data / "volumes")) == volumes(daemon), "files go too")
        for volume in volumes(daemon):
            assert daemon.call("GET", f"/volumes/{volume}")["Name"] == volume
    wait_for(lambda: os.listdir(daemon.data / "tmp") == [], "nothing is left half-made")


def test_many_containers_are_the_first_of_a_volume(daemon: Sampand) -> None:
    """The first one fills it, the others find it filled: nobody meets half a copy."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(1500):
            tar.addfile(tarfile.TarInfo(f"many/{number}"), io.BytesIO())
    daemon.request("POST", "/images/create?fromSrc=-&repo=many", raw=archive.getvalue())
    answers: list[tuple[int, bytes]] = []

    def make() -> None:
        body = {
            "Image": "many",
            "Cmd": ["x"],
            "HostConfig": {"NetworkMode": "none", "Binds": ["first:/many"]},
        }
        status, _, answer = daemon.request("POST", "/containers/create", body)
        answers.append((status, answer if status != 201 else b""))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(201, b"")] * 8
    assert len(os.listdir(daemon.data / "volumes/first/_data")) == 1500


def test_volumes_after_the_machine_was_started_anew(daemon: Sampand) -> None:
    """Processes, mounts and the run directory are gone; what restarts finds its volumes mounted again."""
    options = {"type": "tmpfs", "device": "tmpfs"}
    daemon.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": options})
    again = {"Binds": ["memory:/m"], "RestartPolicy": {"Name": "always"}}
    create(daemon, "again", again, "sh", "-c", "touch /m/here; exec sleep 60")
    create(daemon, "once", {"Binds": ["memory:/m"]}, "sleep", "60")
    data = daemon.data / "volumes/memory/_data"
    for name in ("again", "once"):
        daemon.call("POST", f"/containers/{name}/start")
    states = [daemon.call("GET", f"/containers/{name}/json")["State"] for name in ("again", "once")]
    daemon.kill()
    for state in states:
        (parent,) = [
            line.split()[1]
            for line in Path(f"/proc/{state['Pid']}/status").read_text().splitlines()
            if line.startswith("PPid:")
        ]
        os.kill(int(parent), 9)
        os.kill(state["Pid"], 9)
    for state in states:
        wait_for(lambda pid=state["Pid"]: not Path(f"/proc/{pid}").exists(), "it is dead")
    umount(str(data))
    shutil.rmtree(daemon.run)
    daemon.start()
    wait_for(lambda: (data / "here").exists(), "the one that restarts has its volume")
    assert daemon.mounts() == [str(data)]
    daemon.call("DELETE", "/containers/again?force=1")
    wait_for(lambda: daemon.mounts() == [], "nobody uses it any more")


def test_copying_through_a_volume_that_is_a_mount(daemon: Sampand, tmp_path: Path) -> None:
    source = tmp_path / "srv"
    source.mkdir()
    options = {"type": "none", "device": str(source), "o": "bind"}
    daemon.call("POST", "/volumes/create", {"Name": "srv", "DriverOpts": options})
    create(daemon, "idle", {"Binds": ["srv:/s"]}, "true")
    (tmp_path / "file").write_text("copied")
    done = daemon.docker("cp", str(tmp_path / "file"), "idle:/s/file")
    assert done.code == 0, done.err
    assert (source / "file").read_text() == "copied"
    assert daemon.docker("cp", "idle:/s/file", str(tmp_path / "back")).code == 0
    assert (tmp_path / "back").read_text() == "copied"
    wait_for(lambda: daemon.mounts() == [], "unmounted after the copy")


def test_removed_right_after_its_last_user(daemon: Sampand) -> None:
    """The unmount happens behind the user's back; a removal waits for it."""
    options = {"type": "tmpfs", "device": "tmpfs"}
    for _ in range(10):
        daemon.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": options})
        create(daemon, "user", {"Binds": ["memory:/m"]}, "sleep", "60")
        daemon.call("POST", "/containers/user/start")
        daemon.call("DELETE", "/containers/user?force=1")
        daemon.call("DELETE", "/volumes/memory")
        assert daemon.mounts() == []
        assert not (daemon.data / "volumes/memory").exists()


def test_killed_between_the_removal_and_its_unmount(daemon: Sampand) -> None:
    """What is marked as removed and still mounted is unmounted by the next start, and then removed."""
    options = {"type": "tmpfs", "device": "tmpfs"}
    daemon.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": options})
    create(daemon, "user", {"Binds": ["memory:/m"]}, "sleep", "60")
    daemon.call("POST", "/containers/user/start")
    pid = daemon.call("GET", "/containers/user/json")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, 9)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "it is dead")
    with Database(str(daemon.data / "state.db")) as db:
        db.execute("DELETE FROM volume_users")
        db.execute("DELETE FROM containers")
        db.execute("UPDATE volumes SET removing = 1")
    daemon.start()
    wait_for(lambda: daemon.mounts() == [], "unmounted")
    assert volumes(daemon) == []
    assert not (daemon.data / "volumes/memory").exists()
