"""sampand and Debian's dockerd side by side: the same client on both, networks, or builds."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from tests.compare import builds, docker_cli, docker_py, networks
from tests.compare.peers import docker_peer, sampan_peer


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/compare", description=__doc__)
    parser.add_argument("name", choices=("docker-cli", "docker-py", "networks", "builds"))
    parser.add_argument("--client", default="/usr/bin/docker", help="the docker command (docker-cli only)")
    parser.add_argument("--only", default="", help="the commands of one noun, as `network` (docker-cli only)")
    parser.add_argument(
        "--write", action="store_true", help="keep what dockerd makes as golden (builds only)"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sampan-compare-"))
    for name in ("sampand", "dockerd"):
        (folder / name).mkdir()
    try:
        if options.name == "networks":
            _tell(networks.compare(options.client, folder))
        with sampan_peer(folder / "sampand") as ours, docker_peer(folder / "dockerd") as theirs:
            if options.name == "docker-cli":
                found = docker_cli.compare(options.client, theirs, ours, folder, only=options.only)
            elif options.name == "builds":
                found = list(builds.compare(theirs.host, ours.host, write=options.write))
            else:
                found = docker_py.compare(theirs.host, ours.host, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _tell(found)


def _tell(found: list[str]) -> NoReturn:
    for one in found:
        print(f"DIFFERS {one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
