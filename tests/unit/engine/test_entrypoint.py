"""ENTRYPOINT and CMD together, in every form: what the program is.

Sources: Docker's documentation, "Understand how CMD and ENTRYPOINT interact"; `docker run --entrypoint` and
arguments behind the image; the table of moby's merge (a client's entrypoint drops the image's command).
"""

from __future__ import annotations

import pytest

from sampan.engine.bundle.process import command_of
from sampan.engine.requests import merge_image
from sampan.errors import InvalidArgument
from sampan.spec import docker, gojson

SHELL = ["/bin/sh", "-c"]
NO_COMMAND = None
E1, E2, C1, C2 = ["entry", "-e"], [*SHELL, "entry -e"], ["cmd", "-c"], [*SHELL, "cmd -c"]


@pytest.mark.parametrize(
    ("image", "client", "want"),
    [
        # image (ENTRYPOINT, CMD) · client (--entrypoint, arguments), None: not given
        pytest.param((None, None), (None, None), NO_COMMAND, id="nothing at all"),
        pytest.param((None, C1), (None, None), C1, id="CMD, exec form"),
        pytest.param((None, C2), (None, None), C2, id="CMD, shell form"),
        pytest.param((E1, None), (None, None), E1, id="ENTRYPOINT, exec form"),
        pytest.param((E2, None), (None, None), E2, id="ENTRYPOINT, shell form"),
        pytest.param((E1, C1), (None, None), [*E1, *C1], id="both, exec form"),
        pytest.param((E1, C2), (None, None), [*E1, *C2], id="exec form and a shell command"),
        pytest.param((E2, C1), (None, None), [*E2, *C1], id="shell form: sh takes CMD as $0, $1"),
        pytest.param((E2, C2), (None, None), [*E2, *C2], id="both, shell form"),
        pytest.param(([], C1), (None, None), C1, id="ENTRYPOINT []"),
        pytest.param((E1, []), (None, None), E1, id="CMD []"),
        pytest.param(([], []), (None, None), NO_COMMAND, id="both empty"),
        pytest.param(([""], C1), (None, None), C1, id='ENTRYPOINT [""]'),
        pytest.param((None, C1), (None, ["x", "y"]), ["x", "y"], id="arguments replace CMD"),
        pytest.param((E1, C1), (None, ["x"]), [*E1, "x"], id="arguments go to ENTRYPOINT"),
        pytest.param((E2, C1), (None, ["x"]), [*E2, "x"], id="arguments behind a shell form"),
        pytest.param((E1, C1), (None, []), [*E1, *C1], id="no arguments (an empty list)"),
        pytest.param((E1, C1), (["p"], None), ["p"], id="--entrypoint drops CMD"),
        pytest.param((E1, C1), (["p"], ["x"]), ["p", "x"], id="--entrypoint and arguments"),
        pytest.param((None, C1), (["p"], []), ["p"], id="--entrypoint over an image without one"),
        pytest.param((E1, C1), ([""], ["x", "y"]), ["x", "y"], id='--entrypoint "" takes it away'),
        pytest.param((E1, C1), ([""], None), NO_COMMAND, id='--entrypoint "" alone: CMD is dropped too'),
        pytest.param((E1, C1), ([], ["x"]), ["x"], id="an empty list as entrypoint"),
        pytest.param((E1, C1), ([], None), C1, id="an empty list alone keeps CMD"),
        pytest.param((None, ["", "a"]), (None, None), ["", "a"], id="an empty program name is kept"),
    ],
)
def test_program(
    image: tuple[list[str] | None, list[str] | None],
    client: tuple[list[str] | None, list[str] | None],
    want: list[str] | None,
) -> None:
    defaults = docker.ImageConfig(Entrypoint=image[0], Cmd=image[1])
    merged = merge_image(docker.Config(Entrypoint=client[0], Cmd=client[1]), defaults, lambda _text: None)
    if want is NO_COMMAND:
        with pytest.raises(InvalidArgument, match="no command specified"):
            command_of(merged)
    else:
        assert command_of(merged) == want


@pytest.mark.parametrize(
    ("body", "entrypoint", "command"),
    [
        (b'{"Entrypoint":"prog","Cmd":"one two"}', ["prog"], ["one two"]),  # a text is one word
        (b'{"Entrypoint":null,"Cmd":null}', None, None),
        (b'{"Entrypoint":[],"Cmd":[]}', [], []),
        (b"{}", None, None),
    ],
)
def test_forms_on_the_wire(body: bytes, entrypoint: list[str] | None, command: list[str] | None) -> None:
    request = gojson.decode(body, docker.ContainerCreate)
    assert (request.Entrypoint, request.Cmd) == (entrypoint, command)
