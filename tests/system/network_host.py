"""A sampand in a network namespace of its own, with a neighbour on its outside: nothing touches the machine.

`host` is the namespace that sampand takes for the host's (192.0.2.1), `lan` a peer beyond a wire (192.0.2.9).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.sampand import Result, Sampand, wait_for

HOST = "192.0.2.1"
LAN = "192.0.2.9"
HOST6 = "2001:db8::1"
LAN6 = "2001:db8::9"
HOSTS = {"ipv4": HOST, "ipv6": HOST6}
SERVER = "echo hi >/tmp/index.html; exec httpd -f -h /tmp -p 80"
_FETCH = """
import sys, urllib.request
try:
    address = "[%s]" % sys.argv[1] if ":" in sys.argv[1] else sys.argv[1]
    print(urllib.request.urlopen("http://%s:%s/" % (address, sys.argv[2]), timeout=2).read().decode())
except OSError:
    pass
"""


def make_spaces(spaces: list[str]) -> None:
    """Make two namespaces with a wire between them: one for the host, one for its neighbour."""
    host, lan = spaces
    for line in (
        f"netns add {host}",
        f"netns add {lan}",
        f"-n {host} link add out type veth peer name in netns {lan}",
        f"-n {host} addr add {HOST}/24 dev out",
        f"-n {lan} addr add {LAN}/24 dev in",
        f"-n {host} addr add {HOST6}/64 dev out nodad",
        f"-n {lan} addr add {LAN6}/64 dev in nodad",
        f"-n {host} link set out up",
        f"-n {lan} link set in up",
        f"-n {host} link set lo up",
        f"-n {lan} link set lo up",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def remove_spaces(spaces: list[str]) -> None:
    """Remove namespaces; those that are gone are fine."""
    for space in spaces:
        subprocess.run(["ip", "netns", "delete", space], check=False)


class NetworkHost(Sampand):
    """A daemon whose `host` is a namespace. `on_host` and `on_lan` run commands in the two."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.spaces = [f"sampan-{kind}-{os.getpid()}-{id(self):x}"[:40] for kind in ("host", "lan")]
        make_spaces(self.spaces)

    @property
    def hosts(self) -> dict[str, str]:
        return HOSTS

    def cli(self, *arguments: str) -> str:
        done = self.docker(*arguments)
        assert done.code == 0, f"{arguments}: {done.err}"
        return done.text

    def start(self, *options: str) -> None:
        super().start("--default-network=bridge", *options)

    def command(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.spaces[0]}", "--"]

    def on_host(self, *command: str) -> Result:
        return self._in(self.spaces[0], command)

    def on_lan(self, *command: str) -> Result:
        return self._in(self.spaces[1], command)

    def _in(self, space: str, command: tuple[str, ...]) -> Result:
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{space}", "--", *command],
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def fetch(self, address: str, port: int, *, lan: str = "") -> str:
        """Return what an HTTP server answers the host, or the neighbour; "" when nothing comes."""
        run = self.on_lan if lan else self.on_host
        return run(sys.executable, "-c", _FETCH, address, str(port)).text

    def fetch_from(self, container: str, address: str, port: int) -> str:
        """Return what an HTTP server answers a container."""
        script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} {port} | tail -n 1"
        return self.docker("exec", container, "sh", "-c", script).text

    def remove_networks(self) -> None:
        """Remove every network that a test has made: prune leaves what is only a configuration."""
        self.call("POST", "/networks/prune")
        for network in self.call("GET", "/networks"):
            if network["ConfigOnly"]:
                self.call("DELETE", f"/networks/{network['Id']}")

    def close(self) -> None:
        try:
            super().close()
        finally:
            remove_spaces(self.spaces)


@contextmanager
def network_host(folder: Path, *options: str) -> Iterator[NetworkHost]:
    """Run a daemon that has the image busybox; everything is gone afterwards."""
    daemon = NetworkHost(folder)
    try:
        daemon.start(*options)
        daemon.load_busybox()
        yield daemon
    finally:
        daemon.close()


def serve(net: NetworkHost, name: str, *flags: str) -> None:
    """Run a server that answers `hi` at port 80."""
    done = net.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVER)
    assert done.code == 0, done.err
    wait_for(lambda: net.docker("exec", name, "nc", "-w", "1", "127.0.0.1", "80").code == 0, "it listens")


def idle(net: NetworkHost, name: str, *flags: str) -> None:
    done = net.docker("run", "-d", "--name", name, *flags, "busybox", "sleep", "1000")
    assert done.code == 0, done.err


def settings(net: NetworkHost, name: str) -> Any:
    return json.loads(net.docker("inspect", "-f", "{{json .NetworkSettings}}", name).text)
