"""The child's steps, decided from the configuration before the clone: what `create` will do, as data. Lean.

A pure function: the descriptors in `Prepared` are numbers to it. Order and reasons: docs/runtime-protocol.md.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.kernel import constants as k
from sampan.lean import record
from sampan.runtime import child as child_steps
from sampan.runtime import devices, program, restrictions, rootfs
from sampan.runtime.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.runtime.filters import Filter
    from sampan.runtime.mount_plan import PlannedMount
    from sampan.runtime.program import Program
    from sampan.runtime.steps import Child
    from sampan.spec.runtime import ConsoleSize, OciState, Spec
    from sampan.spec.runtime import Process as ProcessSpec

CLONE_FLAGS = {
    "mount": k.CLONE_NEWNS,
    "pid": k.CLONE_NEWPID,
    "network": k.CLONE_NEWNET,
    "uts": k.CLONE_NEWUTS,
    "ipc": k.CLONE_NEWIPC,
    "user": k.CLONE_NEWUSER,
    "cgroup": k.CLONE_NEWCGROUP,
    "time": k.CLONE_NEWTIME,
}
_PROPAGATION = {
    "private": k.MS_PRIVATE,
    "shared": k.MS_SHARED,
    "slave": k.MS_SLAVE,
    "unbindable": k.MS_UNBINDABLE,
}


@record
class Prepared:
    """What the parent opened and made for the child; descriptors are inherited, close-on-exec.

    root_fd: the detached root mount, or with no mount namespace of its own the directory. source_fds: by
    position in mounts. namespace_fds: to join, as (descriptor, flag). entry_fds: of the cgroup manager.
    inside_ids: (uid, gid) to act as in a new or joined user namespace, None without one. staged: a stage
    joined namespace_fds already (docs/runtime-protocol.md).
    """

    root_fd: int
    source_fds: dict[int, int]
    null_fd: int
    namespace_fds: tuple[tuple[int, int], ...]
    entry_fds: tuple[int, ...]
    inside_ids: tuple[int, int] | None
    staged: bool
    has_kcore: bool
    root_text: str
    state: OciState  # what hooks inside read, but for the pid


@record
class Wishes:
    """The parts of the request that the child's steps depend on."""

    id: str
    pivot: bool
    keyring: bool
    console_size: ConsoleSize | None
    die_with_parent: bool


def check_config(spec: Spec) -> None:
    """Check what fields say together, as far as it is about running them.

    Raises:
        InvalidArgument: something is asked for that needs a namespace which is not there.
    """
    kinds = {namespace.type: namespace.path for namespace in spec.linux.namespaces}
    if spec.process is None:
        raise InvalidArgument("process: is required")
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidArgument("hostname, domainname: need a uts namespace in linux.namespaces")
    if kinds.get("mount", "joined"):
        _check_without_mounts(spec)
    if spec.linux.sysctl:
        from sampan.runtime.sysctls import check_sysctls

        check_sysctls(spec.linux.sysctl, kinds)
    for index, device in enumerate(spec.linux.devices):
        if device.type != "p" and device.major == 0 and device.minor == 0:
            raise InvalidArgument(f"linux.devices[{index}]: major and minor are required")


def _check_without_mounts(spec: Spec) -> None:
    """In a mount namespace that is not the container's own, mounts would stay behind, maybe on the host."""
    for name, value in (
        ("mounts", spec.mounts),
        ("root.readonly", spec.root.readonly),
        ("linux.maskedPaths", spec.linux.masked_paths),
        ("linux.readonlyPaths", spec.linux.readonly_paths),
        ("linux.rootfsPropagation", spec.linux.rootfs_propagation),
    ):
        if value:
            raise InvalidArgument(f"{name}: needs a new mount namespace in linux.namespaces")


def plan_init(
    spec: Spec, wanted: Program, mounts: tuple[PlannedMount, ...], prepared: Prepared, wishes: Wishes
) -> tuple[Step, ...]:
    """Return all steps of a container's init up to the point where it is `created`."""
    own_mounts = any(namespace.type == "mount" and not namespace.path for namespace in spec.linux.namespaces)
    return (
        *_enter(spec, prepared, wishes),
        *(_root(spec, mounts, prepared, wishes) if own_mounts else _foreign_root(spec, prepared)),
        *_inside(spec, wanted, wishes, own_mounts=own_mounts),
        *(_restrictions(spec, prepared) if own_mounts else ()),
        *(plan_sysctls(spec)),
        *plan_program_steps(spec.process, wanted, die_with_parent=wishes.die_with_parent),
    )


