from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.harness import run_isolated, wait_until

from sampan.kernel import constants as c
from sampan.kernel import files
from sampan.kernel.inotify import Inotify
from sampan.kernel.mounts import mount
from sampan.kernel.process import list_fds
from sampan.kernel.syscall import switched_off


def test_write_atomic_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    old_umask = os.umask(0o077)
    try:
        files.write_atomic(path, b"one", 0o644)
    finally:
        os.umask(old_umask)
    first = path.stat()
    assert first.st_mode & 0o7777 == 0o644
    files.write_atomic(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != first.st_ino
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


def test_write_atomic_replaces_a_link_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    files.write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "kept"
    assert not (tmp_path / "link").is_symlink()


def test_write_atomic_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A file system too small for the new content."""

    def inside() -> None:
        mount("t", tmp_path, "tmpfs", 0, "size=16k")
        path = tmp_path / "file"
        files.write_atomic(path, b"old")
        before = list_fds()
        with pytest.raises(OSError, match="No space left") as caught:
            files.write_atomic(path, bytes(1 << 20))
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
        (tmp_path / "folder").mkdir()
        with pytest.raises(IsADirectoryError):
            files.write_atomic(tmp_path / "folder", b"x")
        assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
        assert list_fds() == before

    run_isolated(inside)


def test_write_atomic_with_a_relative_path(tmp_path: Path) -> None:
    def inside() -> None:
        os.chdir(tmp_path)
        files.write_atomic("here", b"x")

    run_isolated(inside)
    assert (tmp_path / "here").read_bytes() == b"x"


def test_write_file_shows_what_was_refused() -> None:
    def inside() -> None:
        with pytest.raises(OSError, match=r"write b'nonsense': Invalid argument: '/proc/self/oom_score_adj'"):
            files.write_file("/proc/self/oom_score_adj", b"nonsense")

    run_isolated(inside)


def test_read_file_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert files.read_file(path, limit_bytes=100) == b"x" * 100
    with pytest.raises(OSError, match="over 99 bytes") as caught:
        files.read_file(path, limit_bytes=99)
    assert caught.value.errno == errno.EFBIG


def test_sealed_memory_cannot_be_changed_by_anybody() -> None:
    fd = files.memfd_sealed("sealed", b"content")
    try:
        assert os.read(fd, 99) == b"content"
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        try:
            for change in (lambda: os.pwrite(again, b"X", 0), lambda: os.ftruncate(again, 0)):
                with pytest.raises(PermissionError):
                    change()
        finally:
            os.close(again)
        assert os.pread(fd, 99, 0) == b"content"
    finally:
        os.close(fd)


def test_sealed_program_runs() -> None:
    fd = files.memfd_sealed("program", Path("/bin/true").read_bytes(), executable=True)
    try:
        assert subprocess.run([f"/proc/self/fd/{fd}"], pass_fds=[fd], check=False).returncode == 0
    finally:
        os.close(fd)


# An entrypoint `#!/proc/self/exe` makes the runtime run itself inside the container; what is got hold of then
# can be opened again once the runtime's process has ended and the file is no longer busy.
WHO_AM_I = """
import errno, json, json.decoder, os, sys
said = {"prefix": sys.prefix, "base": sys.base_prefix, "json": json.__file__, "path": sys.path}
try:
    os.close(os.open(f"/proc/{os.getpid()}/exe", os.O_RDWR))
except OSError as exc:
    said["open"] = errno.errorcode[exc.errno]
print(json.dumps(said))
"""


def spawn(program: int | str, arguments: list[str], output: int) -> int:
    """Execute a program (its path, or its descriptor) and return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(output, 1)
            os.execve(program, arguments, {})
        finally:
            os._exit(127)
    return pid


def test_interpreter_run_through_a_read_only_clone_is_at_home() -> None:
    """It finds its prefix and its modules as ever."""
    interpreter = os.path.realpath(sys.executable)
    arguments = [interpreter, "-I", "-S", "-c", WHO_AM_I]

    def inside() -> str:
        read_end, write_end = os.pipe()
        pid = spawn(files.readonly_clone(interpreter), arguments, write_end)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return os.read(read_end, 65536).decode()

    plain = subprocess.run(arguments, capture_output=True, check=True, env={}).stdout
    assert json.loads(run_isolated(inside)) == json.loads(plain)


@pytest.mark.parametrize(("cloned", "answer"), [(True, "EROFS"), (False, "done")])
def test_executable_is_out_of_reach_even_when_it_is_busy_no_longer(
    tmp_path: Path, cloned: bool, answer: str
) -> None:
    """CVE-2019-5736: root, no sandbox at all; only the read-only mount stands before the file."""
    victim = tmp_path / "program"
    victim.write_bytes(Path("/bin/cat").read_bytes())
    victim.chmod(0o755)

    def inside() -> dict[str, str]:
        said_end, told_end = os.pipe()
        os.dup2(os.pipe()[0], 0)  # cat waits
        pid = spawn(files.readonly_clone(victim) if cloned else str(victim), ["cat"], told_end)
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "program\n", "exec")
        held = {"O_PATH": os.open(f"/proc/{pid}/exe", os.O_PATH), "O_RDONLY": os.open(f"/proc/{pid}/exe", 0)}
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(said_end)
        attacks = {
            f"{name} {kind}": (lambda attack=attack, fd=fd: attack(f"/proc/self/fd/{fd}"))
            for kind, fd in held.items()
            for name, attack in {
                "write": lambda path: os.open(path, os.O_WRONLY),
                "read-write": lambda path: os.open(path, os.O_RDWR),
                "utime": os.utime,
                "chmod": lambda path: os.chmod(path, 0o777),
                "truncate": lambda path: os.truncate(path, 0),
            }.items()
        }
        return {name: outcome(attack) for name, attack in attacks.items()}

    results = run_isolated(inside)
    assert set(results.values()) == {answer}, results
    assert (victim.read_bytes() == Path("/bin/cat").read_bytes()) == cloned


