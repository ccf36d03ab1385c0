"""Images by name and id: what the engine asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sampan import log
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.ids import Digest
from sampan.spec.image import (
    OCI_CONFIG,
    OCI_MANIFEST,
    ContainerDefaults,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    Platform,
    RootFS,
    encode,
)
from sampan.store.archive.compression import PlainStream, chunks_of
from sampan.store.archive.readable import Readable
from sampan.store.blobs import StagedBlob
from sampan.store.catalog import Catalog, ImageRecord
from sampan.store.changes import apply_changes
from sampan.store.collector import Collector
from sampan.store.digests import chain_ids
from sampan.store.imagearchive import layer_type, plan_archive
from sampan.store.intake import Intake, StagedImage
from sampan.store.layers import Layers
from sampan.store.layout import Layout
from sampan.store.members import Lend, Members
from sampan.store.model import HistoryEntry, Image, Loaded, ProgressCallback, Removed, Users
from sampan.store.places import Places
from sampan.store.platforms import host_platform, matches
from sampan.store.references import Reference, parse_reference
from sampan.store.removal import plan_removal
from sampan.store.sources import LayerSources
from sampan.store.staging import Staging
from sampan.store.variants import Variants

ImageList = list[Image]
RemovedList = list[Removed]

_HEX = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_FULL_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)

_HINT: Final = "make the archive again with `docker save` or `skopeo copy … docker-archive:FILE`"


class Images:
    """All images of a store; thread-safe."""

    def __init__(
        self,
        places: Places,
        catalog: Catalog,
        layers: Layers,
        sources: LayerSources,
        layout: Layout,
        intake: Intake,
        collector: Collector,
        variants: Variants,
    ) -> None:
        self._variants = variants
        self._places = places
        self._catalog = catalog
        self._layers = layers
        self._sources = sources
        self._layout = layout
        self._intake = intake
        self._collector = collector

    def load(
        self,
        stream: Readable,
        *,
        platform: Platform | None = None,
        progress: ProgressCallback | None = None,
        lend: Lend | None = None,
    ) -> list[Loaded]:
        """Take in every image of an archive: docker save or OCI layout, plain or compressed.

        Names in the archive move here from the images that have them. Of an image index everything is taken
        that the archive has; with a platform only that. lend gives blobs that it lacks. All or nothing.

        Raises:
            InvalidArgument: the archive is damaged, hostile, or holds no image.
            NotFound: an index has no manifest for the platform.
        """
        with Staging(self._places) as staging:
            try:
                members = Members.read(stream, staging, lend=lend)
                planned = plan_archive(members, staging, platform=platform)
                return self._intake.take(planned.images, indexes=planned.indexes, progress=progress)
            except InvalidArgument as exc:
                exc.hint = exc.hint or _HINT
                raise

    def import_rootfs(
        self,
        stream: Readable,
        *,
        reference: Reference | None = None,
        message: str = "",
        changes: Sequence[str] = (),
        platform: Platform | None = None,
    ) -> Digest:
        """Make an image with one layer of a tar of a root file system, plain or compressed.

        changes are lines of a Dockerfile: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL
        USER VOLUME WORKDIR.

        Raises:
            InvalidArgument: the archive or a change is wrong.
        """
        defaults = apply_changes(ContainerDefaults(), changes)
        with Staging(self._places) as staging:
            plain = PlainStream(stream)
            layer = staging.add(chunks_of(plain))
            target = platform or host_platform()
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            config = ImageConfig(
                architecture=target.architecture,
                os=target.os,
                variant=target.variant,
                created=now,
                comment=message,
                config=defaults,
                rootfs=RootFS(diff_ids=[layer.digest]),
                history=[History(created=now, comment=message)],
            )
            return self._add(staging, encode(config), [layer], [reference] if reference else [])

    def add(
        self, config: bytes, layers: Sequence[Readable], *, references: Sequence[Reference] = ()
    ) -> Digest:
        """Take in an image made here: a configuration and its layers, lowest first, plain or compressed.

        Raises:
            InvalidArgument: the layers are not those of the configuration, or damaged.
        """
        with Staging(self._places) as staging:
            staged = [staging.add(chunks_of(stream)) for stream in layers]
            return self._add(staging, config, staged, references)

    def resolve(self, text: str, platform: Platform | None = None) -> Image:
        """Find an image by name, `name@digest`, id, or a beginning of its id that only one has.

        platform: of several images with the name; without it this machine's, or the one pulled last.

        Raises:
            NotFound: `No such image: X:tag`.
            InvalidArgument: text is no reference, or several ids begin so.
        """
        image_id, named = self._find(text)
        if platform is not None and named is not None:
            for one in self._variants.images(named):
                if matches(platform, self._sources.config(one).platform):
                    return self._image(one)
        return self._image(image_id)

    def resolve_any(self, text: str) -> Image:
        """Find an image as `resolve`, also a damaged one, which has an empty configuration: to remove it.

        Raises:
            NotFound, InvalidArgument: as `resolve`.
        """
        image_id = self._find(text)[0]
        record = self._catalog.find(image_id)
        if record is None:
            raise NotFound(f"No such image: {image_id}")
        return self._describe_any(record, self._catalog.names(image_id))

    def variants(self, reference: Reference) -> ImageList:
        """Return every image that a name means, for one platform each, the usual one first."""
        return [self._image(one) for one in self._variants.images(reference.key())]

    def index_of(self, reference: Reference) -> Descriptor | None:
        """Return the index that a name was pulled by, None if it was not by one."""
        return self._variants.index_of(reference.key())

    def index_blobs(self, reference: Reference) -> Sequence[Digest]:
        """Return the blobs that are here of a name's index besides its images."""
        return self._variants.blobs(reference.key())

    def get(self, image_id: Digest) -> Image:
        """Return an image by its full id.

        Raises:
            NotFound: there is none.
        """
        return self._image(image_id)

    def list(self) -> ImageList:
        """Return every image, the newest first; of a damaged one the configuration is empty."""
        names = self._catalog.all_names()
        images = [self._describe_any(record, names.get(record.id, [])) for record in self._catalog.all()]
        return sorted(images, key=lambda image: image.config.created, reverse=True)

    def tag(self, image: Image, reference: Reference, *, source: str = "") -> None:
        """Give an image one more name; an image that has it loses it.

        source: the name that it was found by: the new one gets the images for other platforms, too.

        Raises:
            NotFound: the image is gone.
            InvalidArgument: the reference has a digest.
        """
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        if self._catalog.find(image.id) is None:
            raise NotFound(f"No such image: {image.id}")
        name = reference.with_default_tag()
        named = self._find(source)[1] if source else None
        if named == name:
            return
        self._catalog.set_name(name, image.id)
        if named is not None:
            self._variants.copy(named, name)
        self._layout.write()

    def remove(self, text: str, *, force: bool = False, users: Users) -> RemovedList:
        """Take a name from an image, or delete it with all names, by Docker's rules.

        users tells which containers were made of an image.

        Raises:
            NotFound: no such image.
            Conflict: it has other names or is in use; with Docker's texts.
        """
        image_id, named = self._find(text)
        others = self._variants.images(named)[1:] if named is not None else []
        plan = plan_removal(
            text,
            image_id=image_id,
            named=named,
            names=self._catalog.names(image_id),
            users=users(image_id),
            force=force,
        )
        if named is None:
            self._variants.part(plan.untag, image_id)
            self._catalog.remove((), delete=image_id if plan.delete else None)
        else:
            self._catalog.remove(plan.untag, delete=image_id if plan.delete else None)
        self._layout.write()
        removed = [Removed("untagged", name.familiar) for name in plan.untag]
        if plan.delete:
            removed.append(Removed("deleted", image_id))
        for other in others:  # of other platforms: nobody has named them apart from this name
            if not self._catalog.names(other) and not users(other):
                self._catalog.remove((), delete=other)
                removed.append(Removed("deleted", other))
        if any(one.kind == "deleted" for one in removed):
            removed += [Removed("deleted", chain_id) for chain_id in self._collector.collect()]
        return removed

    def history(self, image: Image) -> Sequence[HistoryEntry]:
        """Return how the image came about, the newest step first."""
        sizes = iter([self._layers.size(chain_id) for chain_id in chain_ids(image.layers)])
        steps = image.config.history or [History(created=image.config.created) for _ in image.layers]
        entries = [
            HistoryEntry(
                image_id=None,
                created=step.created,
                created_by=step.created_by,
                comment=step.comment,
                size_bytes=0 if step.empty_layer else next(sizes, 0),
                tags=(),
            )
            for step in steps
        ]
        if entries:
            last = entries[-1]
            entries[-1] = HistoryEntry(
                image.id, last.created, last.created_by, last.comment, last.size_bytes, image.tags
            )
        return entries[::-1]

    def _add(
        self, staging: Staging, config: bytes, layers: Sequence[StagedBlob], references: Sequence[Reference]
    ) -> Digest:
        staged_config = staging.add([config])
        manifest = Manifest(
            schemaVersion=2,
            mediaType=OCI_MANIFEST,
            config=Descriptor(mediaType=OCI_CONFIG, digest=staged_config.digest, size=len(config)),
            layers=[
                Descriptor(mediaType=layer_type(layer), digest=layer.digest, size=layer.size_bytes)
                for layer in layers
            ],
        )
        image = StagedImage(
            staged_config,
            config,
            staging.add([encode(manifest)]),
            OCI_MANIFEST,
            tuple(layers),
            tuple(references),
        )
        self._intake.take([image])
        return staged_config.digest

    def _find(self, text: str) -> tuple[Digest, Reference | None]:
        """Return an image's id, and the name if it was found by one (moby, ParseAnyReference, GetImage)."""
        full = _FULL_ID.fullmatch(text)
        if full:
            image_id = Digest(f"sha256:{full[1]}")
            if self._catalog.find(image_id) is None:
                raise NotFound(f"No such image: {image_id}")
            return image_id, None
        reference = parse_reference(text)
        found = self._catalog.find_by_name(reference.key())
        if found is not None:
            return found, reference.key()
        found = self._find_by_prefix(text)
        if found is None:
            raise NotFound(f"No such image: {reference.with_default_tag().familiar}")
        return found, None

    def _find_by_prefix(self, text: str) -> Digest | None:
        digits = text.removeprefix("sha256:")
        if _HEX.fullmatch(digits) is None:
            return None
        found = self._catalog.find_by_prefix(digits)
        if len(found) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {text}")
        return found[0] if found else None

    def _image(self, image_id: Digest) -> Image:
        record = self._catalog.find(image_id)
        if record is None:
            raise NotFound(f"No such image: {image_id}")
        return self._describe(record, self._catalog.names(image_id))

    def _describe_any(self, record: ImageRecord, names: Sequence[Reference]) -> Image:
        try:
            return self._describe(record, names)
        except SampanError as exc:
            log.warning("image is damaged", image=record.id, reason=exc)
            return self._describe(record, names, ImageConfig(rootfs=RootFS()))

    def _describe(
        self, record: ImageRecord, names: Sequence[Reference], config: ImageConfig | None = None
    ) -> Image:
        config = config or self._sources.config(record.id)
        chain = chain_ids(Digest(text) for text in config.rootfs.diff_ids)
        return Image(
            id=record.id,
            config=config,
            manifest=record.manifest,
            tags=tuple(name for name in names if not name.digest),
            digests=tuple(name for name in names if name.digest),
            size_bytes=sum(self._layers.size(chain_id) for chain_id in chain),
            last_tagged_ns=record.tagged_ns,
            parent=record.parent,
        )
