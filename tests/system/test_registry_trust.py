"""`policy.json` and `sampan image verify`: signatures by cosign's specification, made here with openssl.

No other verifier has seen them: Debian's skopeo and podman are built without sigstore.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.registry_kit import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    MadeImage,
    Registry,
    digest_of,
    make_image,
    make_index,
    needs_registry,
    serve_registry,
)
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.store_kit import entry, tar

from sampan.errors import Forbidden, InvalidArgument
from sampan.registry.client import Client
from sampan.registry.credentials import NOBODY
from sampan.registry.options import RegistryOptions
from sampan.store.platforms import host_platform
from sampan.store.references import parse_reference
from sampan.store.store import Store

pytestmark = needs_registry

AMD = make_image([tar((entry("file"), b"amd"))])
ARM = make_image([tar((entry("file"), b"arm"))], architecture="arm64")
OTHER = make_image([tar((entry("file"), b"other"))])
ANYTHING = [{"type": "insecureAcceptAnything"}]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`anna` (ECDSA, as cosign's), `ed` and `rsa`: NAME.key and NAME.pub."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = {
        "anna": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "ed": ["-algorithm", "ED25519"],
        "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    }
    for name, kind in kinds.items():
        subprocess.run(
            ["openssl", "genpkey", *kind, "-out", f"{name}.key"], cwd=folder, check=True, capture_output=True
        )
        subprocess.run(
            ["openssl", "pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub"],
            cwd=folder,
            check=True,
        )
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Registry]:
    """team/signed:1 and team/index:1 (its index alone) are signed by anna; team/plain:1 is not."""
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        running.put("team/signed", "1", AMD)
        running.put("team/plain", "1", OTHER)
        for image in (AMD, ARM):
            running.put("team/index", image.digest, image)
        index = make_index((AMD, "amd64"), (ARM, "arm64"))
        running.put_document("team/index", "1", index, OCI_INDEX)
        sign(running, keys, "anna", "team/signed", AMD.digest)
        sign(running, keys, "anna", "team/index", digest_of(index))
        yield running


def sign(
    registry: Registry,
    keys: Path,
    key: str,
    repository: str,
    digest: str,
    *,
    identity: str = "",
    claimed: str = "",
    damage: bool = False,
) -> None:
    """Do what `cosign sign --key` does."""
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": identity or f"{registry.domain}/{repository}:1"},
                "image": {"docker-manifest-digest": claimed or digest},
                "type": "cosign container image signature",
            },
            "optional": {"by": key},
        }
    ).encode()
    (keys / "payload").write_bytes(payload)
    how = ["pkeyutl", "-sign", "-rawin"] if key == "ed" else ["dgst", "-sha256", "-sign"]
    command = (
        ["openssl", *how, "-inkey", f"{key}.key", "-in", "payload"]
        if key == "ed"
        else ["openssl", *how, f"{key}.key", "payload"]
    )
    signature = subprocess.run(command, cwd=keys, check=True, capture_output=True).stdout
    if damage:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    config = b"{}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                    "digest": digest_of(payload),
                    "size": len(payload),
                    "annotations": {
                        "dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()
                    },
                }
            ],
        }
    ).encode()
    blobs = {digest_of(config): config, digest_of(payload): payload}
    made = MadeImage(manifest, OCI_MANIFEST, blobs, digest_of(config))
    registry.put(repository, f"sha256-{digest.removeprefix('sha256:')}.sig", made)


class Here:
    """A store, and a policy for its client."""

    def __init__(self, folder: Path) -> None:
        self.policy = folder / "policy.json"
        self.store = Store(str(folder / "data"))

    def say(self, scopes: dict[str, Any], default: Any = ANYTHING) -> None:
        self.policy.write_text(json.dumps({"default": default, "transports": {"docker": scopes}}))

    def pull(self, name: str) -> str:
        client = Client(RegistryOptions(certs=(), registries_conf="", policy=str(self.policy)))
        try:
            reference = parse_reference(name)
            sources = client.sources_as(reference, NOBODY)
            puller = client.puller(self.store.arrivals, reference, lambda line: None)
            return puller.pull(sources, platform=host_platform(), is_wanted=False).image_id
        finally:
            client.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.store.close()


def signed_by(keys: Path, *names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "sigstoreSigned", "keyPaths": [f"{keys}/{name}.pub" for name in names], **more}]


def test_a_signature_is_wanted(here: Here, registry: Registry, keys: Path) -> None:
    host = registry.domain
    here.say({f"{host}/team": signed_by(keys, "ed", "anna")})
    assert here.pull(f"{host}/team/signed:1") == AMD.config
    assert here.pull(f"{host}/team/signed@{AMD.digest}") == AMD.config
    assert here.pull(f"{host}/team/index:1") == AMD.config  # its index is signed
    with pytest.raises(Forbidden, match=r"wants .*/team/plain:1 to be signed: no signature by a key"):
        here.pull(f"{host}/team/plain:1")
    here.say({f"{host}/team": signed_by(keys, "ed")})
    with pytest.raises(Forbidden, match="no signature by a key"):
        here.pull(f"{host}/team/signed:1")  # also of an image that is here
    assert [one.id for one in here.store.images.list()] == [AMD.config]


@pytest.mark.parametrize("key", ["anna", "ed", "rsa"])
def test_kinds_of_keys(here: Here, registry: Registry, keys: Path, key: str) -> None:
    name = f"kinds/{key}"
    registry.put(name, "1", AMD)
    sign(registry, keys, key, name, AMD.digest)
    here.say({registry.domain: signed_by(keys, key)})
    assert here.pull(f"{registry.domain}/{name}:1") == AMD.config


@pytest.mark.parametrize(
    ("more", "want"),
    [
        pytest.param({"claimed": OTHER.digest}, "no signature", id="of another image"),
        pytest.param(
            {"identity": "reg.example/other:1"}, r"signatures are for reg\.example/other:1", id="name"
        ),
        pytest.param({"damage": True}, "no signature", id="damaged"),
        pytest.param({"identity": "No Name"}, "no signature", id="no name"),
    ],
)
def test_signatures_that_are_none(
    here: Here,
    registry: Registry,
    keys: Path,
    more: dict[str, Any],
    want: str,
    request: pytest.FixtureRequest,
) -> None:
    name = f"bad/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    registry.put(name, "1", AMD)
    sign(registry, keys, "anna", name, AMD.digest, **more)
    here.say({registry.domain: signed_by(keys, "anna")})
    with pytest.raises(Forbidden, match=want):
        here.pull(f"{registry.domain}/{name}:1")
    assert here.store.images.list() == []


def test_identities(here: Here, registry: Registry, keys: Path) -> None:
    host = registry.domain
    registry.put("ids/app", "2", AMD)
    sign(
        registry, keys, "anna", "ids/app", AMD.digest, identity=f"{host}/ids/app"
    )  # as cosign, without a tag
    name = f"{host}/ids/app:2"
    for identity, good in (
        ({"type": "matchRepoDigestOrExact"}, False),
        ({"type": "matchExact"}, False),
        ({"type": "matchRepository"}, True),
        ({"type": "exactRepository", "dockerRepository": f"{host}/ids/app"}, True),
        ({"type": "exactRepository", "dockerRepository": f"{host}/ids/other"}, False),
        ({"type": "exactReference", "dockerReference": f"{host}/ids/app"}, True),
        ({"type": "remapIdentity", "prefix": f"{host}/ids", "signedPrefix": f"{host}/els"}, False),
    ):
        here.say({name: signed_by(keys, "anna", signedIdentity=identity)})
        if good:
            assert here.pull(name) == AMD.config
        else:
            with pytest.raises(Forbidden, match="signatures are for"):
                here.pull(name)


def test_scopes(here: Here, registry: Registry) -> None:
    host = registry.domain
    name = f"{host}/team/plain:1"
    here.say({host: [{"type": "reject"}], f"{host}/team": ANYTHING})
    assert here.pull(name) == OTHER.config
    for scope in (name, f"{host}/team/plain", f"{host}/team", host, ""):
        here.say({scope: [{"type": "reject"}]})
        with pytest.raises(Forbidden, match="rejects"):
            here.pull(name)
    here.say({}, default=[{"type": "reject"}])
    with pytest.raises(Forbidden, match="scope 'default'"):
        here.pull(name)
    here.say({host: [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x"}]})
    with pytest.raises(InvalidArgument, match=r"'signedBy' .* cannot be checked by sampan"):
        here.pull(name)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("{", "malformed|truncated", id="no JSON"),
        pytest.param("{}", "missing required field `default`", id="no default"),
        pytest.param('{"default":[]}', "is empty", id="empty"),
        pytest.param('{"default":[{"type":"trust"}]}', "'trust' is unknown", id="unknown kind"),
        pytest.param('{"default":[{"type":"reject","x":1}]}', "unknown field `x`", id="unknown key"),
        pytest.param('{"default":[{"type":"sigstoreSigned"}]}', "needs one of keyPath", id="no key"),
        pytest.param(
            '{"default":[{"type":"sigstoreSigned","keyPath":"/none"}]}',
            "cannot read key /none",
            id="missing key",
        ),
        pytest.param(
            '{"default":[{"type":"sigstoreSigned","keyData":"eHh4"}]}', "public key is not PEM", id="no PEM"
        ),
        pytest.param(
            '{"default":[{"type":"sigstoreSigned","keyData":"eHh4","signedIdentity":{"type":"exactReference"}}]}',
            "too few",
            id="half an identity",
        ),
    ],
)
def test_a_wrong_policy_refuses_every_pull(here: Here, registry: Registry, text: str, want: str) -> None:
    here.policy.write_text(text)
    with pytest.raises(InvalidArgument, match=want):
        here.pull(f"{registry.domain}/team/signed:1")
    assert here.store.images.list() == []


@needs_root
@needs_busybox
@pytest.mark.peers
def test_sampand_with_a_policy(registry: Registry, keys: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    scopes = {"docker": {f"{registry.domain}/team": signed_by(keys, "anna")}}
    policy.write_text(json.dumps({"default": ANYTHING, "transports": scopes}))
    daemon = Sampand(tmp_path / "sampand")
    daemon.folder.mkdir()
    daemon.start(f"--image-policy={policy}")
    try:
        name, plain = (f"{registry.domain}/team/{one}:1" for one in ("signed", "plain"))
        assert daemon.docker("pull", name).code == 0
        refused = daemon.docker("pull", plain)
        assert (refused.code, "to be signed" in refused.err) == (1, True)
        seen = daemon.sampan("image", "verify", name)
        lines = seen.text.splitlines()
        assert lines[0] == AMD.digest
        assert lines[2].split(maxsplit=2)[::2] == [name, '{"by":"anna"}']
        other = daemon.sampan("image", "verify", "--key", f"{keys}/ed.pub", name)
        assert (other.code, "has no signature by a known key" in other.err) == (1, True)
        assert daemon.sampan("image", "verify", "--key", f"{keys}/anna.pub", plain).code == 1
        nothing = daemon.sampan("image", "verify", "--key", "/none", name)
        assert "cannot read '/none'" in nothing.err
        bad = daemon.sampan("image", "verify", "--key", str(policy), name)
        assert "is not PEM" in bad.err
        unknown = daemon.sampan("image", "verify", f"{registry.domain}/kinds/none:1")
        assert unknown.code == 1
    finally:
        daemon.close()
