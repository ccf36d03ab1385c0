"""Networks by the Python API: the page's examples, and the asyncio client, in a namespace of their own."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.system.network_host import NetworkHost
from tests.system.sampand import needs_busybox, needs_root

import sampan

pytestmark = [needs_root, needs_busybox]

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"
EXAMPLES = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_examples(
    net: NetworkHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPAN_HOST", net.host)
    for example in EXAMPLES:
        exec(compile(example, PAGE.name, "exec"), {"sampan": sampan, "client": sampan.Client()})
    assert capsys.readouterr().out.splitlines() == ["True", "['bridge', 'shop']"]


def test_what_the_daemon_refuses(net: NetworkHost) -> None:
    client = sampan.Client(net.host)
    made = client.networks.create("mine", subnet="10.99.0.0/24", gateway="10.99.0.9", internal=True)
    assert (made.subnets, made.internal, made.driver) == (("10.99.0.0/24",), True, "bridge")
    with pytest.raises(sampan.errors.Conflict, match="network with name mine already exists"):
        client.networks.create("mine")
    with pytest.raises(sampan.errors.Forbidden, match="Pool overlaps"):
        client.networks.create("other", subnet="10.99.0.0/16")
    with pytest.raises(sampan.errors.NotFound, match="nosuch"):
        made.connect("nosuch")
    assert "mine" in [one.name for one in client.networks.list(filters={"driver": ["bridge"]})]
    assert client.networks.prune().deleted == ("mine",)
    with pytest.raises(sampan.errors.NotFound, match="network mine not found"):
        client.networks.get("mine")
    made.remove(force=True)
    with pytest.raises(sampan.errors.NotFound):
        made.remove()


def test_with_asyncio(net: NetworkHost) -> None:
    async def story() -> None:
        client = sampan.AsyncClient(net.host)
        nets, idle = client.networks, ["sleep", "100"]
        async with nets.temporary("soon") as soon, client.containers.running("busybox", idle) as box:
            await nets.connect(soon, box.value.id, aliases=["other"])
            assert list((await nets.inspect(soon))["Containers"]) == [box.value.id]
            with pytest.raises(sampan.errors.Forbidden, match="already exists"):
                await nets.connect(soon, box.value.id)
            await nets.disconnect(soon, box.value.id)
        assert "soon" not in [one.name for one in await nets.list()]

    asyncio.run(story())
