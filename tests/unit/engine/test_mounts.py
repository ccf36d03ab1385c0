from __future__ import annotations

import pytest
from tests.unit.engine.plans import make_plan

from sampan.engine.bundle.mount_parsing import parse_bind, parse_mounts
from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.bundle.mounts import make_mounts, root_propagation
from sampan.errors import InvalidArgument, SampanError
from sampan.spec import docker


@pytest.mark.parametrize(
    ("text", "options", "mode"),
    [
        pytest.param("/a:/b", ("rbind", "rprivate"), "", id="plain"),
        pytest.param("/a:/b:ro", ("rbind", "rprivate", "rro"), "ro", id="read-only is recursive"),
        pytest.param("/a:/b:ro,rslave,z", ("rbind", "rslave", "rro"), "ro,rslave,z", id="propagation, label"),
        pytest.param("/a:/b:cached", ("rbind", "rprivate"), "cached", id="macOS consistency"),
    ],
)
def test_bind(text: str, options: tuple[str, ...], mode: str) -> None:
    mount = parse_bind(text)
    assert (mount.source, mount.target, mount.options, mount.mode) == ("/a", "/b", options, mode)
    assert mount.make_source


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("/a:b", InvalidArgument, "mount path must be absolute"),
        ("a:b", InvalidArgument, 'invalid mount config for type "volume": invalid mount path'),
        ("/b:ro", InvalidArgument, "invalid volume specification: '/b:ro'"),
        ("/a:/b:z,Z", InvalidArgument, "invalid mode: z,Z"),
        ("/a:/b:nocopy", InvalidArgument, "field VolumeOptions must not be specified"),
        ("data:/b:rslave", InvalidArgument, "field BindOptions must not be specified"),
        ("/a:/b:idmap,uid=5", InvalidArgument, "contradict each other"),
        ("/a:/b:uid=x", InvalidArgument, "invalid uid 'x'"),
        ("/a:/b:idmap=uids=0-0-1", InvalidArgument, "invalid mode"),
        ("/a:/b:idmap=uids=0-0-2#1-5-1;gids=0-0-1", InvalidArgument, "invalid mode"),
        ("/a:/", InvalidArgument, "destination can't be '/'"),
        ("/a:/..", InvalidArgument, "destination can't be '/'"),
        ("/a:/b:nosuch", InvalidArgument, "invalid mode: nosuch"),
        ("/a:/b:ro,rw", InvalidArgument, "invalid mode"),
        ("/a:/b:ro:x", InvalidArgument, "invalid volume specification"),
        (":/b", InvalidArgument, "invalid volume specification"),
        ("", InvalidArgument, "invalid volume specification"),
    ],
)
def test_wrong_bind(text: str, error: type[SampanError], match: str) -> None:
    with pytest.raises(error, match=match):
        parse_bind(text)


def one(mount: docker.Mount) -> UserMount:
    (found,) = parse_mounts(docker.HostConfig(Mounts=[mount]))
    return found


@pytest.mark.parametrize(
    ("read_only", "bind", "options"),
    [
        (False, docker.BindOptions(), ("rbind", "rprivate")),
        (True, docker.BindOptions(), ("rbind", "rprivate", "rro")),
        (True, docker.BindOptions(ReadOnlyNonRecursive=True), ("rbind", "rprivate", "ro")),
        (True, docker.BindOptions(ReadOnlyForceRecursive=True), ("rbind", "rprivate", "rro")),
        (True, docker.BindOptions(NonRecursive=True), ("bind", "rprivate", "ro")),
        (False, docker.BindOptions(Propagation="rshared"), ("rbind", "rshared")),
    ],
)
def test_mount_of_type_bind(read_only: bool, bind: docker.BindOptions, options: tuple[str, ...]) -> None:
    found = one(docker.Mount(Type="bind", Source="/a", Target="/b", ReadOnly=read_only, BindOptions=bind))
    assert found.options == options
    assert not found.make_source


@pytest.mark.parametrize(
    ("text", "name", "mode", "copy"),
    [
        pytest.param("data:/b", "data", "", True, id="named"),
        pytest.param("data:/b:nocopy,ro", "data", "nocopy,ro", False, id="nocopy"),
        pytest.param("/b", "", "", True, id="anonymous"),
    ],
)
def test_volume(text: str, name: str, mode: str, copy: bool) -> None:
    mount = parse_bind(text, volume_driver="x")
    assert (mount.kind, mount.name, mount.mode, mount.copy, mount.driver) == ("volume", name, mode, copy, "x")
    assert mount.anonymous == (not name)


def test_mount_of_type_volume() -> None:
    driver = docker.VolumeDriverConfig(Name="local", Options={"o": "ro"})
    options = docker.VolumeOptions(Labels={"a": "b"}, DriverConfig=driver, Subpath="x/y")
    found = one(docker.Mount(Type="volume", Source="v", Target="/b", VolumeOptions=options))
    assert (found.name, found.driver, found.subpath, found.copy) == ("v", "local", "x/y", False)
    assert (found.labels, found.driver_options) == ({"a": "b"}, {"o": "ro"})


