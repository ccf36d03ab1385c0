"""Real projects (`examples/`, docs/projects.md): built of a base out of Debian's mirror, run, and tried.

They are built by a sampand on the machine's own network, where the mirror is, and run by one over the same
data in a network namespace of its own: ports, names and firewall rules are no matter of the machine.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.buildkit_kit import COMPOSE, compose
from tests.system.cli.harness import SAMPAN
from tests.system.network_host import HOST, NetworkHost
from tests.system.sampand import Result, Sampand, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
# Directory of each image that is built, by its name.
IMAGES = {
    "flask-redis-web": "flask-redis/web",
    "flask-redis-cache": "flask-redis/cache",
    "c-scratch": "c-scratch",
    "nginx": "nginx",
    "node": "node",
}
_PATIENCE_S = 900


def projects(host: NetworkHost, count: int, seed: int) -> list[str]:
    """Build every example, run it, and ask it; then the one of two services once more by docker compose."""
    del count, seed
    host.stop()
    outside = Sampand(host.folder)
    outside.start()
    try:
        _timed("debian from the mirror", lambda: _sampan(outside, "image", "bootstrap", "debian"))
        for name, folder in IMAGES.items():
            _timed(f"{name}, built", lambda: _build(outside, name, folder))  # noqa: B023 -- called at once
            _timed(f"{name}, again", lambda: _build(outside, name, folder))  # noqa: B023 -- called at once
    finally:
        outside.stop()
        host.start()
    violations = []
    for check in (_c_scratch, _nginx, _node, _flask_redis, _compose):
        begin = time.monotonic()
        found = [f"{check.__name__.strip('_')}: {text}" for text in check(host)]
        print(f"{check.__name__.strip('_')}: {time.monotonic() - begin:.1f} s, {len(found)} violations")
        violations += found
    return violations


def _timed(name: str, act: Callable[[], Result]) -> None:
    begin = time.monotonic()
    done = act()
    assert done.code == 0, f"{name}: {done.err}\n{done.text[-2000:]}"
    print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)


def _sampan(daemon: Sampand, *arguments: str) -> Result:
    return daemon._run([str(SAMPAN), *arguments], stdin=b"", timeout_s=_PATIENCE_S)


def _build(daemon: Sampand, name: str, folder: str) -> Result:
    return _sampan(daemon, "build", "--network", "host", "-t", name, str(EXAMPLES / folder))


def _c_scratch(host: NetworkHost) -> list[str]:
    found = _serves(host, "c-scratch", "8081:8080", want="from scratch\n")
    layers = json.loads(_sampan(host, "image", "inspect", "-f", "{{json .RootFS.Layers}}", "c-scratch").text)
    if len(layers) != 1:
        found.append(f"{len(layers)} layers in place of one")
    return found + _stops(host, "c-scratch")


def _nginx(host: NetworkHost) -> list[str]:
    found = _serves(host, "nginx", "8082:8080", want="served without root\n")
    users = _sampan(host, "top", "nginx", "-eo", "user").text.split()[1:]
    if "root" in users or "0" in users:
        found.append(f"processes of {users}")
    if '"GET / HTTP' not in _sampan(host, "logs", "nginx").text:
        found.append("the request is not in the log")
    return found + _stops(host, "nginx")


def _node(host: NetworkHost) -> list[str]:
    found = _serves(host, "node", "8083:3000", want="node 18 in production, user 65534\n")
    return found + _stops(host, "node")


def _flask_redis(host: NetworkHost) -> list[str]:
    host.cli("network", "create", "shop")
    host.cli("run", "-d", "--name", "cache", "--network", "shop", "flask-redis-cache")
    host.cli("run", "-d", "--name", "web", "--network", "shop", "-p", "8084:8000", "flask-redis-web")
    found = _counts(host, 8084)
    host.cli("restart", "-t", "1", "cache")  # it keeps nothing, and may have another address
    found += _counts(host, 8084)
    host.cli("rm", "-f", "cache", "web")
    host.cli("network", "rm", "shop")
    return found


def _compose(host: NetworkHost) -> list[str]:
    """Bring the two services up by the real compose: every step is in the cache, from another door."""
    if not COMPOSE.exists():
        return ["no compose: tools/buildkit-clients"]
    folder = host.folder / "flask-redis"
    shutil.copytree(EXAMPLES / "flask-redis", folder)
    up = compose(host, folder, "--progress", "plain", "up", "--build", "-d")
    if up.code != 0:
        return [f"up --build: {up.err[-3000:]}"]
    found = _counts(host, 8000)
    (folder / "web" / "app.py").write_text(
        (folder / "web" / "app.py").read_text().replace("visit {", "changed, visit {")
    )
    changed = compose(host, folder, "--progress", "plain", "up", "--build", "-d")
    if changed.code != 0:
        found.append(f"up --build after a change: {changed.err[-3000:]}")
    found += _counts(host, 8000, "changed, visit", first=3)
    down = compose(host, folder, "down")
    return found if down.code == 0 else [*found, f"down: {down.err}"]


def _counts(host: NetworkHost, port: int, word: str = "visit", *, first: int = 1) -> list[str]:
    answers = [_ask(host, port), _ask(host, port)]
    wanted = [f"{word} {first}\n", f"{word} {first + 1}\n"]
    return [] if answers == wanted else [f"answers {answers}, not {wanted}"]


def _serves(host: NetworkHost, image: str, ports: str, *, want: str) -> list[str]:
    host.cli("run", "-d", "--name", image, "-p", ports, image)
    answer = _ask(host, int(ports.partition(":")[0]))
    return [] if answer == want else [f"answers {answer!r}, not {want!r}: {host.cli('logs', image)}"]


def _ask(host: NetworkHost, port: int) -> str:
    """Return the first answer that comes."""
    answers: list[str] = []

    def answered() -> bool:
        text = host.fetch(HOST, port)
        answers.append(f"{text}\n" if text else "")
        return bool(text)

    try:
        wait_for(answered, f"an answer at port {port}")
    except AssertionError:
        return ""
    return answers[-1]


def _stops(host: NetworkHost, name: str) -> list[str]:
    """Stop a container: one that takes its signal ends by itself, with 0."""
    host.cli("stop", "-t", "30", name)
    code = host.cli("inspect", "-f", "{{.State.ExitCode}}", name)
    host.cli("rm", "-f", name)
    return [] if code == "0" else [f"stop: exit code {code}"]
