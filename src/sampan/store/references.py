"""Names of images: Docker's grammar, defaults and short forms.

`busybox` is `docker.io/library/busybox:latest`; the short form of a name is what users read ("familiar").
Source: distribution/reference, regexp.go and normalize.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from sampan.errors import InvalidArgument
from sampan.ids import Digest, parse_digest

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_PATH = 255
_MAX_TEXT = 2048  # longer than any valid reference: the expressions never see more

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG_TEXT = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST_TEXT = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"({_DOMAIN})/({_PATH})(?::({_TAG_TEXT}))?(?:@({_DIGEST_TEXT}))?", re.ASCII)
_TAG = re.compile(_TAG_TEXT, re.ASCII)
_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A full name, with a tag, a digest, both or neither. `str` gives the full form."""

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The repository: domain and path."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository in its short form: `busybox`, `user/app`, `registry.example/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """The short form with tag and digest."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __str__(self) -> str:
        return self.name + self._suffix

    def with_default_tag(self) -> Reference:
        """Return the reference with `:latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def key(self) -> Reference:
        """Return what the reference is looked up by: a digest wins over a tag, which wins over `latest`."""
        return replace(self, tag="") if self.digest else self.with_default_tag()


def parse_reference(text: str) -> Reference:
    """Read a name of an image as the user wrote it; no tag is added.

    Raises:
        InvalidArgument: with Docker's own texts, which scripts match.
    """
    if _HEX64.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    if not text or len(text) > _MAX_TEXT:
        raise InvalidArgument("invalid reference format")
    domain, remainder = _split_domain(text)
    path = remainder.partition(":")[0].partition("@")[0]
    if path != path.lower():
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if match is None:
        raise InvalidArgument("invalid reference format")
    domain, path, tag, digest = match.groups()
    if len(path) > _MAX_PATH:
        raise InvalidArgument(f"repository name must not be more than {_MAX_PATH} characters")
    return Reference(domain, path, tag or "", _parse_digest(digest) if digest else None)


def parse_tagged(text: str) -> Reference:
    """Read a name that an image is to get: `:latest` is added, a digest refused.

    Raises:
        InvalidArgument: text is no reference, has a digest, or would read as one.
    """
    reference = parse_reference(text)
    _check_name(reference)
    return reference.with_default_tag()


def make_tagged(repository: str, tag: str) -> Reference:
    """Join the `repo` and `tag` parameters of the API; an empty tag is `latest`.

    Raises:
        InvalidArgument: one of them has a wrong form.
    """
    reference = parse_reference(repository)
    if not tag:
        return parse_tagged(repository)
    _check_name(reference)
    if _TAG.fullmatch(tag) is None:
        raise InvalidArgument("invalid tag format")
    return replace(reference, tag=tag)


def _check_name(reference: Reference) -> None:
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    if reference.name == f"{DEFAULT_DOMAIN}/{_OFFICIAL}sha256":  # sha256:… would mean an id then
        raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")


def _parse_digest(text: str) -> Digest:
    if not text.startswith("sha256:"):
        raise InvalidArgument(f"unsupported digest algorithm: {text.partition(':')[0]}")
    try:
        return parse_digest(text)
    except InvalidArgument as exc:
        raise InvalidArgument("invalid checksum digest format") from exc


def _split_domain(text: str) -> tuple[str, str]:
    """Return the domain, by default Docker Hub's, and the rest; official images get `library/`."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    is_domain = first == "localhost" or "." in first or ":" in first or first != first.lower()
    if not is_domain:
        return DEFAULT_DOMAIN, text
    if first in (DEFAULT_DOMAIN, _LEGACY_DOMAIN):
        return DEFAULT_DOMAIN, rest if "/" in rest else _OFFICIAL + rest
    return first, rest
