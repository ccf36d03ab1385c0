"""What `import sampan` offers: cheaply, and the same for asyncio."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sampan
from sampan.client import aio, aio_container, api, attachment, container, containers, execs, images, volumes

SOURCE = Path(__file__).parents[3] / "src"

MIRRORED = [
    (api.Client, aio.AsyncClient),
    (containers.Containers, aio.AsyncContainers),
    (container.Container, aio_container.AsyncContainer),
    (execs.Exec, aio_container.AsyncExec),
    (images.Images, aio.AsyncImages),
    (volumes.Volumes, aio.AsyncVolumes),
    (attachment.Attachment, aio_container.AsyncAttachment),
]
# Steps that the asyncio client takes itself.
INNER = {
    "documents", "open_stream", "session", "open_wait", "open_logs", "log_splitter", "split", "read_some",
    "fileno", "abort",
}  # fmt: skip


def methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_")
    }


@pytest.mark.parametrize(("sync", "mirror"), MIRRORED, ids=lambda kind: kind.__name__)
def test_asyncio_has_the_same_methods(sync: type, mirror: type) -> None:
    there = methods(mirror)
    for name, signature in methods(sync).items():
        if name not in INNER:
            assert name in there, f"{mirror.__name__} has no {name}"
            assert list(signature.parameters.values()) == list(there[name].parameters.values()), name


@pytest.mark.parametrize("name", [*sampan._OFFERED, "errors"])
def test_each_name_is_there(name: str) -> None:
    assert getattr(sampan, name) is not None
    assert name in dir(sampan)


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'contaner'"):
        getattr(sampan, "contaner")  # noqa: B009 -- the type checker would find it


def test_the_import_loads_nothing() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); before = {{*sys.modules}}; import sampan; "
        "print(sorted({*sys.modules} - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("['__future__', 'sampan']", "['sampan']")


def test_the_client_needs_the_standard_library_only() -> None:
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); "
    code += "import sampan; sampan.AsyncClient, sampan.run, sampan.TlsFiles"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True)
