"""The machine whose power is cut: checks what the last cut left, then pulls and removes until the next one.

Run in the guest as its command. Its lines are for `power_cuts`: checked N, damaged …, pulling, pulled. With
an argument, the image of a disk, it only checks that one, on any machine, in a mount namespace of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from sampan.registry.client import Client
from sampan.registry.options import RegistryOptions
from sampan.store.platforms import host_platform
from sampan.store.references import parse_reference
from sampan.store.store import Store

IMAGES: Final = ("127.0.0.1:5000/app:one", "127.0.0.1:5000/app:two")
DATA: Final = "/mnt/data"
REGISTRY: Final = "/mnt/registry"
_TRIES: Final = 600


def main() -> None:
    if sys.argv[1:]:
        place = f"{sys.argv[1]}.mounted"
        Path(place).mkdir()
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", sys.argv[1], place], check=True)
        try:
            with Store(f"{place}/root") as store:
                _check(store, f"{place}/root")
        finally:
            subprocess.run(["umount", place], check=True)
        return
    for device, place in (("/dev/vdb", DATA), ("/dev/vdc", REGISTRY)):
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "ext4", device, place], check=True)
    serve = [sys.executable, "-m", "sampan.registry.server", f"--data-root={REGISTRY}/root", "127.0.0.1:5000"]
    serving = subprocess.Popen(serve)
    with Store(f"{DATA}/root") as store:
        _check(store, f"{DATA}/root")
        client = Client(RegistryOptions())
        _wait_for_registry(client)
        while serving.poll() is None:
            print("pulling", flush=True)
            for name in IMAGES:
                _pull(store, client, name)
            print("pulled", flush=True)
            for name in IMAGES:
                store.images.remove(name, users=lambda _image: ())


def _check(store: Store, root: str) -> None:
    images = store.images.list()
    for damage in store.verifier.verify(images):
        print(f"damaged {damage.kind} {damage.name}: {damage.why}", flush=True)
    partial = len(list(Path(f"{root}/partial").iterdir()))
    layers = len(store.layers.known())
    print(f"checked {len(images)} images, {layers} layers, {partial} partial blobs", flush=True)


def _wait_for_registry(client: Client) -> None:
    for _ in range(_TRIES):
        try:
            client.sources(parse_reference(IMAGES[0]), "").find_digest("one")
            return
        except Exception:  # it comes up
            time.sleep(0.1)
    raise SystemExit("the registry does not come up")


def _pull(store: Store, client: Client, name: str) -> None:
    reference = parse_reference(name)
    puller = client.puller(store.arrivals, reference, lambda _line: None)
    puller.pull(client.sources(reference, ""), platform=host_platform(), is_wanted=False)


if __name__ == "__main__":
    main()
