"""What must differ between two runs: ids, times, process numbers, made-up names. Here it is put away."""

from __future__ import annotations

import re
from typing import Any

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]+)", "<time>"),
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+ [+-][0-9]{4} [A-Z]{3}", "<time>"),
        (r"sha256:[0-9a-f]{64}", "sha256:<id>"),
        (r"\b[0-9a-f]{64}\b", "<id>"),
        (r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12}\b", "<id>"),
        (r"unix://[^ \n\"']*\.sock", "<host>"),
        (r"http://%2F[^/ ]*/", "<host>/"),
        (r"/v1\.[0-9]+/", "/v<api>/"),
        (r"/tmp/[^ \n\"':]*?/(?=data|exec|run)", "<folder>/"),
        (r"\b(?:Less than a|About an?|[0-9]+) (?:second|minute|hour)s?\b", "<a while>"),
        (r"\bA? ?<a while> ago", "<a while> ago"),
        (r"^[a-z]+_[a-z]+[0-9]*$", "<name>"),
        (r"on endpoint [a-z]+_[a-z]+[0-9]* ", "on endpoint <name> "),
        (r"(digest: sha256:<id> size:) [0-9]+", r"\1 <size>"),
    )
)
# Where in the chain of programs something failed: the chain is another one.
_CHAIN = re.compile(
    r"(failed to create task for container: )?(failed to create shim task: )?"
    r"OCI runtime (create|exec) failed: (runc create failed: |exec failed: )?"
)
_UNKNOWN = re.compile(r": unknown(?=\.?\s*$)", re.MULTILINE)
# Docker's classic builder makes a container for every instruction and says so, in changing words.
_BUILDER = re.compile(
    r"^ ---> Running in [0-9a-f]{12}\n|^( ---> Removed|Removing) intermediate container [0-9a-f]{12}(\n|$)",
    re.MULTILINE,
)
_NETWORKING = re.compile(r"failed to set up container networking: ")  # where in the chain, since 28
# What only says how the machine or the client is set up: dockerd warns of forwarding with every container
# that has a network; the client adds its help when a create failed, not a start: sampan finds more at create.
_CHATTER = re.compile(
    r"^(WARNING: )?IPv4 forwarding is disabled\..*\n?|^See 'docker run --help'\.\n?"
    r'|^time="[^"]*" level=error msg="error waiting for container: context canceled"\n?',
    re.MULTILINE,
)
# dockerd before 23 put this before every message, and dockerd since then does not.
_OLD_PREFIX = re.compile(r"(Error response from daemon: |: |^)Error: (?=No such)", re.MULTILINE)


def text(raw: str) -> str:
    """Return output with everything put away that cannot be the same twice."""
    raw = _NETWORKING.sub("", _BUILDER.sub("", raw.replace("\r\n", "\n")))
    raw = _CHATTER.sub("", _OLD_PREFIX.sub(r"\1", raw))
    if _CHAIN.search(raw):
        raw = _UNKNOWN.sub("", _CHAIN.sub("", raw))
    for pattern, put in _RULES:
        raw = pattern.sub(put, raw)
    return "\n".join(re.sub(r" {2,}", "  ", line).rstrip() for line in raw.strip().splitlines())


def message(raw: str) -> str:
    """Return an error put away as `text` does, in lower case: dockerd since 23 begins messages so."""
    return text(raw).lower()


def shape(value: Any) -> Any:
    """Return the keys and kinds of a document; of a list the shape of its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shape(item) for item in value[:1]]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def missing(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """Return where a document of ours lacks a key of theirs, or holds another kind; None fits every kind."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        lines = [f"{at}.{key}: missing" for key in theirs if key not in ours]
        for key in theirs.keys() & ours.keys():
            lines += missing(theirs[key], ours[key], f"{at}.{key}")
        return sorted(lines)
    if isinstance(theirs, list) and isinstance(ours, list):
        return missing(theirs[0], ours[0], f"{at}[]") if theirs and ours else []
    if theirs == ours or "NoneType" in (theirs, ours):
        return []
    return [f"{at}: {ours} instead of {theirs}"]
