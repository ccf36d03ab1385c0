"""Images: the store's verbs, with events and the Docker API's shapes."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
from msgspec import UNSET

from sampan.engine.core import Core
from sampan.engine.images.flattening import flatten
from sampan.engine.images.hello_image import make_hello, resolve_image
from sampan.engine.images.mounting import ImageMounting
from sampan.engine.images.saving import open_save
from sampan.engine.images.views import Difference, TreeLayer, read_differences, read_tree
from sampan.engine.lifecycle.pruning import parse_prune_filter, parse_truth, tell_prune
from sampan.engine.observing.events import image_event
from sampan.engine.observing.usage import layer_bytes
from sampan.engine.patterns import compile_filter
from sampan.engine.records import Record
from sampan.engine.times import format_time, parse_until_ns
from sampan.engine.types import LoadedImage
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.ids import ContainerId, Digest
from sampan.spec import docker
from sampan.spec.image import ContainerDefaults
from sampan.store import bootstrap
from sampan.store.changes import apply_changes
from sampan.store.model import Image, ImageUser, Progress
from sampan.store.platforms import matches, parse_platform
from sampan.store.references import Reference, make_tagged
from sampan.store.saving import OpenSave

if TYPE_CHECKING:
    from sampan.engine.images.importing import UrlImport

Summaries = list[docker.ImageSummary]
Deletions = Sequence[docker.ImageDelete]
LayerTree = Sequence[TreeLayer]
Differences = Sequence[Difference]
Filters = Mapping[str, Sequence[str]]
Labels = Mapping[str, str]
_FILTERS: Final = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


class Images:
    """ref is a name with optional tag or digest, a full id (`sha256:` optional) or a unique prefix of one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._images = core.store.images
        self.mounts = ImageMounting(core)

    def inspect(self, ref: str, *, platform: str = "") -> docker.ImageInspect:
        """Tell everything about an image; platform: of several with the name.

        Raises:
            NotFound: `No such image: X:tag`, or it is not for the platform.
        """
        image = self._for_platform(ref, platform)
        config = image.config
        return docker.ImageInspect(
            Id=image.id,
            RepoTags=[tag.familiar for tag in image.tags],
            RepoDigests=[digest.familiar for digest in image.digests],
            Parent=image.parent or "",
            Comment=config.comment or (config.history[-1].comment if config.history else ""),
            Created=config.created or UNSET,
            DockerVersion=config.docker_version,
            Author=config.author,
            Config=config.config,
            Architecture=config.architecture,
            Variant=config.variant or UNSET,
            Os=config.os or "linux",
            Size=image.size_bytes,
            GraphDriver=docker.GraphDriver(Name=self._core.store.snapshots.drivers.choose()),
            RootFS=docker.RootFS(Layers=list(image.layers)),
            Metadata=docker.ImageMetadata(LastTagTime=format_time(image.last_tagged_ns)),
        )

    def _for_platform(self, ref: str, text: str) -> Image:
        platform = parse_platform(text) if text else None
        image = resolve_image(self._core, ref, platform)
        if platform is not None and not matches(platform, image.config.platform):
            raise NotFound(
                f"image with reference {ref} was found but does not provide the specified platform "
                f"({platform})"
            )
        return image

    def history(self, ref: str, *, platform: str = "") -> list[docker.HistoryItem]:
        """List the steps an image was made by, newest first."""
        return [
            docker.HistoryItem(
                Id=entry.image_id or "<missing>",
                Created=_unix(entry.created),
                CreatedBy=entry.created_by,
                Tags=[tag.familiar for tag in entry.tags] or None,
                Size=entry.size_bytes,
                Comment=entry.comment,
            )
            for entry in self._images.history(self._for_platform(ref, platform))
        ]

    def tag(self, ref: str, *, repository: str, tag: str = "") -> None:
        """Give an image another name."""
        image = resolve_image(self._core, ref)
        reference = make_tagged(repository, tag)
        self._images.tag(image, reference, source=ref)
        self._emit("tag", image.id, reference.familiar)

    def remove_platforms(self, ref: str, platforms: Sequence[str], *, force: bool) -> Deletions:
        """Remove an image for some platforms; the name stays while it means another one.

        Raises:
            NotFound: there is none for a platform. Conflict: as `remove`.
        """
        images = [self._for_platform(ref, one) for one in platforms]
        return [step for image in images for step in self.remove(image.id, force=force)]

    def remove(self, ref: str, *, force: bool = False, prune: bool = True) -> list[docker.ImageDelete]:
        """Untag, and delete with the last reference; there are no parents that prune could spare.

        Raises:
            Conflict: it has other names or is in use; in Docker's words.
        """
        image = self._images.resolve_any(ref)
        try:
            removed = self._images.remove(ref, force=force, users=self._users)
        except Conflict as exc:
            if place := self.mounts.place_of(image.id):
                hint = f"sampan image unmount {ref}"
                raise Conflict(f"cannot remove {ref}: it is mounted at {place}", hint=hint) from exc
            raise
        answer = []
        for step in removed:
            if step.kind == "untagged":
                answer.append(docker.ImageDelete(Untagged=step.text))
                self._emit("untag", image.id, step.text, labels=image.config.config.Labels or {})
            else:
                answer.append(docker.ImageDelete(Deleted=step.text))
        if any(step.kind == "deleted" and step.text == image.id for step in removed):
            self._emit("delete", image.id, image.id, labels={})
        return answer

    def load(
        self,
        stream: BinaryIO,
        *,
        platform: str = "",
        progress: Callable[[str], None] | None = None,
        lend: bool = False,
    ) -> list[LoadedImage]:
        """Take the images of a `docker save` or OCI archive: tar, plain or compressed.

        lend: blobs that it lacks are taken from images here.
        """
        wanted = parse_platform(platform) if platform else None

        def say(step: Progress) -> None:
            if progress is not None:
                progress(f"{step.layer}: {step.status} {step.current_bytes}/{step.total_bytes}")

        found = []
        lender = self._core.store.lending.find if lend else None
        for loaded in self._images.load(stream, platform=wanted, progress=say, lend=lender):
            name = None if loaded.reference is None else loaded.reference.familiar
            found.append(LoadedImage(reference=name, image_id=loaded.image_id))
            self._emit("load", loaded.image_id, name or loaded.image_id)
        return found

    def open_save(self, refs: Sequence[str], *, platforms: Sequence[str] = ()) -> OpenSave:
        """Return an archive of images, as `load` takes it; the caller writes and closes it.

        platforms: of a name that means several images; none: all that are here.

        Raises:
            NotFound: `No such image: X:tag`, or it is not for a platform.
        """
        return open_save(self._core, refs, platforms=[parse_platform(text) for text in platforms])

    def import_rootfs(
        self,
        stream: BinaryIO,
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
        source: str = "-",
    ) -> str:
        """Make an image of one root file system archive; returns its id. source: for the message."""
        reference = make_tagged(repository, tag) if repository else None
        image_id = self._images.import_rootfs(
            stream,
            reference=reference,
            message=message or f"Imported from {source}",
            changes=changes,
            platform=parse_platform(platform) if platform else None,
        )
        if reference is not None:
            self._emit("tag", image_id, reference.familiar)
        self._emit("import", image_id, reference.familiar if reference is not None else image_id)
        return image_id

    def open_import(
        self, url: str, *, repository: str, tag: str, message: str, changes: Sequence[str], platform: str
    ) -> UrlImport:
        """Begin to fetch a root file system archive, of which `UrlImport.run` makes an image.

        Raises:
            InvalidArgument: no URL, a wrong name or change. NotFound: the server has no such file.
            SampanError: the server cannot be reached.
        """
        from sampan.engine.images.importing import UrlImport

        if repository:
            make_tagged(repository, tag)
        apply_changes(ContainerDefaults(), changes)
        if platform:
            parse_platform(platform)
        return UrlImport(
            url,
            lambda body: self.import_rootfs(
                body,
                repository=repository,
                tag=tag,
                message=message,
                changes=changes,
                platform=platform,
                source=url,
            ),
        )

    def flatten(self, ref: str, *, repository: str = "", tag: str = "") -> str:
        """Make an image with one layer that holds the tree of an image; returns its id.

        Raises:
            NotFound: `No such image: X:tag`. SampanError: the disk is full.
        """
        return flatten(self._core, ref, repository=repository, tag=tag)

    def tree(self, refs: Sequence[str]) -> LayerTree:
        """Return the layers of images, all of them if none is named (`image_views.read_tree`)."""
        return read_tree(self._core, refs)

    def diff(self, first: str, second: str) -> Differences:
        """Return the paths that differ between two images (`image_views.read_differences`)."""
        return read_differences(self._core, first, second)

    def bootstrap(self, name: str, *, progress: Callable[[str], None] | None = None) -> str:
        """Make a base image from the distribution's packages: `busybox`, `debian[:suite]` or `hello`.

        Raises:
            InvalidArgument: another name.
            Unavailable: the packages cannot be had.
        """
        kind, _, suite = name.partition(":")
        match kind:
            case "busybox" if not suite:
                archive = bootstrap.busybox(say=progress)
            case "debian":
                archive = bootstrap.debian(suite or "bookworm", say=progress)
            case "hello" if not suite:
                return make_hello(self._core)
            case _:
                raise InvalidArgument(
                    f"no recipe for base image {name!r}", hint="there are busybox, debian[:suite] and hello"
                )
        with archive:
            return self.load(archive)[0].image_id

    def prune(self, filters: Filters | None = None) -> docker.ImagesPrune:
        """Delete images without a tag, or with `dangling=false` all that no container uses.

        Raises:
            InvalidArgument: an unknown filter, or a value that is none.
            Conflict: another prune runs.
        """
        wanted = parse_prune_filter(filters or {}, also=("dangling",))
        dangling_only = parse_truth(filters or {}, "dangling", default=True)
        with self._core.image_prune.taken():
            sizes = layer_bytes(self._core, ()).sizes
            deleted: list[docker.ImageDelete] = []
            for image in self._images.list():
                created_ns = _unix(image.config.created) * 10**9
                if wanted.passes(image.config.config.Labels or {}, created_ns=created_ns) and not (
                    dangling_only and image.tags
                ):
                    deleted += self._remove_unused(image)
            gone = {str(step.Deleted) for step in deleted if step.Deleted is not UNSET}
            freed = sum(size for chain_id, size in sizes.items() if chain_id in gone)
            tell_prune(self._core, "image", freed)
        return docker.ImagesPrune(ImagesDeleted=deleted, SpaceReclaimed=freed)

    def _remove_unused(self, image: Image) -> Sequence[docker.ImageDelete]:
        """Take every name away, never by force: a container may be made of the image meanwhile."""
        steps: list[docker.ImageDelete] = []
        if self._users(image.id):
            return steps
        for name in [reference.familiar for reference in image.references] or [str(image.id)]:
            try:
                steps += self.remove(name)
            except (Conflict, NotFound):
                break  # taken or gone meanwhile
        return steps

    def usage(self) -> Summaries:
        """List images as `list` does, with the bytes each shares with another."""
        images = self._images.list()
        layers = layer_bytes(self._core, images)
        return [
            msgspec.structs.replace(self._summary(image, lambda _: True), SharedSize=layers.shared(image))
            for image in images
        ]

    def list(self, *, all: bool = False, filters: Filters | None = None) -> Summaries:
        """List images, newest first; the filter `reference` also leaves out an image's other names.

        Raises:
            InvalidArgument: an unknown filter.
        """
        tests = _make_tests(self._images.resolve, filters or {})
        shows = _reference_test((filters or {}).get("reference", ()))
        return [self._summary(image, shows) for image in self._images.list() if all_hold(tests, image)]

    def _summary(self, image: Image, shows: Callable[[Reference], bool]) -> docker.ImageSummary:
        return docker.ImageSummary(
            Id=image.id,
            RepoTags=[tag.familiar for tag in image.tags if shows(tag)],
            RepoDigests=[digest.familiar for digest in image.digests if shows(digest)],
            Created=_unix(image.config.created),
            Size=image.size_bytes,
            Labels=image.config.config.Labels,
            Containers=len(self._containers(image.id)),
        )

    def _users(self, image_id: Digest) -> Sequence[ImageUser]:
        mounted = [ImageUser(ContainerId("mount"), running=True)] if self.mounts.place_of(image_id) else []
        return [*self._containers(image_id), *mounted]

    def _containers(self, image_id: Digest) -> Sequence[ImageUser]:
        return [
            ImageUser(ContainerId(container.id), container.running)
            for container in self._core.index.all()
            if container.record.image_id == image_id or _has_mounted(container.record, image_id)
        ]

    def _emit(self, action: str, image_id: str, name: str, *, labels: Labels | None = None) -> None:
        """Tell what happened to an image: its labels are attributes, unless it is gone."""
        if labels is None:
            try:
                labels = self._images.get(Digest(image_id)).config.config.Labels
            except NotFound:
                labels = None
        self._core.events.emit(image_event(action, image_id, name, labels))


