"""Names of containers: their form, and new ones for those that were given none."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Final

from sampan.errors import InvalidArgument

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MAX_LENGTH: Final = 255

_FIRST: Final = (
    "agile amber anchored azure balmy beached bold brave breezy bright buoyant calm candid cheery clear "
    "coastal coral crisp curious daring deft drifting eager early easy faithful fleet floating fond "
    "fresh gentle gilded glad golden grand hardy hearty honest humble jaunty jolly keen kind level "
    "lively loyal lucky lunar mellow merry mild misty modest nimble noble northern placid plain plucky "
    "polished quick quiet ready rolling rosy salty sandy sheltered silver sleek smooth snug solar "
    "southern sparkling spry steady sturdy sunny swift tidal tidy trim trusty upbeat valiant velvet "
    "vivid warm wavy western whistling windy wise witty young zesty"
).split()
_SECOND: Final = (
    "albatross anchor anemone barge barque beacon bollard bosun bowline bream breeze brig buoy canoe "
    "captain carp catamaran clam cleat clipper cockle compass coracle cormorant crab current cutter "
    "cuttlefish dhow dinghy dolphin dory eel egret estuary ferry fjord galley gannet gondola gull "
    "gunwale halyard harbor helm heron herring jetty junk kayak keel kelp ketch kingfisher lagoon "
    "lantern limpet lugger mackerel mast minnow mussel narwhal oar otter oyster paddle pelican penguin "
    "perch pike pilot plank plover porpoise puffin punt quay raft reef rigging rudder sail sardine "
    "schooner sculpin seal sextant shoal skiff skipper sloop spar spinnaker squid starfish sturgeon "
    "tern tide tiller trawler trout tug turtle urchin voyage walrus wave whale wharf yawl"
).split()


def check_name(name: str, *, shown: str = "") -> None:
    """Raise unless name may be a container's. shown: how the error writes it.

    Raises:
        InvalidArgument: in Docker's words, which clients match.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_LENGTH:
        raise InvalidArgument(
            f"Invalid container name ({shown or name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            hint="two characters or more, the first a letter or digit",
        )


def make_name(is_free: Callable[[str], bool]) -> str:
    """Return a name such as `steady_heron` that is free; with a number behind when many are taken."""
    for attempt in range(100):
        name = f"{secrets.choice(_FIRST)}_{secrets.choice(_SECOND)}"
        if attempt >= 3:
            name += str(secrets.randbelow(10 ** (attempt // 3)))
        if is_free(name):
            return name
    raise AssertionError("a hundred random names were all taken")
