"""`--check` of one Dockerfile in its context: reads both, runs nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sampan.build.bases import misfit
from sampan.build.checks import Finding, find_all, parse_wanted
from sampan.build.config import environment_of
from sampan.build.host import Host
from sampan.build.ignore import parse_ignore
from sampan.build.index import IGNORE, Index
from sampan.build.parsing import parse_dockerfile
from sampan.build.request import BuildRequest, find_dockerfile

_DIRECTIVE = "check"
_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. is_error: it is to fail the build, by the Dockerfile's own word."""

    findings: tuple[Finding, ...]
    is_error: bool

    def text(self) -> str:
        """Return it to be read."""
        if not self.findings:
            return "Check complete, no warnings found.\n"
        count = len(self.findings)
        head = f"Check complete, {count} warning{'s have' if count > 1 else ' has'} been found!\n"
        return head + "".join(
            f"\nWARNING: {one.rule} - {one.url}\n{one.message}\n{one.place.excerpt()}\n"
            for one in self.findings
        )


def check(host: Host, request: BuildRequest, context: Index) -> Checked:
    """Check a Dockerfile.

    Raises:
        InvalidArgument: it is wrong, or says wrongly what is to be checked.
    """
    name, raw = find_dockerfile(request, context)
    dockerfile = parse_dockerfile(raw, file=name)
    given = request.build_args.get(_ARGUMENT)
    wanted = parse_wanted(dockerfile.tree.directives.get(_DIRECTIVE, "") if given is None else given)
    ignored = None
    for file in (f"{name}{IGNORE}", IGNORE):
        listed = context.document(file) if request.ignore is None else request.ignore
        if listed is not None:
            ignored = parse_ignore(listed, file=file)
            break

    def variables_of(image: str) -> Collection[str] | None:
        config = host.find_local(image)
        return None if config is None else environment_of(config.config)

    def misfit_of(image: str) -> str:
        config = None if request.platform or image == "scratch" else host.find_local(image)
        return "" if config is None else misfit(image, config.platform)

    findings = find_all(dockerfile, wanted, ignored=ignored, variables_of=variables_of, misfit_of=misfit_of)
    return Checked(tuple(findings), wanted.is_error and bool(findings))
