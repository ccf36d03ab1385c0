"""Where `sampan build --output` puts the result: a directory, an archive, a registry. Lean."""

from __future__ import annotations

import os

from sampan.cli.archives import check_destination, write_archive
from sampan.cli.outcome import UsageError
from sampan.client.http import quote
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.cli.context import Context
    from sampan.client.session import Session

_KINDS = ("local", "tar", "oci", "docker", "image", "registry")
_KNOWN = ("type", "dest", "name", "push")


@record
class Output:
    """One `--output`. dest: a path, `-` for standard output; names: of the image, for a registry."""

    kind: str
    dest: str = ""
    names: tuple[str, ...] = ()


def parse_output(text: str) -> Output:
    """Read `type=KIND,dest=PATH`, or a directory, or `-`.

    Raises:
        UsageError: it is malformed.
    """
    if text == "-":
        return Output(kind="tar", dest="-")
    if "=" not in text:
        return Output(kind="local", dest=text)
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or key.strip().lower() not in _KNOWN:
            raise UsageError(f"--output {text!r}: {part!r} is none of {', '.join(_KNOWN)}")
        fields[key.strip().lower()] = value
    kind, dest = fields.get("type", ""), fields.get("dest", "")
    if kind not in _KINDS:
        raise UsageError(f"--output {text!r}: type is one of {', '.join(_KINDS)}")
    if kind == "image":
        kind = "registry" if fields.get("push", "") in ("true", "1") else "image"
    if kind == "local" and dest in ("", "-"):
        raise UsageError(f"--output {text!r}: dest=DIRECTORY is missing")
    names = tuple(name for name in fields.get("name", "").split(",") if name)
    return Output(kind=kind, dest=dest or "-", names=names)


def check_outputs(outputs: Sequence[Output], tags: Sequence[str]) -> None:
    """Refuse what cannot work before anything is built.

    Raises:
        UsageError, Failed: in the words of what was asked for.
    """
    if sum(one.dest == "-" for one in outputs if one.kind in ("tar", "oci", "docker")) > 1:
        raise UsageError("--output: only one can be written to standard output")
    for one in outputs:
        if one.kind == "registry" and not (one.names or tags):
            raise UsageError("--output type=registry needs the image's name: --tag NAME")
        if one.kind in ("tar", "oci", "docker"):
            check_destination(one.dest, instead=f"--output type={one.kind},dest=FILE")


def write_outputs(context: Context, image_id: str, outputs: Sequence[Output], tags: Sequence[str]) -> None:
    """Fetch and write, in the order given."""
    session = context.session()
    for one in outputs:
        if one.kind == "local":
            _unpack(session, image_id, one.dest)
        elif one.kind == "tar":
            response = session.open("GET", f"/sampan/v1/images/{quote(image_id)}/rootfs", patient=True)
            write_archive(response, one.dest, flag="--output")
        elif one.kind in ("oci", "docker"):
            names = [("names", name) for name in tags or [image_id]]
            response = session.open("GET", "/images/get", names, patient=True)
            write_archive(response, one.dest, flag="--output")
        elif one.kind == "registry":
            from sampan.cli.pull import push_image

            for name in one.names or tags:
                push_image(context, name, quiet=False)


def _unpack(session: Session, image_id: str, folder: str) -> None:
    """Write an image's files below a directory, which is made; links of the image lead nowhere outside."""
    from sampan.store.archive.placing import AS_CALLER, Rules, place

    response = session.open("GET", f"/sampan/v1/images/{quote(image_id)}/rootfs", patient=True)
    os.makedirs(folder, exist_ok=True)
    owner = None if os.geteuid() == 0 else AS_CALLER
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place(response.read_some, fd, b"", Rules(owner=owner))
    finally:
        os.close(fd)
    while response.read_some():
        pass
