"""The Dockerfiles of `build_cases_more`, built by dockerd: compared with what sampand makes, or written down.

A result is what differs from the base image: name → [type, mode, uid, gid, link, digest], null for what went.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from tests.system.build_cases import Case
from tests.system.build_cases_more import DIFFERS, MORE
from tests.system.build_kit import build, config_of, connect, tree_of
from tests.system.sampand import busybox_tar

GOLDEN = Path(__file__).parents[1] / "system" / "build_golden.json"
Result = dict[str, Any]


def result_of(client: docker.DockerClient, case: Case, base: dict[str, tuple[object, ...]]) -> Result:
    """Build a case, and return what came of it in the form of the file; an error is one, too."""
    try:
        image, _ = build(client, case)
    except (docker.errors.BuildError, docker.errors.APIError):
        return {"error": True}
    tree = tree_of(client, image)
    changed = {
        name: [_text(fact) for fact in tree[name]] if name in tree else None
        for name in sorted({*tree, *base})
        if tree.get(name) != base.get(name)
    }
    if not case.dockerfile.rpartition("FROM ")[2].startswith("scratch"):
        return {"tree": changed, "config": config_of(image)}
    own = {name: [_text(fact) for fact in facts] for name, facts in sorted(tree.items())}
    return {"tree": own, "config": config_of(image)}


def _text(fact: object) -> object:
    return fact.decode() if isinstance(fact, bytes) else fact


def base_of(client: docker.DockerClient) -> dict[str, tuple[object, ...]]:
    """Return the tree of the image that cases begin with."""
    return tree_of(client, client.images.get("busybox"))


def compare(theirs: str, ours: str, *, write: bool) -> Iterator[str]:
    """Yield the cases that come to something else; write: keep what dockerd has made instead of comparing."""
    clients = [connect(host) for host in (theirs, ours)]
    for client in clients:
        client.api.import_image_from_data(busybox_tar(), repository="busybox", changes=['CMD ["sh"]'])
    bases = [base_of(client) for client in clients]
    golden: dict[str, Result] = {}
    for case in MORE:
        found = [result_of(client, case, base) for client, base in zip(clients, bases, strict=True)]
        golden[case.name] = found[case.name in DIFFERS]
        if found[0] != found[1] and case.name not in DIFFERS:
            yield f"{case.name}: dockerd {_difference(*found)}"
    if write:
        lines = [f"{json.dumps(name)}: {json.dumps(one, sort_keys=True)}" for name, one in golden.items()]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _difference(theirs: Result, ours: Result) -> str:
    if "tree" not in theirs or "tree" not in ours:
        return f"{theirs}, sampand {ours}"[:300]
    names = sorted({*theirs["tree"], *ours["tree"]})
    different = [
        f"{name}: {theirs['tree'].get(name)} {ours['tree'].get(name)}"
        for name in names
        if theirs["tree"].get(name) != ours["tree"].get(name)
    ]
    if theirs["config"] != ours["config"]:
        different.append(f"{theirs['config']} {ours['config']}")
    return "; ".join(different)[:500]
