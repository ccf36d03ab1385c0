"""Questions to registries that fetch no image: search, manifests, and indexes made of what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sampan.engine.images.remote import RemoteImages, unprompted
from sampan.engine.lifecycle.pruning import parse_truth
from sampan.errors import InvalidArgument
from sampan.spec import docker
from sampan.spec.image import Index, Platform
from sampan.store.references import parse_reference, parse_tagged

_FILTERS: Final = frozenset({"is-automated", "is-official", "stars"})


class RemoteEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One image of an index, or the only one."""

    Name: str  # name@digest
    MediaType: str
    Digest: str
    Size: int
    Platform: Platform


class RemoteManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest or index as a registry has it. Document: the bytes as text; Platforms: of its images."""

    Name: str
    Digest: str
    MediaType: str
    Size: int
    Document: msgspec.Raw
    Images: list[RemoteEntry]


class ListEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One image that an index shall have; Name has a digest."""

    Name: str
    Platform: Platform


class ListPush(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /sampan/v1/manifests/push."""

    Name: str
    Images: list[ListEntry]


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /sampan/v1/images/{name}/verify. Keys: PEM; none: those that the policy names."""

    Keys: list[str] = []


class VerifiedSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature that a key has confirmed. Key: its sha256; Claims: what the signer has noted."""

    Identity: str
    Key: str
    Claims: dict[str, object]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to it."""

    Digest: str
    Signatures: list[VerifiedSignature]


class RegistryQueries:
    """`engine.registries`: what is asked of registries without fetching an image."""

    def __init__(self, remote: RemoteImages) -> None:
        self._remote = remote

    def search(
        self, term: str, *, limit: int, filters: Mapping[str, Sequence[str]], auth: str
    ) -> list[docker.SearchResult]:
        """Return repositories with a word in their name, filtered as Docker does.

        Raises:
            InvalidArgument: term, limit or a filter is wrong. NotFound: the registry cannot be searched.
        """
        wanted_stars, official = _parse_filters(filters)
        with unprompted():
            hits = self._remote.client().search(term, auth, limit=limit)
        if filters.get("is-automated") and parse_truth(filters, "is-automated", default=False):
            return []
        return [
            docker.SearchResult(
                star_count=hit.star_count,
                is_official=hit.is_official,
                name=hit.name,
                description=hit.description,
            )
            for hit in hits
            if hit.star_count >= wanted_stars and official in (None, hit.is_official)
        ]

    def read_manifest(self, name: str, *, auth: str) -> RemoteManifest:
        """Return what a registry has under a name.

        Raises:
            NotFound, SampanError: as the registry says.
        """
        from sampan.registry.manifests import describe_document, parse_document

        reference = parse_reference(name).with_default_tag()
        with unprompted():
            sources = self._remote.client().sources(reference, auth)
            document = sources.get_document(reference.digest or reference.tag)
            descriptor, platforms = describe_document(sources, document)
        parsed = parse_document(document)
        if isinstance(parsed, Index):
            images = [
                RemoteEntry(
                    Name=f"{reference.familiar_name}@{one.digest}",
                    MediaType=one.mediaType,
                    Digest=one.digest,
                    Size=one.size,
                    Platform=one.platform or Platform(),
                )
                for one in parsed.manifests
            ]
        else:
            images = [
                RemoteEntry(
                    Name=f"{reference.familiar_name}@{document.digest}",
                    MediaType=descriptor.mediaType,
                    Digest=descriptor.digest,
                    Size=descriptor.size,
                    Platform=platforms[0],
                )
            ]
        return RemoteManifest(
            Name=reference.familiar,
            Digest=document.digest,
            MediaType=descriptor.mediaType,
            Size=descriptor.size,
            Document=msgspec.Raw(document.raw),
            Images=images,
        )

    def verify(self, name: str, wanted: VerifyRequest, *, auth: str) -> Verified:
        """Tell whose signatures an image has: the one here, or else what the tag names now.

        Raises:
            InvalidArgument: a key is none. SampanError: as the registry says.
        """
        reference = parse_reference(name).with_default_tag()
        with unprompted():
            found = self._remote.client().signatures(
                reference,
                auth,
                digest=reference.digest or self._remote.digest_here(reference),
                keys=[key.encode() for key in wanted.Keys],
            )
        return Verified(
            Digest=found.digest,
            Signatures=[
                VerifiedSignature(Identity=one.identity.familiar, Key=one.key, Claims=one.claims)
                for one in found.signatures
            ],
        )

    def push_list(self, wanted: ListPush, *, auth: str) -> str:
        """Push an index of images that are in the same registry; return its digest.

        Raises:
            InvalidArgument: a name is none, or in another registry. SampanError: as the registry says.
        """
        target = parse_tagged(wanted.Name)
        images = [(parse_reference(one.Name), one.Platform) for one in wanted.Images]
        for source, platform in images:
            if source.digest is None:
                raise InvalidArgument(f"{source.familiar}: an index names images by digest")
            if not (platform.os and platform.architecture):
                raise InvalidArgument(f"{source.familiar}: an image of an index needs os and architecture")
        with unprompted():
            return self._remote.client().push_list(target, images, auth)


def _parse_filters(filters: Mapping[str, Sequence[str]]) -> tuple[int, bool | None]:
    for key in filters:
        if key not in _FILTERS:
            raise InvalidArgument(f"invalid filter '{key}'")
    stars = filters.get("stars", ())
    for text in stars:
        if not text.removeprefix("-").isdecimal():
            raise InvalidArgument(f"invalid filter 'stars={text}'")
    official = parse_truth(filters, "is-official", default=False) if filters.get("is-official") else None
    return max((int(text) for text in stars), default=0), official
