"""sampand killed at each step of start, connect, disconnect and stop: strace kills it when it begins a call.

The steps are the calls that change something: messages to the kernel and to other processes, writes to the
disk. For each operation the first one is hit, then the second, until the operation gets through.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.campaigns.networks import BODY, PORTS, changes, on_host
from tests.system.network_host import HOST, NetworkHost, idle, serve
from tests.system.sampand import wait_for

_CALLS: Final = "sendto,sendmsg,pwrite64,fdatasync,fsync,rename,renameat2,unlink,unlinkat"
Call = Callable[[NetworkHost, str], None]


def _start(host: NetworkHost, container: str) -> None:
    host.call("POST", f"/containers/{container}/start")


def _connect(host: NetworkHost, container: str) -> None:
    host.call("POST", "/networks/mine/connect", {"Container": container})


def _disconnect(host: NetworkHost, container: str) -> None:
    host.call("POST", "/networks/bridge/disconnect", {"Container": container})


def _stop(host: NetworkHost, container: str) -> None:
    host.call("POST", f"/containers/{container}/stop?t=0")


_OPERATIONS: Final[tuple[Call, ...]] = (_start, _connect, _disconnect, _stop)  # a container's life, in order


def network_steps(host: NetworkHost, count: int, seed: int) -> list[str]:
    """Kill sampand at each step, at most count of an operation: it comes back, nothing is left or doubled."""
    del seed
    host.cli("network", "create", "--ipv6", "mine")
    serve(host, "web", "--network", "mine", "-p", "8080:80")
    idle(host, "other")  # on the default network, which is known to the rules as long as somebody is in it
    _remove(host, _make(host, _OPERATIONS))
    there = on_host(host)
    violations = []
    for position, operation in enumerate(_OPERATIONS):
        name, step = operation.__name__.strip("_"), 1
        while step <= count and _hit(host, position, step):
            found = [*_look(host), *changes(host, there)]
            violations += [f"{name}, step {step}: {one}" for one in found]
            step += 1
        print(f"{name}: {step - 1} steps, {len(violations)} violations", flush=True)
    return violations


def _hit(host: NetworkHost, position: int, step: int) -> bool:
    """Kill sampand at a step of one operation and have it back; False: the operation had fewer steps."""
    container = _make(host, _OPERATIONS[:position])
    with _killer(host, step):
        try:
            _OPERATIONS[position](host, container)
        except (OSError, AssertionError, ValueError):
            pass
        except Exception as exc:  # http.client's many ways to say that the other side has gone
            if "http" not in type(exc).__module__:
                raise
        killed = _has_ended(host)
    if killed:
        host.start()
    for violation in _double(host):
        raise AssertionError(violation)
    _remove(host, container)
    return killed


@contextmanager
def _killer(host: NetworkHost, step: int) -> Iterator[None]:
    """Have sampand killed when one of its threads begins a call that changes something for the nth time."""
    assert host.process is not None
    inject = f"inject={_CALLS}:signal=SIGKILL:when={step}"
    command = ["strace", "-f", "-p", str(host.process.pid), "-o", "/dev/null", "-e", f"trace={_CALLS}"]
    with subprocess.Popen([*command, "-e", inject], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            yield
        finally:
            tracer.kill()  # asked to end it would wait for what sampand has started


def _has_ended(host: NetworkHost) -> bool:
    """Tell whether sampand was killed: perhaps not before the operation was through."""
    assert host.process is not None
    try:
        host.process.wait(0.3)
    except subprocess.TimeoutExpired:
        return False
    return True


def _make(host: NetworkHost, operations: tuple[Call, ...]) -> str:
    """Make a container and do what comes before an operation."""
    body = {**BODY, "HostConfig": {"PortBindings": PORTS}}
    container = str(host.call("POST", "/containers/create", body)["Id"])
    for operation in operations:
        operation(host, container)
    return container


def _remove(host: NetworkHost, container: str) -> None:
    status, _, answer = host.request("DELETE", f"/containers/{container}?force=1")
    assert status == 204, answer


def _double(host: NetworkHost) -> list[str]:
    """Return the addresses that two containers have, in any network."""
    found = []
    for network in host.call("GET", "/networks"):
        shown = host.call("GET", f"/networks/{network['Id']}")["Containers"] or {}
        for key in ("IPv4Address", "IPv6Address", "MacAddress"):
            values = [one[key] for one in shown.values() if one[key]]
            if len(set(values)) != len(values):
                found.append(f"network {network['Name']}: {json.dumps(shown)}")
    return found


def _look(host: NetworkHost) -> list[str]:
    """Return what is wrong with the container that went on meanwhile, and with a new one."""
    found = [] if host.fetch(HOST, 8080, lan="lan") == "hi" else ["the steady container does not answer"]
    ping = ("busybox", "ping", "-c", "1", "-W", "2", "web")
    new = host.docker("run", "--rm", "--network", "mine", "-p", "8090:80", *ping)
    if new.code:
        found.append(f"a new container: {new.err}{new.text}")
    wait_for(lambda: len(host.call("GET", "/containers/json?all=1")) == 2, "it is gone")
    return found
