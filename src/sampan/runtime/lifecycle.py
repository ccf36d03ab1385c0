"""The runtime's public face: what the command `sampan-runtime`, the shim and nobody else call. Lean.

One path for two doors: whoever creates a container is the parent of its init. The steps and the messages
between parent and child are charted in docs/runtime-protocol.md. Everything a function makes, it undoes when
it fails; what is left after kill -9 of the caller is found and removed by `delete_container`. The caller has
one thread.

Importing this module also imports the parts that the command line imports only when a bundle needs them, so
that a zygote's children never import anything.
"""

from __future__ import annotations

from sampan.kernel import overlay
from sampan.kernel.cgroups import stats_v1, stats_v2, unified, v1, v2
from sampan.runtime import console, copy_up, filters, hooks, procfs_labels, sysctls
from sampan.runtime.container import Container, Process
from sampan.runtime.control import (
    container_processes,
    container_stats,
    kill_container,
    pause_container,
    resume_container,
    update_container,
)
from sampan.runtime.create import create_container, plan_container
from sampan.runtime.delete import delete_container
from sampan.runtime.executing import exec_process
from sampan.runtime.requests import CreateRequest, ExecRequest, Plank, RootMount
from sampan.runtime.start import start_container
from sampan.runtime.state import State, list_states, load_state

_PRELOADED = (
    console,
    copy_up,
    filters,
    hooks,
    overlay,
    procfs_labels,
    sysctls,
    stats_v1,
    stats_v2,
    unified,
    v1,
    v2,
)

__all__ = [
    "Container",
    "CreateRequest",
    "ExecRequest",
    "Plank",
    "Process",
    "RootMount",
    "State",
    "container_processes",
    "container_stats",
    "create_container",
    "delete_container",
    "exec_process",
    "kill_container",
    "list_states",
    "load_state",
    "pause_container",
    "plan_container",
    "resume_container",
    "start_container",
    "update_container",
]
