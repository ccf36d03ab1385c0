"""`--attest` of a build: what is told about its image. Source: buildx `docs/reference/buildx_build.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sampan.errors import InvalidArgument

_KINDS: Final = ("provenance", "sbom")
_MODES: Final = ("min", "max")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which attestations an image gets. provenance: "", `min` (no values of arguments) or `max`."""

    provenance: str = ""
    sbom: bool = False

    def __bool__(self) -> bool:
        return bool(self.provenance) or self.sbom


NONE: Final = Wanted()


def parse_attestations(texts: Sequence[str]) -> Wanted:
    """Read `type=provenance[,mode=min|max]`, `type=sbom`, each with `disabled=true`; later ones count.

    Raises:
        InvalidArgument: another type, field or value.
    """
    wanted = Wanted()
    for text in texts:
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        kind = fields.pop("type", "")
        if kind not in _KINDS:
            raise InvalidArgument(f"attestation {text!r}: type is one of {', '.join(_KINDS)}")
        is_off = _is_true(text, fields.pop("disabled", "false"))
        if kind == "sbom":
            wanted = replace(wanted, sbom=not is_off)
        else:
            mode = fields.pop("mode", "min")
            if mode not in _MODES:
                raise InvalidArgument(f"attestation {text!r}: mode is one of {', '.join(_MODES)}")
            wanted = replace(wanted, provenance="" if is_off else mode)
        if fields:
            raise InvalidArgument(f"attestation {text!r}: {next(iter(fields))!r} is not known")
    return wanted


def _is_true(text: str, value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise InvalidArgument(f"attestation {text!r}: {value!r} is neither true nor false")
    return value.lower() in _TRUE