def outcome(attack: Callable[[], object]) -> str:
    try:
        attack()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return "done"


def test_read_only_clone_of_a_file_and_of_a_directory(tmp_path: Path) -> None:
    def inside() -> None:
        (tmp_path / "file").write_text("x")
        fd = files.readonly_clone(tmp_path / "file")
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        assert os.read(again, 9) == b"x"
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        folder = files.readonly_clone(tmp_path)
        with pytest.raises(OSError, match="Read-only file system"):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=folder)

    run_isolated(inside)


def test_file_system_types() -> None:
    for path, magic in (
        ("/proc", c.PROC_SUPER_MAGIC),
        ("/sys", c.SYSFS_MAGIC),
        ("/dev/pts", c.DEVPTS_SUPER_MAGIC),
    ):
        fd = os.open(path, os.O_PATH)
        assert files.file_system_type(fd) == magic
        os.close(fd)


@pytest.mark.parametrize("off", [(), ("fchmodat2",)], ids=["call", "fallback"])
def test_mode_of_a_path_descriptor(tmp_path: Path, off: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_PATH)
    with switched_off(*off):
        files.fchmod_path(fd, 0o4711)
    os.close(fd)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o4711


def test_file_system_is_written_out(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    files.sync_file_system(fd)
    os.close(fd)
    with pytest.raises(OSError, match="syncfs: Bad file descriptor"):
        files.sync_file_system(fd)


def test_inotify_tells_of_writes_and_renames(tmp_path: Path) -> None:
    with Inotify() as inotify:
        assert not os.get_inheritable(inotify.fd)
        watch = inotify.add(tmp_path, c.IN_CREATE | c.IN_MOVED_FROM | c.IN_MOVED_TO | c.IN_CLOSE_WRITE)
        assert inotify.read() == []
        (tmp_path / "log").write_text("x")
        os.rename(tmp_path / "log", tmp_path / "log.1")
        events = inotify.read()
        assert [(event.name, event.mask) for event in events] == [
            ("log", c.IN_CREATE),
            ("log", c.IN_CLOSE_WRITE),
            ("log", c.IN_MOVED_FROM),
            ("log.1", c.IN_MOVED_TO),
        ]
        assert events[2].cookie == events[3].cookie != 0
        assert {event.watch for event in events} == {watch}
        inotify.remove(watch)
        assert [event.mask for event in inotify.read()] == [c.IN_IGNORED]
        with pytest.raises(FileNotFoundError, match="inotify_add_watch"):
            inotify.add(tmp_path / "missing", c.IN_MODIFY)
