"""The document of `frontend.lint`, which clients from buildx 0.15 on read."""

from __future__ import annotations

import base64

from sampan.build.checking import Checked
from sampan.build.checks import RULES, Wanted, find_all
from sampan.build.parsing import parse_dockerfile
from sampan.daemon.buildkit.subrequests import findings_document


def test_findings() -> None:
    raw = b"FROM a\nCMD echo \\\n  b\n"
    found = find_all(
        parse_dockerfile(raw), Wanted(), ignored=None, variables_of=lambda _: None, misfit_of=lambda _: ""
    )
    document = findings_document(Checked(tuple(found), False), "Dockerfile", raw)
    assert document["warnings"] == [
        {
            "ruleName": "JSONArgsRecommended",
            "description": RULES["JSONArgsRecommended"],
            "url": "https://docs.docker.com/go/dockerfile/rule/jsonargs-recommended/",
            "detail": found[0].message,
            "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]},
        }
    ]
    sources = [{"fileName": "Dockerfile", "language": "Dockerfile", "data": base64.b64encode(raw).decode()}]
    assert document["sources"] == sources
