"""Images coming in, getting names, going away; the layout on disk judged by skopeo."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.store_kit import entry, image_archive, tar

from sampan.errors import Conflict, InvalidArgument, NotFound, Unavailable
from sampan.ids import Digest, digest_hex, new_container_id
from sampan.spec.image import ContainerDefaults, History, ImageConfig, Platform, RootFS, encode
from sampan.store import hello
from sampan.store.model import ImageUser
from sampan.store.references import parse_reference
from sampan.store.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LAYER = tar(entry("etc", tarfile.DIRTYPE), (entry("etc/passwd"), b"root:x:0:0::/root:/bin/sh\n"))
UPPER = tar((entry("second"), b"layer"))
UNUSED = lambda _id: []  # noqa: E731


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    with Store(str(data)) as opened:
        yield opened


def load(store: Store, archive: bytes) -> list[tuple[str, Digest]]:
    loaded = store.images.load(io.BytesIO(archive))
    return [(str(one.reference.familiar) if one.reference else "", one.image_id) for one in loaded]


def files_of(data: Path) -> list[str]:
    """Return what a failed load must not change."""
    ignored = ("lock", "state.db", "index.json", "oci-layout")
    return sorted(
        str(path.relative_to(data))
        for path in data.rglob("*")
        if not path.is_dir() and not path.name.startswith(ignored)
    )


class Pipe:
    """A stream that cannot seek and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 1000))


# --- loading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_docker_save_of_the_old_form(store: Store, pack: Callable[[bytes], bytes]) -> None:
    archive = pack(image_archive([LAYER, UPPER], tags=["app:1", "registry.example:5000/app"]))
    loaded = store.images.load(Pipe(archive))
    assert [str(one.reference) for one in loaded] == [
        "docker.io/library/app:1",
        "registry.example:5000/app:latest",
    ]
    image = store.images.resolve("app:1")
    assert image.id == loaded[0].image_id
    assert [tag.familiar for tag in image.tags] == ["app:1", "registry.example:5000/app:latest"]
    assert image.layers == tuple(f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (LAYER, UPPER))
    assert image.size_bytes == len(b"root:x:0:0::/root:/bin/sh\n") + len(b"layer")


@pytest.mark.peers
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("packer", [["cat"], ["gzip"], ["zstd", "-q"]], ids=["plain", "gzip", "zstd"])
def test_what_skopeo_copies_out_loads_again(
    store: Store, data: Path, tmp_path: Path, form: str, packer: list[str]
) -> None:
    load(store, image_archive([LAYER, UPPER], tags=["app:1"]))
    source = f"oci:{data}/images:docker.io/library/app:1"
    inspected = json.loads(
        subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True).stdout
    )
    assert len(inspected["Layers"]) == 2
    target = tmp_path / "archive.tar"
    subprocess.run(["skopeo", "copy", "-q", source, f"{form}:{target}:other/name:2"], check=True)
    packed = subprocess.run(packer, input=target.read_bytes(), check=True, capture_output=True).stdout
    with Store(str(tmp_path / "second")) as second:
        ((name, image_id),) = load(second, packed)
        assert name == "other/name:2"
        assert image_id == store.images.resolve("app:1").id
        snapshot = second.snapshots.prepare(new_container_id(), second.images.get(image_id))
        assert [sorted(os.listdir(path)) for path in snapshot.lower[:2]] == [["etc"], ["second"]]


