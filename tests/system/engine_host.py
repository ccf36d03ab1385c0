"""A program with an engine in it, for tests to kill: reads `[verb, arguments…]`, answers with JSON lines."""

from __future__ import annotations

import json
import sys

from sampan.engine.engine import Engine
from sampan.engine.options import EngineSettings
from sampan.settings import Roots
from sampan.spec import docker


def main() -> None:
    data, run, cgroup = sys.argv[1:]
    engine = Engine.open(
        EngineSettings(roots=Roots(data=data, run=run), cgroup_parent=cgroup, default_network="none")
    )
    for line in sys.stdin:
        verb, *args = json.loads(line)
        if verb == "churn":
            churn(engine)
        answer = {"ready": lambda: "ready", "run": run_container, "pid": pid}[verb]
        print(json.dumps(answer() if verb == "ready" else answer(engine, *args)), flush=True)


def create(engine: Engine, command: list[str]) -> str:
    return engine.containers.create(docker.ContainerCreate(Image="busybox", Cmd=command)).Id


def run_container(engine: Engine, command: list[str]) -> str:
    container_id = create(engine, command)
    engine.containers.start(container_id)
    return container_id


def pid(engine: Engine, ref: str) -> int:
    return engine.containers.inspect(ref).State.Pid


def churn(engine: Engine) -> None:
    """Create, start, kill and remove for ever."""
    kept: list[str] = []
    while True:
        kept.append(create(engine, ["sleep", "1000"]))
        engine.containers.start(kept[-1])
        if len(kept) > 2:
            engine.containers.remove(kept.pop(0), force=True)


if __name__ == "__main__":
    main()
