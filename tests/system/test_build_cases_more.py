"""More Dockerfiles: what sampand makes of them is what dockerd has made (`build_golden.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from tests.compare.builds import GOLDEN, base_of, result_of
from tests.system.build_cases import Case
from tests.system.build_cases_more import DIFFERS, MORE
from tests.system.build_kit import connect
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
WANTED: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def client(sampand: Sampand) -> Iterator[docker.DockerClient]:
    made = connect(sampand.host)
    yield made
    made.close()


@pytest.fixture(scope="module")
def base(client: docker.DockerClient) -> dict[str, tuple[object, ...]]:
    return base_of(client)


def test_every_case_has_a_result() -> None:
    assert set(WANTED) == {case.name for case in MORE}
    assert DIFFERS.keys() <= WANTED.keys()
    assert [name for name, one in WANTED.items() if "error" in one] == []


@pytest.mark.parametrize("case", MORE, ids=lambda one: one.name)
def test_as_dockerd_made_it(
    client: docker.DockerClient, base: dict[str, tuple[object, ...]], case: Case
) -> None:
    assert result_of(client, case, base) == WANTED[case.name]
