"""From the last state of the target to an image: `--squash`, labels, and times that do not tell when.

Source: reproducible-builds.org, "SOURCE_DATE_EPOCH"; moby, daemon/images/image_squash.go (history).
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from sampan.build.cache import StepCache, key_of
from sampan.build.request import BuildRequest
from sampan.build.state import StageState
from sampan.errors import InvalidArgument
from sampan.spec.image import History
from sampan.store.built import Built, top_of

_EPOCH = "SOURCE_DATE_EPOCH"
_LATEST = 253402300799  # the year 9999


def read_epoch_ns(request: BuildRequest) -> int | None:
    """Return the time that nothing of a build is to be later than, None for the true times.

    Raises:
        InvalidArgument: the build argument is no number of seconds.
    """
    text = request.build_args.get(_EPOCH)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > _LATEST:
        raise InvalidArgument(f"invalid {_EPOCH} {text!r}: write seconds since 1970")
    return int(text) * 10**9


def clamp_times(upper: str, latest_ns: int) -> None:
    """Let no file of a new layer be younger than a time."""
    for _, folders, files, fd in os.fwalk(upper, topdown=False, follow_symlinks=False):
        for name in (*files, *folders):
            status = os.lstat(name, dir_fd=fd)
            if status.st_mtime_ns > latest_ns:
                os.utime(name, ns=(latest_ns, latest_ns), dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR((status := os.lstat(upper)).st_mode) and status.st_mtime_ns > latest_ns:
        os.utime(upper, ns=(latest_ns, latest_ns))


def squash(state: StageState, built: Built, cache: StepCache) -> StageState:
    """Return the state with one layer in place of all that the build made above its base."""
    below, above = state.stack[: state.inherited], state.stack[state.inherited :]
    if not above:
        return state
    document = {
        "op": "squash",
        "below": top_of(below) or "scratch",
        "layers": [layer.diff_id for layer in above],
    }
    with cache.alone(key_of(document)):
        done = cache.find(key_of(document), below)
        if done is None:
            with built.merged(below, above) as upper:
                done = cache.make(below, upper, document=document, line="squash")
    history = [
        entry if place < state.inherited_history else _emptied(entry)
        for place, entry in enumerate(state.history)
    ]
    comment = f"merge {top_of(state.stack)} to {top_of(below) or 'scratch'}"
    history.append(History(created=state.created, comment=comment, empty_layer=done.layer is None))
    stack = below if done.layer is None else (*below, done.layer)
    return replace(state, stack=stack, history=history)


def _emptied(entry: History) -> History:
    return History(
        created=entry.created,
        created_by=entry.created_by,
        author=entry.author,
        comment=entry.comment,
        empty_layer=True,
    )