def _enter(spec: Spec, prepared: Prepared, wishes: Wishes) -> list[Step]:
    steps = []
    made = {namespace.type for namespace in spec.linux.namespaces if not namespace.path}
    if prepared.entry_fds:
        steps.append(
            Step(label="join the cgroups", run=child_steps.enter_cgroups, arguments=(prepared.entry_fds,))
        )
    if "user" in made:
        assert prepared.inside_ids is not None  # made from the maps, which a new user namespace has
        steps.append(
            Step(
                label="become root inside", run=child_steps.become_root_inside, arguments=prepared.inside_ids
            )
        )
    elif prepared.inside_ids is not None:
        steps.append(
            Step(label="become root inside", run=child_steps.take_ids, arguments=prepared.inside_ids)
        )
    if prepared.namespace_fds and not prepared.staged:
        steps.append(
            Step(
                label="join namespaces",
                run=child_steps.join_namespaces,
                arguments=(prepared.namespace_fds,),
                plank="sees",
            )
        )
    if "cgroup" in made:
        steps.append(Step(label="new cgroup namespace", run=child_steps.make_cgroup_namespace, plank="sees"))
    if wishes.keyring:
        arguments = (f"_ses.{wishes.id}", prepared.inside_ids is not None)
        steps.append(
            Step(label="new session keyring", run=child_steps.join_keyring, arguments=arguments, plank="sees")
        )
    if "network" in made:
        steps.append(Step(label="loopback up", run=child_steps.loopback_up, plank="sees"))
    if spec.linux.sysctl or plan_labels(spec.process):
        from sampan.runtime.sysctls import open_private_proc

        steps.append(Step(label="open a private procfs", run=open_private_proc))
    return steps


def plan_labels(process: ProcessSpec | None) -> list[tuple[str, str]]:
    if process is None:
        return []
    pairs = (("apparmor", process.apparmor_profile), ("selinux", process.selinux_label))
    return [(kind, label) for kind, label in pairs if label and label != "unconfined"]


def _root(spec: Spec, mounts: tuple[PlannedMount, ...], prepared: Prepared, wishes: Wishes) -> list[Step]:
    assert spec.process is not None  # check_config
    wanted = spec.linux.rootfs_propagation.removeprefix("r")
    cut = {"shared": 0, "private": k.MS_PRIVATE, "unbindable": k.MS_PRIVATE}.get(wanted, k.MS_SLAVE)
    steps = [
        Step(label=prepared.root_text, run=rootfs.attach_root, arguments=(prepared.root_fd, cut), plank="is")
    ]
    steps += [_mount_step(mount, prepared.source_fds.get(index, -1)) for index, mount in enumerate(mounts)]
    if not any(mount.kind == "bind" and mount.destination == "/dev" for mount in mounts):
        steps += _dev(spec, prepared)
    if spec.process.cwd != "/":
        steps.append(
            Step(label="make the working directory", run=rootfs.make_directory, arguments=(spec.process.cwd,))
        )
    steps += _create_hooks(spec, prepared)
    if wishes.pivot:
        steps.append(Step(label="pivot_root", run=rootfs.pivot, plank="sees"))
    else:
        steps.append(Step(label="hide the host's mounts", run=rootfs.hide_host_mounts))
        steps.append(Step(label="enter the root", run=rootfs.enter_covering_root, plank="sees"))
    return steps


def _dev(spec: Spec, prepared: Prepared) -> list[Step]:
    nodes = devices.plan_nodes(spec.linux.devices)
    return [
        Step(
            label=f"{len(nodes)} device nodes",
            run=devices.make_nodes,
            arguments=(nodes, prepared.inside_ids is not None),
            plank="may",
        ),
        Step(label="links in /dev", run=devices.make_links, arguments=(prepared.has_kcore,)),
    ]


def _mount_step(mount: PlannedMount, source_fd: int) -> Step:
    label = mount.describe()
    if mount.made_by_parent:
        return Step(
            label=label,
            run=rootfs.attach_bind,
            arguments=(source_fd, mount.destination, mount.options),
            plank="sees",
        )
    if mount.kind == "link":
        return Step(label=label, run=rootfs.make_link, arguments=(mount.destination, mount.source))
    if mount.kind == "read-only":
        return Step(label=label, run=rootfs.make_mount_readonly, arguments=(mount.destination,))
    fill = _copy_up() if mount.options.copy_up else None
    arguments = (mount.fstype, mount.source, mount.destination, mount.options, fill)
    return Step(label=label, run=rootfs.mount_file_system, arguments=arguments, plank="sees")


def _copy_up() -> Callable[[int, int], None]:
    from sampan.runtime.copy_up import copy_tree

    return copy_tree


def _create_hooks(spec: Spec, prepared: Prepared) -> list[Step]:
    steps = []
    if spec.hooks.prestart or spec.hooks.create_runtime:
        steps.append(Step(label="prestart and createRuntime hooks", run=child_steps.parent_hooks))
    if spec.hooks.create_container:
        from sampan.runtime.hooks import container_hooks

        steps.append(
            Step(
                label="createContainer hooks",
                run=container_hooks,
                arguments=(spec.hooks.create_container, prepared.state),
            )
        )
    return steps