def _has_mounted(record: Record, image_id: str) -> bool:
    return any(mount.kind == "image" and mount.source == image_id for mount in record.mounts or ())


Test = Callable[[Image], bool]


def all_hold(tests: Sequence[Test], image: Image) -> bool:
    """Tell whether an image passes every test."""
    return all(test(image) for test in tests)


def _make_tests(resolve: Callable[[str], Image], filters: Filters) -> Sequence[Test]:
    for key in filters:
        if key not in _FILTERS:
            raise InvalidArgument(f"invalid filter '{key}'")
    return [_make_test(resolve, key, values) for key, values in filters.items() if values]


def _make_test(resolve: Callable[[str], Image], key: str, values: Sequence[str]) -> Test:
    match key:
        case "dangling":
            wants_dangling = not _is_false(values[0])
            return lambda image: (not image.tags) == wants_dangling
        case "label":
            return lambda image: all(_has_label(image, value) for value in values)
        case "label!":
            return lambda image: not any(_has_label(image, value) for value in values)
        case "before":
            limit = min(_unix(resolve(value).config.created) for value in values)
            return lambda image: _unix(image.config.created) < limit
        case "since":
            limit = max(_unix(resolve(value).config.created) for value in values)
            return lambda image: _unix(image.config.created) > limit
        case "until":
            limit = min(parse_until_ns(value) for value in values) // 10**9
            return lambda image: _unix(image.config.created) < limit
    shows = _reference_test(values)
    return lambda image: any(shows(reference) for reference in image.references)


def _reference_test(values: Sequence[str]) -> Callable[[Reference], bool]:
    """Return what tells whether a reference matches one of these globs; without any, all do."""
    if not values:
        return lambda _reference: True
    patterns = [compile_filter(_glob_to_pattern(value), key="reference") for value in values]
    return lambda reference: any(
        pattern.fullmatch(name) for pattern in patterns for name in _names(reference)
    )


def _glob_to_pattern(value: str) -> str:
    """Turn `busy*:latest` into a regular expression; `*` and `?` stop at a slash (Go's path.Match)."""
    escaped = "".join(f"\\{letter}" if not letter.isalnum() else letter for letter in value)
    return escaped.replace("\\*", "[^/]*").replace("\\?", "[^/]")


def _names(reference: Reference) -> tuple[str, ...]:
    return (reference.familiar, reference.familiar_name, str(reference), reference.name)


def _has_label(image: Image, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    labels = image.config.config.Labels or {}
    return key in labels and (not equals or labels[key] == value)


def _is_false(value: str) -> bool:
    return value.strip().lower() in ("", "0", "no", "false", "none")


def _unix(created: str) -> int:
    """Return unix seconds of an RFC 3339 time; 0 when it is absent or has another form."""
    try:
        return calendar.timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0