def test_subpath_of_a_volume_is_left_to_the_runtime() -> None:
    mount = UserMount(kind="volume", source="/v/_data", target="/b", options=("rbind",), subpath="x")
    (made,) = [one for one in make_mounts(make_plan(), [mount]) if one["destination"] == "/b"]
    assert made == {
        "destination": "/b",
        "type": "bind",
        "source": "/v/_data",
        "options": ["rbind", "X-mount.subdir=x"],
    }


def test_create_mountpoint() -> None:
    options = docker.BindOptions(CreateMountpoint=True)
    assert one(docker.Mount(Type="bind", Source="/a", Target="/b", BindOptions=options)).make_source


@pytest.mark.parametrize(
    ("mount", "error", "match"),
    [
        (docker.Mount(Type="image", Target="/b"), InvalidArgument, "field Source must not be empty"),
        (docker.Mount(Type="volume", Target="/b", ReadOnly=True), InvalidArgument, "anonymous volumes"),
        (
            docker.Mount(Type="volume", Target="/b", VolumeOptions=docker.VolumeOptions(Subpath="x")),
            InvalidArgument,
            "must not set Subpath",
        ),
        (
            docker.Mount(
                Type="volume",
                Source="v",
                Target="/b",
                VolumeOptions=docker.VolumeOptions(Subpath="a/../../b"),
            ),
            InvalidArgument,
            "subpath must be a relative path within the volume",
        ),
        (docker.Mount(Type="npipe", Target="/b"), InvalidArgument, "Windows"),
        (docker.Mount(Type="nosuch", Target="/b"), InvalidArgument, "mount type unknown"),
        (docker.Mount(Type="bind", Target="/b"), InvalidArgument, "field Source must not be empty"),
        (docker.Mount(Type="bind", Source="a", Target="/b"), InvalidArgument, "must be absolute"),
        (docker.Mount(Type="bind", Source="/a"), InvalidArgument, "field Target must not be empty"),
        (docker.Mount(Type="tmpfs", Source="/a", Target="/b"), InvalidArgument, "must not be specified"),
        (
            docker.Mount(
                Type="bind", Source="/a", Target="/b", TmpfsOptions=docker.TmpfsOptions(SizeBytes=1)
            ),
            InvalidArgument,
            "TmpfsOptions must not be specified",
        ),
        (
            docker.Mount(
                Type="bind", Source="/a", Target="/b", BindOptions=docker.BindOptions(Propagation="x")
            ),
            InvalidArgument,
            "invalid propagation mode: x",
        ),
    ],
)
def test_wrong_mount(mount: docker.Mount, error: type[SampanError], match: str) -> None:
    with pytest.raises(error, match=match):
        one(mount)


def test_tmpfs_options() -> None:
    (found,) = parse_mounts(docker.HostConfig(Tmpfs={"/run": "size=1m,exec"}))
    assert found.options == ("nosuid", "nodev", "size=1m", "exec", "rprivate")
    typed = one(
        docker.Mount(
            Type="tmpfs",
            Target="/t",
            ReadOnly=True,
            TmpfsOptions=docker.TmpfsOptions(
                SizeBytes=4096, Mode=0o1777, Options=[["uid", "5"], ["noatime"]]
            ),
        )
    )
    assert typed.options[3:] == ("ro", "size=4096", "mode=1777", "uid=5", "noatime", "rprivate")
    with pytest.raises(InvalidArgument, match="invalid tmpfs option 'lowerdir=/'"):
        parse_mounts(docker.HostConfig(Tmpfs={"/run": "lowerdir=/"}))


def test_two_mounts_at_one_place() -> None:
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /b"):
        parse_mounts(docker.HostConfig(Binds=["/a:/b", "/c:/b/"]))


def test_parents_come_first() -> None:
    mounts = parse_mounts(docker.HostConfig(Binds=["/a:/x/y/z", "/a:/x"], Tmpfs={"/x/y": ""}))
    assert [mount.target for mount in mounts] == ["/x", "/x/y", "/x/y/z"]


def test_users_mount_takes_the_place_of_ours() -> None:
    host = docker.HostConfig(Binds=["/a:/etc/hosts"], Tmpfs={"/dev/shm": "size=1m"})
    made = make_mounts(make_plan(host=host), parse_mounts(host))
    places = [mount["destination"] for mount in made]
    assert places.count("/etc/hosts") == 1
    assert places.count("/dev/shm") == 1
    assert places.index("/dev") < places.index("/dev/shm")


def test_our_files_lie_over_a_volume_at_etc() -> None:
    host = docker.HostConfig(Binds=["etc:/etc", "/a:/etc/deep/er"])
    places = [mount["destination"] for mount in make_mounts(make_plan(host=host), parse_mounts(host))]
    assert places.index("/etc") < places.index("/etc/hosts") < places.index("/etc/deep/er")


def test_ipc_none_has_no_shm() -> None:
    host = docker.HostConfig(IpcMode="none")
    assert "/dev/shm" not in [mount["destination"] for mount in make_mounts(make_plan(host=host), ())]


@pytest.mark.parametrize(("kind", "want"), [("rslave", "rslave"), ("shared", "shared"), ("rprivate", "")])
def test_root_propagation(kind: str, want: str) -> None:
    assert root_propagation([parse_bind(f"/a:/b:{kind}")]) == want
