"""The same client against sampand and Debian's dockerd, side by side: docker-cli or docker-py."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.compare import docker_cli, docker_py
from tests.system.cli.harness import make_image, running_dockerd
from tests.system.sampand import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/compare", description=__doc__)
    parser.add_argument("name", choices=("docker-cli", "docker-py"))
    parser.add_argument("--client", default="/usr/bin/docker", help="the docker command (docker-cli only)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sampan-compare-"))
    for name in ("sampand", "dockerd"):
        (folder / name).mkdir()
    try:
        daemon = serve(folder / "sampand")
        try:
            with running_dockerd(folder / "dockerd") as dockerd:
                make_image(dockerd.host)
                if options.name == "docker-cli":
                    found = docker_cli.compare(options.client, dockerd.host, daemon.host, folder)
                else:
                    found = docker_py.compare(dockerd.host, daemon.host, folder)
        finally:
            daemon.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in found:
        print(f"DIFFERS {one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
