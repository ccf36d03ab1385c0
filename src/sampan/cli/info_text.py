"""`info` and `version` as text. Lean; no script should read these: that is what `--format` is for."""

from __future__ import annotations

from sampan.cli.table import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INFO = (
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Root Dir", "DockerRootDir"),
)
_VERSION = (
    ("Version", "Version"),
    ("API version", "ApiVersion"),
    ("Minimum API", "MinAPIVersion"),
    ("OS/Arch", "Os"),
    ("Kernel", "KernelVersion"),
)


def info_lines(document: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of `sampan info`."""
    yield f"Containers: {document.get('Containers')}"
    for state in ("Running", "Paused", "Stopped"):
        yield f" {state}: {document.get(f'Containers{state}')}"
    yield f"Images: {document.get('Images')}"
    for heading, key in _INFO:
        value = document.get(key)
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        if key == "MemTotal" and isinstance(value, int):
            value = human_size(value)
        if value not in (None, ""):
            yield f"{heading}: {value}"
    warnings = document.get("Warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        yield str(warning)


def version_lines(client: Mapping[str, object], server: Mapping[str, object] | None) -> Iterator[str]:
    """Yield the lines of `sampan version`."""
    for title, part in (("Client", client), ("Server", server)):
        if part is None:
            continue
        yield f"{title}:"
        for heading, key in _VERSION:
            value = part.get(key)
            if key == "Os" and value:
                value = f"{value}/{part.get('Arch')}"
            if value:
                yield f" {heading + ':':<13}{value}"
