"""Put config.json together."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from sampan.engine.bundle.devices import make_device_nodes, make_device_rules
from sampan.engine.bundle.limits import make_rlimits
from sampan.engine.bundle.mount_parsing import parse_mounts
from sampan.engine.bundle.mounts import make_mounts, root_propagation
from sampan.engine.bundle.namespaces import make_namespaces, parse_host_flag
from sampan.engine.bundle.plan import BundlePlan, Document, Warn
from sampan.engine.bundle.privileges import (
    SecurityOptions,
    choose_capabilities,
    choose_paths,
    parse_security_options,
)
from sampan.engine.bundle.process import command_of, make_environment, make_process
from sampan.engine.bundle.resources import make_resources
from sampan.engine.bundle.seccomp import default_document, resolve_profile
from sampan.engine.bundle.sysctls import choose_sysctls
from sampan.spec.runtime import OCI_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A finished configuration. process is the part that execs take over; warnings are for the user."""

    document: Document
    warnings: tuple[str, ...]


def make_bundle(plan: BundlePlan) -> Bundle:
    """Translate a plan to OCI runtime-spec 1.2.

    Raises:
        InvalidArgument, Unsupported: a field that is wrong or cannot be honoured; the message names it.
    """
    warnings: list[str] = []
    warn = warnings.append
    options = parse_security_options(plan.host.SecurityOpt, machine=plan.machine, warn=warn)
    capabilities = choose_capabilities(plan.host, plan.machine)
    user_mounts = parse_mounts(plan.host) if plan.mounts is None else plan.mounts
    hostname = hostname_of(plan)
    document: Document = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs", "readonly": plan.host.ReadonlyRootfs},
        "process": _process(plan, options, capabilities, hostname=hostname, warn=warn),
        "mounts": make_mounts(plan, user_mounts),
        "annotations": dict(plan.host.Annotations),
        "linux": _linux(plan, options, capabilities, warn),
    }
    linux = document["linux"]
    assert isinstance(linux, dict)
    propagation = root_propagation(user_mounts)
    linux.update({"rootfsPropagation": propagation} if propagation else {})
    if not parse_host_flag(plan.host.UTSMode, field="UTS mode"):
        document["hostname"] = hostname
        document.update({"domainname": plan.config.Domainname} if plan.config.Domainname else {})
    return Bundle(document=document, warnings=tuple(dict.fromkeys(warnings)))


def hostname_of(plan: BundlePlan) -> str:
    """Return the hostname: the host's with its UTS or network namespace, else as asked, else the id."""
    if parse_host_flag(plan.host.UTSMode, field="UTS mode"):
        return socket.gethostname()
    if plan.config.Hostname:
        return plan.config.Hostname
    return socket.gethostname() if plan.host.NetworkMode == "host" else plan.id[:12]


def _process(
    plan: BundlePlan, options: SecurityOptions, capabilities: tuple[str, ...], *, hostname: str, warn: Warn
) -> Document:
    return make_process(
        args=command_of(plan.config),
        environment=make_environment(plan.config, home=plan.user.home, hostname=hostname),
        workdir=plan.config.WorkingDir,
        user=plan.user,
        terminal=plan.config.Tty,
        capabilities=capabilities,
        no_new_privileges=options.no_new_privileges or plan.no_new_privileges,
        rlimits=make_rlimits(plan, warn),
        oom_score_adj=plan.host.OomScoreAdj,
        apparmor=options.apparmor,
        console_size=plan.host.ConsoleSize,
    )


def _linux(plan: BundlePlan, options: SecurityOptions, capabilities: tuple[str, ...], warn: Warn) -> Document:
    masked, read_only = choose_paths(plan.host, options, plan.machine)
    resources = make_resources(plan.host, plan.machine, pids_limit=plan.pids_limit, warn=warn)
    resources["devices"] = make_device_rules(plan)
    linux: Document = {
        "namespaces": make_namespaces(plan),
        "cgroupsPath": plan.cgroup,
        "resources": resources,
        "sysctl": choose_sysctls(plan.host),
        "maskedPaths": list(masked),
        "readonlyPaths": list(read_only),
        "devices": make_device_nodes(plan),
    }
    if not plan.host.Privileged and options.seccomp != "":
        chosen = frozenset(capabilities)
        linux["seccomp"] = (
            default_document(chosen)
            if options.seccomp is None
            else resolve_profile(
                options.seccomp,
                capabilities=chosen,
                arch=plan.machine.arch,
                kernel_release=plan.machine.kernel_release,
            )
        )
    return linux


def cgroup_path(container_id: str, parent: str) -> str:
    """Return the container's cgroup below every tree's root."""
    return f"/{parent.strip('/')}/{container_id}"
