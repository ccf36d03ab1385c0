"""Requests are read with the leniency that Go clients rely on."""

from __future__ import annotations

import msgspec
import pytest

from sampan.errors import InvalidArgument
from sampan.spec import docker, gojson


def create(raw: str) -> docker.ContainerCreate:
    return gojson.decode(raw.encode(), docker.ContainerCreate)


def test_null_is_the_zero_value_of_a_field() -> None:
    read = create('{"User":null,"Env":null,"Cmd":null,"Tty":null,"Labels":null,"HostConfig":null}')
    assert read == docker.ContainerCreate()


def test_null_is_the_zero_value_of_a_map_entry() -> None:
    read = create(
        '{"ExposedPorts":{"80/tcp":null},"Labels":{"a":null},"HostConfig":{"PortBindings":{"80/tcp":null}}}'
    )
    assert read.ExposedPorts == {"80/tcp": docker.Empty()}
    assert read.Labels == {"a": ""}
    assert read.HostConfig.PortBindings == {"80/tcp": []}


def test_names_match_in_any_case_and_an_exact_one_wins() -> None:
    assert create('{"hostname":"a","hostconfig":{"MEMORY":5}}').HostConfig.Memory == 5
    assert create('{"Hostname":"exact","HOSTNAME":"other"}').Hostname == "exact"
    assert create('{"HOSTNAME":"other","Hostname":"exact"}').Hostname == "exact"


def test_unknown_fields_are_ignored() -> None:
    assert create('{"Novelty":{"a":[1]},"Image":"x"}').Image == "x"


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        pytest.param('"ls -l"', ["ls -l"], id="a bare string is one word"),
        pytest.param('["ls","-l"]', ["ls", "-l"], id="a list"),
        pytest.param("[]", [], id="an empty list is not nothing"),
        pytest.param("null", None, id="nothing"),
    ],
)
def test_words(raw: str, want: list[str] | None) -> None:
    assert create(f'{{"Entrypoint":{raw}}}').Entrypoint == want


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"{} []", "unexpected content after JSON", id="something behind"),
        pytest.param(b"", "invalid JSON", id="empty"),
        pytest.param(b"null", "must be an object, not null", id="null"),
        pytest.param(b'{"Tty":1}', r"Expected `bool`, got `int` - at `\$.Tty`", id="wrong type"),
        pytest.param(
            b'{"HostConfig":{"Binds":["a",5]}}', r"\$.HostConfig.Binds\[1\]", id="wrong type inside"
        ),
        pytest.param(b'{"HostConfig":{"Memory":1e400}}', "invalid JSON", id="infinite"),
        pytest.param(b'{"HostConfig":{"Memory":99999999999999999999}}', "invalid JSON", id="beyond 64 bits"),
        pytest.param(b'{"User":"\xff"}', "invalid JSON", id="not UTF-8"),
        pytest.param(b"[" * 1_000_000, "nested deeper than 64", id="deep list"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64", id="deep object"),
    ],
)
def test_refusals(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        gojson.decode(raw, docker.ContainerCreate)


def test_brackets_in_strings_are_no_depth() -> None:
    text = '[{"' * 200
    read = gojson.decode(msgspec.json.encode({"User": text, "Hostname": '\\"' * 99}), docker.ContainerCreate)
    assert read.User == text


def test_create_splits_into_its_parts() -> None:
    read = create('{"Image":"x","Cmd":["a"],"HostConfig":{"AutoRemove":true}}')
    assert read.config() == docker.Config(Image="x", Cmd=["a"])
    assert read.HostConfig.AutoRemove
