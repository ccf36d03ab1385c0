from __future__ import annotations

import pytest

from sampan.kernel.procfs import sysctl_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel", "kernel"),
    ],
)
def test_names_as_sysctl_reads_them(name: str, path: str) -> None:
    assert sysctl_path(name) == path


@pytest.mark.parametrize(
    "name", ["", ".", "..", "net..x", "/etc", "net/../../sysrq-trigger", "net.ipv4.", "//"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(OSError, match="sysctl name"):
        sysctl_path(name)
