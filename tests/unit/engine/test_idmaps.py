"""Owners seen through a mount."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.engine.plans import make_plan

from sampan.engine.bundle.idmaps import ALL_IDS, map_owner, parse_idmap, plan_maps
from sampan.engine.bundle.mount_parsing import parse_bind
from sampan.engine.bundle.mount_wishes import IdWish, UserMount
from sampan.engine.bundle.mounts import make_mounts


@pytest.mark.parametrize(("owner", "seen"), [(0, 1000), (1000, 0), (1000, 1001), (5, 5), (0, ALL_IDS - 1)])
def test_an_owner_is_seen_as_another_and_nobody_twice(owner: int, seen: int) -> None:
    lines = map_owner(owner, seen)
    shown = {disk: look for disk, look, count in lines if count == 1}
    assert owner == seen or shown[owner] == seen
    for side in (0, 1):
        ranges = sorted((line[side], line[side] + line[2]) for line in lines)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(ranges))
    assert sum(line[2] for line in lines) == ALL_IDS - (owner != seen)


def test_plain_idmap_maps_the_owner_to_the_user() -> None:
    uids, gids = plan_maps(IdWish(), owner=(7, 8), user=(1000, 100))
    assert (7, 1000, 1) in uids
    assert (8, 100, 1) in gids


def test_uid_alone_leaves_groups_as_they_are() -> None:
    _, gids = plan_maps(IdWish(uid=5), owner=(7, 8), user=(1000, 100))
    assert gids == ((0, 0, ALL_IDS),)


def test_whole_mapping() -> None:
    wish = parse_idmap("idmap=uids=0-1000-1#1-2000-10;gids=0-100-1")
    assert wish == IdWish(uids=((0, 1000, 1), (1, 2000, 10)), gids=((0, 100, 1),))
    assert plan_maps(wish, owner=(0, 0), user=(0, 0)) == (wish.uids, wish.gids)


@pytest.mark.parametrize(
    ("text", "want"),
    [("idmap", IdWish()), ("uid=5", IdWish(uid=5)), ("ro,uid=5,gid=6", IdWish(uid=5, gid=6)), ("ro", None)],
)
def test_options_of_a_bind(text: str, want: IdWish | None) -> None:
    assert parse_bind(f"/a:/b:{text}").ids == want


def test_config_json_has_the_mapping() -> None:
    mount = UserMount(
        kind="bind",
        source="/a",
        target="/b",
        options=("rbind",),
        ids=IdWish(uids=((1, 2, 3),), gids=((4, 5, 6),)),
    )
    (made,) = [one for one in make_mounts(make_plan(), [mount]) if one["destination"] == "/b"]
    assert made["options"] == ["rbind", "idmap"]
    assert made["uidMappings"] == [{"containerID": 1, "hostID": 2, "size": 3}]
    assert made["gidMappings"] == [{"containerID": 4, "hostID": 5, "size": 6}]
