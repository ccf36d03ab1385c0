"""Where requests go, and who may see credentials."""

from __future__ import annotations

import pytest

from sampan.registry.endpoints import Endpoint, endpoints_of, may_see_credentials, origin
from sampan.registry.options import RegistryOptions


@pytest.mark.parametrize(
    ("domain", "insecure", "want"),
    [
        pytest.param("docker.io", (), ["https://registry-1.docker.io"], id="Docker Hub"),
        pytest.param("docker.io", ("docker.io",), ["https://registry-1.docker.io"], id="Hub always TLS"),
        pytest.param("r.example:5000", (), ["https://r.example:5000"], id="TLS"),
        pytest.param(
            "localhost:5000", (), ["https://localhost:5000", "http://localhost:5000"], id="localhost"
        ),
        pytest.param("127.9.9.9", (), ["https://127.9.9.9", "http://127.9.9.9"], id="loopback"),
        pytest.param("[::1]:5000", (), ["https://[::1]:5000", "http://[::1]:5000"], id="loopback 6"),
        pytest.param("10.1.2.3", ("10.0.0.0/8",), ["https://10.1.2.3", "http://10.1.2.3"], id="network"),
        pytest.param("11.1.2.3", ("10.0.0.0/8",), ["https://11.1.2.3"], id="outside of the network"),
        pytest.param("r.example:1", ("r.example",), ["https://r.example:1", "http://r.example:1"], id="host"),
        pytest.param("r.example:1", ("r.example:2",), ["https://r.example:1"], id="another port"),
        pytest.param("localhost.example", (), ["https://localhost.example"], id="only looks like it"),
    ],
)
def test_endpoints(domain: str, insecure: tuple[str, ...], want: list[str]) -> None:
    found = endpoints_of(domain, RegistryOptions(insecure=insecure))
    assert [endpoint.url for endpoint in found] == want
    assert found[0].verify == (len(want) == 1)


@pytest.mark.parametrize(
    ("realm", "endpoint", "want"),
    [
        pytest.param("https://auth.docker.io/token", "https://registry-1.docker.io", True, id="Docker Hub"),
        pytest.param("https://gitlab.com/jwt", "https://registry.gitlab.com", True, id="the domain itself"),
        pytest.param("https://ghcr.io/token", "https://ghcr.io", True, id="the host itself"),
        pytest.param("https://auth.ghcr.io/token", "https://ghcr.io", True, id="below the host"),
        pytest.param("https://evil.example/token", "https://ghcr.io", False, id="elsewhere"),
        pytest.param("https://evil.io/token", "https://ghcr.io", False, id="the same top level"),
        pytest.param("https://evil.co.uk/token", "https://reg.co.uk", False, id="a public suffix"),
        pytest.param("https://auth.reg.co.uk/t", "https://hub.reg.co.uk", True, id="below a public suffix"),
        pytest.param("https://ghcr.io.evil.example/", "https://ghcr.io", False, id="the name in front"),
        pytest.param("https://evilghcr.io/", "https://ghcr.io", False, id="the name behind"),
        pytest.param("http://ghcr.io/token", "https://ghcr.io", False, id="without TLS"),
        pytest.param("http://127.0.0.1:5001/t", "http://127.0.0.1:5000", True, id="another port, as lax"),
        pytest.param("http://127.0.0.2:5001/t", "http://127.0.0.1:5000", False, id="another address"),
        pytest.param("https://10.0.0.2/t", "https://10.0.0.1", False, id="addresses have no neighbours"),
        pytest.param("https://u:p@evil.example/", "https://ghcr.io", False, id="with a user"),
        pytest.param("https://ghcr.io@evil.example/", "https://ghcr.io", False, id="host as user"),
        pytest.param("ftp://ghcr.io/", "https://ghcr.io", False, id="another scheme"),
        pytest.param("", "https://ghcr.io", False, id="nothing"),
    ],
)
def test_realms(realm: str, endpoint: str, want: bool) -> None:
    scheme, _, authority = endpoint.partition("://")
    assert may_see_credentials(realm, Endpoint(scheme, authority)) == want


def test_origin_has_default_ports() -> None:
    assert origin("https://A.example/x") == origin("https://a.example:443/y?z")
    assert origin("http://a.example") != origin("https://a.example")
