"""Log drivers and their options: merged with the daemon's, refused in Docker's words, tags rendered."""

from __future__ import annotations

import pytest

from sampan.engine.logs.attributes import extra_attributes, journal_field, render_tag
from sampan.engine.logs.config import (
    buffer_bytes,
    check_log_config,
    merge_log_config,
    parse_limits,
    parse_size,
)
from sampan.engine.logs.targets import check_syslog, parse_address
from sampan.engine.options import LogDefaults
from sampan.engine.records import Record
from sampan.errors import InvalidArgument
from sampan.spec import docker


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("json-file", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
        ("", {"x": "1"}, "unknown log opt 'x' for json-file log driver"),
        ("local", {"x": "1"}, "unknown log opt 'x' for log driver local"),
        ("syslog", {"max-size": "1"}, "unknown log opt 'max-size' for syslog log driver"),
        ("journald", {"x": "1"}, "unknown log opt 'x' for journald log driver"),
        ("nope", {}, 'error looking up logging plugin nope: plugin "nope" not found'),
        ("json-file", {"mode": "funny"}, "logger: logging mode not supported: funny"),
        (
            "json-file",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "local",
            {"max-buffer-size": "x", "mode": "non-blocking"},
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        ("syslog", {"cache-disabled": "x"}, "invalid value for option cache-disabled: x"),
        ("json-file", {"max-size": "abc"}, "invalid size: 'abc'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        (
            "json-file",
            {"compress": "true", "max-file": "1"},
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("local", {"compress": "maybe"}, "invalid log opt compress 'maybe'"),
        ("json-file", {"labels-regex": "("}, "error parsing regexp of log opt labels-regex"),
        ("journald", {"cache-max-size": "x"}, "invalid size: 'x'"),
    ],
)
def test_refusals(driver: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_log_config(docker.LogConfig(Type=driver, Config=options))
    assert str(caught.value).startswith(message)


def test_none_takes_everything() -> None:
    check_log_config(docker.LogConfig(Type="none", Config={"x": "1"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tcp", "syslog-address should be in form proto://address, got tcp"),
        ("http://x", "syslog-address should be in form proto://address, got http://x"),
        ("unix:///nope", "stat /nope: no such file or directory"),
    ],
)
def test_syslog_addresses_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_address(text)


def test_syslog_values() -> None:
    assert parse_address("udp://[::1]:99") == {"proto": "udp", "host": "::1", "port": "99"}
    assert parse_address("tcp+tls://logs.example") == {
        "proto": "tcp+tls",
        "host": "logs.example",
        "port": "514",
    }
    for wrong in ({"syslog-facility": "x"}, {"syslog-facility": "24"}, {"syslog-format": "x"}):
        with pytest.raises(InvalidArgument, match="nvalid syslog"):
            check_syslog(wrong)
    check_syslog({"syslog-facility": "local7", "syslog-format": "rfc5424micro"})


@pytest.mark.parametrize(
    ("text", "base", "want"),
    [
        ("10m", 1000, 10_000_000),
        ("10MB", 1000, 10_000_000),
        ("1.5 KiB", 1024, 1536),
        ("512", 1000, 512),
        ("3g", 1024, 3 << 30),
    ],
)
def test_sizes(text: str, base: int, want: int) -> None:
    assert parse_size(text, base=base) == want


def test_defaults() -> None:
    defaults = LogDefaults(driver="local", options={"max-size": "1m", "cache-disabled": "true"})
    merged = merge_log_config(docker.LogConfig(Config={"max-file": "2"}), defaults)
    assert merged == docker.LogConfig(
        Type="local", Config={"max-file": "2", "max-size": "1m", "cache-disabled": "true"}
    )
    other = merge_log_config(docker.LogConfig(Type="syslog"), defaults)
    assert other == docker.LogConfig(Type="syslog", Config={"cache-disabled": "true"})
    assert parse_limits(merged.Config, LogDefaults(), driver="local").max_size_bytes == 1_000_000
    assert buffer_bytes({}) == 1 << 20


def make_record(**options: str) -> Record:
    return Record(
        id="abcdef" * 10 + "0123",
        name="web",
        created_ns=0,
        image_id="sha256:1234567890",
        image="busybox:1",
        config=docker.Config(
            Cmd=["sh", "-c", "x"], Labels={"a.b": "1", "team": "ops"}, Env=["X=y", "SECRET=z", "ONLY"]
        ),
        host=docker.HostConfig(LogConfig=docker.LogConfig(Config=options)),
        runtime="sampan",
        cgroup="/x",
    )


@pytest.mark.parametrize(
    ("template", "want"),
    [
        ("plain", "plain"),
        ("{{.ID}}/{{ .Name }}", "abcdefabcdef/web"),
        ("{{.ImageName}} {{.ImageID}} {{.DaemonName}}", "busybox:1 sha256:12345 sampan"),
        ('{{index .ContainerLabels "team"}}', "ops"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{.Command}}", "sh -c x"),
    ],
)
def test_tags(template: str, want: str) -> None:
    assert render_tag(make_record(), template) == want


@pytest.mark.parametrize("template", ["{{", "{{.Nope}}", "{{range .ContainerEnv}}{{end}}"])
def test_tags_refused(template: str) -> None:
    with pytest.raises(InvalidArgument, match="log opt tag"):
        render_tag(make_record(), template)


def test_attributes() -> None:
    options = {"labels": "a.b,missing", "env": "X,ONLY", "labels-regex": "^te", "env-regex": "^SEC"}
    assert extra_attributes(make_record(), options) == {"a.b": "1", "team": "ops", "X": "y", "SECRET": "z"}


def test_journal_fields() -> None:
    assert [journal_field(name) for name in ("a.b", "_x9", "ünder")] == ["A_B", "X9", "NDER"]