def _foreign_root(spec: Spec, prepared: Prepared) -> list[Step]:
    """Without a mount namespace of its own the container only gets another root directory."""
    return [
        Step(label="take the root directory", run=_take_root, arguments=(prepared.root_fd,)),
        *_create_hooks(spec, prepared),
        Step(label="chroot", run=rootfs.change_root, plank="sees"),
    ]


def _take_root(child: Child, root_fd: int) -> None:
    child.root_fd = root_fd


def _inside(spec: Spec, wanted: Program, wishes: Wishes, *, own_mounts: bool) -> list[Step]:
    steps = []
    if wanted.terminal:
        from sampan.runtime.console import open_console

        steps.append(
            Step(
                label="open a terminal",
                run=open_console,
                arguments=(_size(spec.process, wishes.console_size), wanted.uid, own_mounts),
                plank="is",
            )
        )
    kind = spec.linux.rootfs_propagation
    if kind:
        steps.append(
            Step(
                label=f"root propagation {kind}",
                run=rootfs.set_root_propagation,
                arguments=(_PROPAGATION[kind.removeprefix("r")], kind.startswith("r")),
                plank="sees",
            )
        )
    if spec.root.readonly:
        steps.append(Step(label="read-only root", run=rootfs.make_root_readonly, plank="may"))
    if spec.hostname or spec.domainname:
        names = (spec.hostname, spec.domainname)
        steps.append(
            Step(label=f"hostname {spec.hostname}", run=child_steps.set_names, arguments=names, plank="sees")
        )
    return steps


def _size(process: ProcessSpec | None, wish: ConsoleSize | None) -> tuple[int, int] | None:
    size = wish or (process.console_size if process is not None else None)
    return (size.height, size.width) if size is not None else None


def plan_sysctls(spec: Spec) -> list[Step]:
    """Return the step that writes the sysctls, if there are any."""
    if not spec.linux.sysctl:
        return []
    from sampan.runtime.sysctls import set_sysctls

    pairs = tuple(spec.linux.sysctl.items())
    label = "sysctls " + ", ".join(f"{name}={value}" for name, value in pairs)
    return [Step(label=label, run=set_sysctls, arguments=(pairs,), plank="may")]


def _restrictions(spec: Spec, prepared: Prepared) -> list[Step]:
    steps = []
    if spec.linux.readonly_paths:
        paths = spec.linux.readonly_paths
        steps.append(
            Step(
                label=f"{len(paths)} read-only paths",
                run=restrictions.make_readonly,
                arguments=(paths,),
                plank="may",
            )
        )
    if spec.linux.masked_paths:
        paths = spec.linux.masked_paths
        steps.append(
            Step(
                label=f"{len(paths)} masked paths",
                run=restrictions.mask_paths,
                arguments=(paths, prepared.null_fd),
                plank="sees",
            )
        )
    return steps


def plan_program_steps(process: ProcessSpec | None, wanted: Program, *, die_with_parent: bool) -> list[Step]:
    """Return the steps from a finished container to just before execve; init and exec share them."""
    load = _load_step(wanted.filter)
    steps = [Step(label="set attributes", run=program.set_attributes, arguments=(wanted,))]
    steps.append(Step(label="enter the working directory", run=program.enter_cwd, arguments=(wanted,)))
    steps += _label_steps(process)
    steps.append(Step(label="place descriptors", run=program.place_descriptors, arguments=(wanted,)))
    if wanted.rlimits:
        label = f"{len(wanted.rlimits)} resource limits"
        steps.append(Step(label=label, run=program.set_rlimits, arguments=(wanted,), plank="may"))
    if load is not None and not wanted.no_new_privileges:
        steps.append(load)  # needs CAP_SYS_ADMIN, which become_user gives up
    steps.append(
        Step(
            label=f"user {wanted.uid}:{wanted.gid}, {len(wanted.caps.permitted)} capabilities",
            run=program.become_user,
            arguments=(wanted,),
            plank="may",
        )
    )
    steps.append(
        Step(label="bond to the parent", run=child_steps.bind_to_parent, arguments=(die_with_parent,))
    )
    if load is not None and wanted.no_new_privileges:
        steps.append(load)
    return steps


def _load_step(filter: Filter | None) -> Step | None:
    if filter is None:
        return None
    from sampan.runtime.filters import load_filter

    label = f"seccomp filter of {len(filter.program) // 8} instructions"
    return Step(label=label, run=load_filter, arguments=(filter,), plank="may")


def _label_steps(process: ProcessSpec | None) -> list[Step]:
    labels = plan_labels(process)
    if not labels:
        return []
    from sampan.runtime.procfs_labels import set_exec_label

    return [
        Step(label=f"{kind} label {label}", run=set_exec_label, arguments=(kind, label), plank="may")
        for kind, label in labels
    ]