@pytest.mark.peers
def test_layers_that_umoci_makes(store: Store, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_bytes(b"by umoci")
    for command in (
        ["umoci", "init", "--layout", layout],
        ["umoci", "new", "--image", f"{layout}:v1"],
        ["umoci", "insert", "--image", f"{layout}:v1", tmp_path / "new", "/"],
        ["umoci", "insert", "--image", f"{layout}:v1", "--opaque", tmp_path / "new", "/opaque"],
        ["umoci", "insert", "--image", f"{layout}:v1", "--whiteout", "/file"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    archive = subprocess.run(["tar", "-C", layout, "-cf", "-", "."], check=True, capture_output=True).stdout
    ((name, image_id),) = load(store, archive)
    assert name == "", "a bare tag names no repository"
    assert len(store.images.get(image_id).layers) == 3
    container = new_container_id()
    store.snapshots.prepare(container, store.images.get(image_id))
    assert store.snapshots.read_file(container, "/file") is None
    assert store.snapshots.read_file(container, "/opaque/file") == b"by umoci"


def oci_archive(
    change: Callable[[dict[str, bytes], dict[str, Any]], None] | None = None, layer: bytes = LAYER
) -> bytes:
    """Return an OCI archive of one image; change may alter its files and the parsed manifest first."""
    files: dict[str, bytes] = {}

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    plain = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        rootfs=RootFS(diff_ids=[f"sha256:{hashlib.sha256(plain).hexdigest()}"]),
    )
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(encode(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    if change:
        change(files, manifest)
    described = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    described["annotations"] = {"io.containerd.image.name": "docker.io/library/oci:1"}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    files.setdefault("index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())
    return tar(*[(entry(name), content) for name, content in files.items()])


def test_an_oci_archive_keeps_its_manifest(store: Store, data: Path) -> None:
    ((name, image_id),) = load(store, oci_archive(layer=gzip.compress(LAYER)))
    assert name == "oci:1"
    manifest = store.images.get(image_id).manifest
    assert (data / "images" / "blobs" / "sha256" / manifest.digest[7:]).exists()


def nested_index(platforms: list[dict[str, Any]]) -> bytes:
    """Return an OCI archive whose index.json names an index with an image for each platform."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(document: object, media_type: str, **more: object) -> dict[str, Any]:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    manifests = []
    for platform in platforms:
        config = {**platform, "rootfs": {"type": "layers", "diff_ids": []}, "author": json.dumps(platform)}
        manifest = {
            "schemaVersion": 2,
            "config": blob(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [],
        }
        manifests.append(blob(manifest, "application/vnd.oci.image.manifest.v1+json", platform=platform))
    attestation = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    manifests.insert(0, {**manifests[0], **attestation})
    index = blob({"schemaVersion": 2, "manifests": manifests}, "application/vnd.oci.image.index.v1+json")
    index["annotations"] = {"org.opencontainers.image.ref.name": "docker.io/library/multi:1"}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [index]}).encode()
    return tar(*[(entry(name), content) for name, content in files.items()])


MANY = [
    {"os": "windows", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm64", "variant": "v8"},
    {"os": "linux", "architecture": "amd64"},
]


def test_of_a_nested_index_the_image_for_the_platform_is_taken(store: Store) -> None:
    arm = store.images.load(
        io.BytesIO(nested_index(MANY)), platform=Platform(os="linux", architecture="arm64")
    )
    assert store.images.get(arm[0].image_id).config.architecture == "arm64"
    amd = store.images.load(
        io.BytesIO(nested_index(MANY)), platform=Platform(os="linux", architecture="amd64")
    )
    assert store.images.resolve("multi:1").id == amd[0].image_id
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        store.images.load(io.BytesIO(nested_index(MANY)), platform=Platform(os="linux", architecture="s390x"))


def test_a_name_moves_to_the_image_loaded_last(store: Store) -> None:
    ((_, first),) = load(store, image_archive([LAYER], tags=["app:1"]))
    ((_, second),) = load(store, image_archive([UPPER], tags=["app:1"]))
    assert store.images.resolve("app:1").id == second
    assert store.images.get(first).references == ()


def test_links_between_layers_as_old_dockers_wrote_them(store: Store) -> None:
    diff_id = "sha256:" + hashlib.sha256(LAYER).hexdigest()
    config = encode(ImageConfig(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=[diff_id, diff_id])))
    manifest = json.dumps(
        [{"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}]
    ).encode()
    archive = tar(
        (entry("a/layer.tar"), LAYER),
        entry("b/layer.tar", tarfile.SYMTYPE, linkname="../a/layer.tar"),
        (entry("c.json"), config),
        (entry("manifest.json"), manifest),
    )
    ((name, image_id),) = load(store, archive)
    assert name == ""
    assert len(store.images.get(image_id).layers) == 2


def change_manifest(**changes: object) -> bytes:
    def change(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest.update(changes)

    return oci_archive(change)


def damaged_blob() -> bytes:
    def change(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
        name = max(files, key=lambda key: len(files[key]))
        files[name] = files[name][:-1] + b"X"

    return oci_archive(change)


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__delitem__(name)


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__setitem__(name, content)


def wrong_size(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["size"] += 1


def wrong_digest(_files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["digest"] = "sha256:../../../etc/passwd"


GZIP_OF_OTHER = gzip.compress(UPPER)
BAD_CONFIG = encode(
    ImageConfig(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=["sha256:" + "0" * 64]))
)
WINDOWS = ImageConfig(architecture="amd64", os="windows", rootfs=RootFS(diff_ids=["sha256:" + "0" * 64]))
REFUSED = {
    "empty": (b"", "holds no image"),
    "no archive": (b"hello" * 1000, "not a tar archive"),
    "a root file system": (LAYER, "neither manifest.json nor index.json"),
    "cut": (image_archive([LAYER])[:3000], "ends in the middle"),
    "layer missing": (image_archive([LAYER], change=drop("0/layer.tar")), "'0/layer.tar' is missing"),
    "layer replaced": (image_archive([LAYER], change=put("0/layer.tar", UPPER)), "its content has digest"),
    "layer is no tar": (image_archive([b"junk" * 400]), "not a tar archive"),
    "hostile layer": (image_archive([tar((entry("../../x"), b""))]), "leads out of the root"),
    "config is no JSON": (
        image_archive([LAYER], change=put("manifest.json", b'[{"Config":"0/layer.tar","Layers":[]}]')),
        "invalid JSON",
    ),
    "manifest is no list": (image_archive([LAYER], change=put("manifest.json", b"{}")), "manifest.json"),
    "no images": (image_archive([LAYER], change=put("manifest.json", b"[]")), "holds no image"),
    "bad name": (image_archive([LAYER], tags=["UPPER:1"]), "must be lowercase"),
    "wrong number of layers": (
        image_archive([LAYER], config=ImageConfig(architecture="amd64", os="linux", rootfs=RootFS())),
        "0 in its configuration",
    ),
    "for windows": (image_archive([LAYER], config=WINDOWS), "cannot be used on this platform"),
    "blob damaged": (damaged_blob(), "is damaged"),
    "size wrong": (oci_archive(wrong_size), "bytes, not"),
    "digest with a path": (oci_archive(wrong_digest), "is not sha256"),
    "index and manifest in one": (change_manifest(manifests=[]), "ambiguous"),
    "manifest says it is an index": (
        change_manifest(mediaType="application/vnd.oci.image.index.v1+json"),
        "its descriptor",
    ),
    "schema version 1": (change_manifest(schemaVersion=1), "schema version 1"),
    "config of another type": (
        change_manifest(config={"mediaType": "text/plain", "digest": "sha256:" + "0" * 64, "size": 1}),
        "text/plain",
    ),
    "too long a document": (
        image_archive([LAYER], change=put("manifest.json", b"[" + b" " * (5 << 20) + b"]")),
        "is the most",
    ),
    "a device": (tar(entry("manifest.json", tarfile.CHRTYPE)), "no file, link or directory"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_archives_leave_nothing_behind(store: Store, data: Path, what: str) -> None:
    load(store, image_archive([UPPER], tags=["other:1"]))
    before, images = files_of(data), store.images.list()
    archive, message = REFUSED[what]
    with pytest.raises(InvalidArgument, match=message):
        store.images.load(io.BytesIO(archive))
    assert files_of(data) == before
    assert os.listdir(data / "tmp") == []
    assert store.images.list() == images


def test_of_two_images_with_one_damaged_none_is_taken(store: Store, data: Path) -> None:
    good, bad = encode(config_of(LAYER)), encode(config_of(UPPER))
    manifest = [
        {"Config": "good", "RepoTags": ["good:1"], "Layers": ["1"]},
        {"Config": "bad", "RepoTags": [], "Layers": ["2"]},
    ]
    archive = tar(
        (entry("good"), good),
        (entry("bad"), bad),
        (entry("1"), LAYER),
        (entry("2"), LAYER + bytes(512)),
        (entry("manifest.json"), json.dumps(manifest).encode()),
    )
    with pytest.raises(InvalidArgument, match="its content has digest"):
        load(store, archive)
    assert store.images.list() == []
    assert files_of(data) == []


def config_of(*layers: bytes, **fields: Any) -> ImageConfig:
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    return ImageConfig(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=diff_ids), **fields)


def test_the_same_image_loaded_by_many_threads_is_unpacked_once(store: Store, data: Path) -> None:
    archive = image_archive([LAYER, UPPER, tar((entry("big"), bytes(1 << 20)))], tags=["app:1"])
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(load(store, archive))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 6
    assert len(os.listdir(data / "layers")) == 3
    assert len(os.listdir(data / "l")) == 3


# --- names and removal -----------------------------------------------------------------------------------


def test_every_way_to_name_an_image(store: Store) -> None:
    ((_, image_id),) = load(store, image_archive([LAYER], tags=["app"]))
    short = digest_hex(image_id)
    for text in (
        "app",
        "app:latest",
        "library/app",
        "docker.io/library/app:latest",
        image_id,
        short,
        short[:12],
        image_id[:20],
        short[:2],
    ):
        assert store.images.resolve(text).id == image_id, text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing", "No such image: missing:latest"),
        ("missing:2", "No such image: missing:2"),
        ("registry.example/x", "No such image: registry.example/x:latest"),
        ("sha256:" + "1" * 64, "No such image: sha256:" + "1" * 64),
        ("1" * 64, "No such image: sha256:" + "1" * 64),
        ("abcdef123456", "No such image: abcdef123456:latest"),
    ],
)
def test_unknown_images(store: Store, text: str, message: str) -> None:
    with pytest.raises(NotFound, match=f"^{message}$"):
        store.images.resolve(text)


def test_a_beginning_that_two_ids_have_is_refused(store: Store) -> None:
    for number in range(20):
        load(store, image_archive([tar((entry("f"), b"%d" % number))], tags=[f"a:{number}"]))
    ids = [digest_hex(image.id) for image in store.images.list()]
    twice = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    with pytest.raises(InvalidArgument, match=f"multiple IDs found with provided prefix: {twice}"):
        store.images.resolve(twice)


def test_untag_then_delete(store: Store, data: Path) -> None:
    ((_, image_id),) = load(store, image_archive([LAYER, UPPER], tags=["app:1"]))
    store.images.tag(store.images.resolve("app:1"), parse_reference("other/app:2"))
    removed = store.images.remove("app:1", users=UNUSED)
    assert [(one.kind, one.text) for one in removed] == [("untagged", "app:1")]
    removed = store.images.remove("other/app:2", users=UNUSED)
    assert [one.kind for one in removed] == ["untagged", "deleted", "deleted", "deleted"]
    assert removed[1].text == image_id
    assert files_of(data) == []
    assert os.listdir(data / "layers") == os.listdir(data / "l") == []


def test_shared_layers_stay(store: Store, data: Path) -> None:
    load(store, image_archive([LAYER], tags=["low:1"]))
    load(store, image_archive([LAYER, UPPER], tags=["high:1"]))
    store.images.remove("high:1", users=UNUSED)
    assert len(os.listdir(data / "layers")) == 1
    assert store.images.resolve("low:1").size_bytes > 0


def test_conflicts_change_nothing(store: Store) -> None:
    image_id = load(store, image_archive([LAYER], tags=["app:1", "other:1"]))[0][1]
    with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple repositories"):
        store.images.remove(image_id, users=UNUSED)
    container = new_container_id()
    with pytest.raises(Conflict, match=f"being used by running container {container[:12]}"):
        store.images.remove(image_id, force=True, users=lambda _id: [ImageUser(container, running=True)])
    assert len(store.images.get(image_id).tags) == 2
    assert [one.kind for one in store.images.remove(image_id, force=True, users=UNUSED)][:3] == [
        "untagged",
        "untagged",
        "deleted",
    ]


def test_the_index_follows_the_names(store: Store, data: Path) -> None:
    load(store, image_archive([LAYER], tags=["app:1"]))
    store.images.tag(store.images.resolve("app:1"), parse_reference("app:2"))
    index = json.loads((data / "images" / "index.json").read_text())
    names = [one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]]
    assert names == ["docker.io/library/app:1", "docker.io/library/app:2"]
    store.images.remove("app:1", users=UNUSED)
    store.images.remove("app:2", users=UNUSED)
    assert json.loads((data / "images" / "index.json").read_text())["manifests"] == []


def test_history_joins_steps_and_sizes(store: Store) -> None:
    history = [
        History(created="2024-01-01T00:00:00Z", created_by="ADD file"),
        History(created="2024-01-02T00:00:00Z", created_by="ENV a=b", empty_layer=True),
        History(created="2024-01-03T00:00:00Z", created_by="RUN x", comment="buildkit"),
    ]
    config = config_of(LAYER, UPPER, history=history)
    ((_, image_id),) = load(store, image_archive([LAYER, UPPER], config=config, tags=["app:1"]))
    steps = store.images.history(store.images.get(image_id))
    assert [(step.created_by, step.size_bytes) for step in steps] == [
        ("RUN x", 5),
        ("ENV a=b", 0),
        ("ADD file", 26),
    ]
    assert steps[0].image_id == image_id
    assert steps[0].tags[0].familiar == "app:1"
    assert steps[1].image_id is None


# --- import, add -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packer", [["cat"], ["gzip"], ["zstd", "-q"], ["bzip2"], ["xz"]], ids=lambda packer: str(packer[0])
)
def test_import_of_a_root_file_system(store: Store, packer: list[str]) -> None:
    packed = subprocess.run(packer, input=LAYER, check=True, capture_output=True).stdout
    image_id = store.images.import_rootfs(
        Pipe(packed),
        reference=parse_reference("mine:1"),
        message="made by hand",
        changes=['CMD ["/bin/sh"]', "ENV A=1 B='two words'", "EXPOSE 80"],
    )
    image = store.images.resolve("mine:1")
    assert image.id == image_id
    assert image.config.config.Cmd == ["/bin/sh"]
    assert image.config.config.Env == ["A=1", "B=two words"]
    assert image.config.comment == "made by hand"
    assert image.layers == (f"sha256:{hashlib.sha256(LAYER).hexdigest()}",)


@pytest.mark.parametrize(
    ("archive", "changes", "message"),
    [(b"junk" * 400, [], "not a tar archive"), (LAYER, ["FROM x"], "FROM is not a valid change command")],
)
def test_a_refused_import_leaves_nothing(
    store: Store, data: Path, archive: bytes, changes: list[str], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        store.images.import_rootfs(io.BytesIO(archive), reference=parse_reference("x"), changes=changes)
    assert store.images.list() == []
    assert files_of(data) == []


def test_an_image_made_here(store: Store) -> None:
    config = encode(config_of(LAYER, UPPER, config=ContainerDefaults(Cmd=["x"])))
    image_id = store.images.add(
        config, [io.BytesIO(LAYER), io.BytesIO(gzip.compress(UPPER))], references=[parse_reference("built:1")]
    )
    assert store.images.resolve("built:1").id == image_id


# --- the store as a whole --------------------------------------------------------------------------------


def test_a_second_process_is_refused(store: Store, data: Path) -> None:
    with pytest.raises(Unavailable, match=f"data root .* is in use by process {os.getpid()}"):
        Store(str(data))
    store.db.query("SELECT 1")  # the first goes on


def test_nobody_else_may_look_in(store: Store, data: Path) -> None:
    load(store, image_archive([LAYER]))
    assert oct(data.stat().st_mode & 0o777) == oct(0o700)
    assert oct((data / "state.db").stat().st_mode & 0o777) == oct(0o600)


def test_everything_is_there_after_a_restart(data: Path) -> None:
    with Store(str(data)) as store:
        load(store, image_archive([LAYER, UPPER], tags=["app:1"]))
        container = new_container_id()
        snapshot = store.snapshots.prepare(container, store.images.resolve("app:1"))
        before = store.images.list()
    with Store(str(data)) as store:
        assert store.images.list() == before
        assert store.snapshots.get(container) == snapshot
        assert all(os.path.isdir(path) for path in snapshot.lower)


def test_what_no_record_knows_is_swept_at_the_start(data: Path) -> None:
    with Store(str(data)) as store:
        load(store, image_archive([LAYER], tags=["app:1"]))
    keep = files_of(data)
    (data / "layers" / ("1" * 64) / "diff").mkdir(parents=True)
    (data / "images" / "blobs" / "sha256" / ("2" * 64)).write_bytes(b"x")
    (data / "l" / "99").symlink_to("../layers/" + "1" * 64)
    (data / "tmp" / "staging-1").mkdir()
    (data / "tmp" / "staging-1" / "file").write_bytes(b"x")
    (data / "tmp" / "blob-1").write_bytes(b"x")
    (data / "l" / "1").unlink()
    with Store(str(data)) as store:
        store.wait_until_swept()
        assert files_of(data) == keep
        assert os.path.isdir(
            store.snapshots.prepare(new_container_id(), store.images.resolve("app:1")).lower[0]
        )


def test_the_hello_image_runs(store: Store) -> None:
    with hello.archive() as archive:
        store.images.load(archive)
    image = store.images.resolve("hello")
    snapshot = store.snapshots.prepare(new_container_id(), image)
    done = subprocess.run(
        ["chroot", snapshot.lower[0], *(image.config.config.Cmd or [])], capture_output=True, check=True
    )
    assert done.stdout == hello.TEXT
