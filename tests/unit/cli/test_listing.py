"""`ps`, `images` and `history`: rows, formats, filters."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sampan.cli import images, ps
from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.outcome import UsageError
from sampan.cli.ports_text import ports_text
from sampan.cli.template_parse import TemplateError

NOW = 1_800_000_000
CONTAINER: dict[str, Any] = {
    "Id": "0123456789abcdef" * 4,
    "Names": ["/web", "/other/alias"],
    "Image": "busybox",
    "Command": 'sh -c "while true; do :; done"',
    "Created": NOW - 300,
    "State": "running",
    "Status": "Up 5 minutes",
    "Labels": {"b": "2", "a": "1"},
    "Ports": [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 90, "Type": "udp"},
        {"PrivatePort": 91, "Type": "udp"},
    ],
    "Mounts": [{"Type": "volume", "Name": "a-very-long-volume-name", "Driver": "local"}, {"Source": "/srv"}],
    "NetworkSettings": {"Networks": {"z": {}, "bridge": {}}},
    "SizeRw": 1234,
    "SizeRootFs": 5_000_000,
}


def shown(capsys: pytest.CaptureFixture[str], form: str, **changes: Any) -> str:
    row = ps.row({**CONTAINER, **changes}, now=NOW, full=False)
    show_rows([row], form=form, fields=ps._FIELDS, headings=ps.HEADINGS)
    return capsys.readouterr().out


def test_the_table_of_ps(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "", Ports=[]).splitlines()
    assert lines == [
        "CONTAINER ID   IMAGE     COMMAND                   CREATED         STATUS         PORTS     NAMES",
        '0123456789ab   busybox   "sh -c \\"while true; …"   5 minutes ago   Up 5 minutes             web',
    ]


def test_fields_of_ps(capsys: pytest.CaptureFixture[str]) -> None:
    form = '{{.Names}}|{{.Ports}}|{{.Labels}}|{{.Label "a"}}|'
    form += "{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Size}}"
    assert shown(capsys, form) == (
        "web|90-91/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp|a=1,b=2|1|a-very-long-vo…,/srv|1|bridge,z|"
        "1.23kB (virtual 5MB)\n"
    )


def test_table_templates_have_headings(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "table {{.ID}}\\t{{.Names}}") == "CONTAINER ID   NAMES\n0123456789ab   web\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    row = json.loads(shown(capsys, "json"))
    assert row["Names"] == "web"
    assert row["Labels"] == "a=1,b=2"
    assert "Label" not in row


def test_an_unknown_field_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TemplateError, match=r"\.Nmaes: no such field; did you mean \.Names\?"):
        shown(capsys, "{{.Nmaes}}")


def test_quiet_shows_one_field(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"ID": "a"}, {"ID": "b"}], form="", fields=["ID"], headings={}, quiet_field="ID")
    assert capsys.readouterr().out == "a\nb\n"


def test_filters_are_sent_as_the_api_wants_them() -> None:
    texts = ["status=running", "status=paused", "label=a=b", "label!=c"]
    assert json.loads(encode_filters(texts)) == {
        "status": {"running": True, "paused": True},
        "label": {"a=b": True},
        "label!": {"c": True},
    }
    assert encode_filters([]) == ""
    with pytest.raises(UsageError, match="'status' is not key=value"):
        encode_filters(["status"])


def test_neighbouring_ports_are_joined() -> None:
    ports: list[dict[str, Any]] = [
        {"IP": "127.0.0.1", "PrivatePort": private, "PublicPort": public, "Type": "tcp"}
        for private, public in ((80, 8080), (81, 8081), (82, 9000))
    ]
    assert ports_text(ports) == "127.0.0.1:8080-8081->80-81/tcp, 127.0.0.1:9000->82/tcp"


def test_an_image_has_a_row_for_each_name() -> None:
    item: dict[str, Any] = {
        "Id": "sha256:" + "ab" * 32,
        "RepoTags": ["busybox:latest", "host:5000/busybox:1"],
        "RepoDigests": ["busybox@sha256:11"],
        "Created": time.time() - 5,
        "Size": 2_000_000,
    }
    rows = list(images.image_rows(item, digests=True, full=False))
    assert [(row["Repository"], row["Tag"], row["Digest"]) for row in rows] == [
        ("busybox", "latest", "sha256:11"),
        ("host:5000/busybox", "1", "<none>"),
    ]
    assert rows[0]["ID"] == "abababababab"
    assert rows[0]["Size"] == "2MB"
    nameless = list(
        images.image_rows({**item, "RepoTags": [], "RepoDigests": None}, digests=False, full=True)
    )
    assert [(row["Repository"], row["Tag"], row["ID"]) for row in nameless] == [
        ("<none>", "<none>", item["Id"])
    ]


def test_history_rows() -> None:
    item: dict[str, Any] = {
        "Id": "<missing>",
        "Created": 0,
        "CreatedBy": "RUN\t" + "x" * 60,
        "Size": 1500,
        "Comment": "",
    }
    row = images._history_row(item, human=True, full=False)
    assert row["ID"] == "<missing>"
    assert row["CreatedBy"] == "RUN " + "x" * 40 + "…"
    assert row["Size"] == "1.5kB"
    assert images._history_row(item, human=False, full=True)["Size"] == "1500"
