"""What a client wants of the image that a build came to: its names here, or its files sent (`--output`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit import sending
from sampan.daemon.buildkit.options import read_attestations
from sampan.daemon.buildkit.progress import Progress
from sampan.daemon.buildkit.sessions import Session
from sampan.errors import Unsupported
from sampan.store.references import parse_tagged

if TYPE_CHECKING:
    from sampan.engine.builds.builds import Builds

_HERE: Final = ("moby", "image")
_ARCHIVES: Final = ("oci", "docker")  # one archive that is both, as `save` writes it
_SENT: Final = ("tar", "local", *_ARCHIVES)


@dataclass(frozen=True, slots=True)
class Output:
    """One output. number: its place in the request, by which the client knows it.

    annotations: texts that are not kept; the user is told so.
    """

    number: int
    kind: str
    names: tuple[str, ...]
    annotations: tuple[str, ...] = ()


def read_outputs(request: m.ControlSolveRequest) -> list[Output]:
    """Read what is wanted; none for a build for its cache.

    Raises:
        Unsupported: an output of a kind that is not there yet.
    """
    if request.exporters:
        wanted = [(one.type, dict(one.attrs)) for one in request.exporters]
    else:
        wanted = [(request.exporter, dict(request.exporter_attrs))] if request.exporter else []
    return [_read(number, kind, attributes) for number, (kind, attributes) in enumerate(wanted)]


def _read(number: int, kind: str, attributes: Mapping[str, str]) -> Output:
    if kind not in (*_HERE, *_SENT):
        raise Unsupported(
            f"not supported yet: output of type {kind!r}", hint="use image, local, tar, oci or docker"
        )
    if kind in _ARCHIVES and attributes.get("tar", "true") != "true":
        raise Unsupported(f"not supported yet: output of type {kind} as a directory", hint="use dest=FILE")
    names = attributes.get("name", "")
    annotations = tuple(sorted(name for name in attributes if name.startswith("annotation")))
    return Output(number, kind, tuple(name for name in names.split(",") if name), annotations)


def check_outputs(outputs: Sequence[Output], options: Mapping[str, str]) -> None:
    """Refuse outputs that have no room for what a build is asked for.

    Raises:
        Unsupported: files of several platforms; attestations of what has no name here.
    """
    kinds = {one.kind for one in outputs}
    if "," in options.get("platform", "") and kinds & {"local", "tar"}:
        raise Unsupported("not supported yet: files of several platforms", hint="use --output type=oci")
    if read_attestations(options) and not names_of(outputs):
        raise Unsupported(
            "attestations belong to an image's name here, and this output gives it none", hint="use --tag"
        )


def names_of(outputs: Sequence[Output]) -> list[str]:
    """Return every name that the image is to have here."""
    return [name for one in outputs if one.kind in _HERE for name in one.names]


class Sender:
    """Carries outputs out; from a worker thread."""

    def __init__(self, builds: Builds, session: Session, progress: Progress) -> None:
        self._builds = builds
        self._session = session
        self._progress = progress

    def send(self, output: Output, image_ids: Sequence[str]) -> dict[str, str]:
        """Carry one out and return what the client is told of it.

        Raises:
            SampanError, GRPCError: the client does not take it.
        """
        if output.annotations:
            self._progress.warn(f"annotations are not kept: {', '.join(output.annotations)}")
        if output.kind in _HERE:
            return self._tell(output, image_ids)
        if output.kind != "local":
            is_root = output.kind == "tar"
            shown = "exporting to client tarball" if is_root else f"exporting to {output.kind} image format"
            with self._progress.node(shown) as node:
                content = (
                    self._builds.open_root(image_ids[0])
                    if is_root
                    else self._builds.open_archive(image_ids, output.names)
                )
                size = sending.send_archive(content, self._session, number=output.number)
                self._progress.count(node, "sending tarball", current=size, done=True)
        else:
            with self._progress.node("exporting to client directory") as node:
                count = sending.send_files(self._builds, self._session, image_ids[0], number=output.number)
                self._progress.count(node, f"copying {count} files", current=0, done=True)
        return {}

    def _tell(self, output: Output, image_ids: Sequence[str]) -> dict[str, str]:
        """Say what the image is: it was built where images are, and named with the build."""
        with self._progress.node("exporting to image") as node:
            for image_id in image_ids:
                self._progress.count(node, f"writing image {image_id}", current=0, done=True)
            for name in output.names:
                self._progress.count(node, f"naming to {parse_tagged(name)}", current=0, done=True)
        found = dict.fromkeys(("containerimage.digest", "containerimage.config.digest"), image_ids[0])
        return {**found, "image.name": ",".join(output.names)} if output.names else found
