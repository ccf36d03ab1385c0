"""`import` of a URL: sampand fetches it, tells how far it is, and takes nothing that is not whole."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


class _Files(BaseHTTPRequestHandler):
    """`/root.tar`, `/root.tar.gz` and `/unmeasured` are fine, the others are wrong, each in its way."""

    def do_GET(self) -> None:
        data = busybox_tar()
        match self.path:
            case "/root.tar":
                self._send(data)
            case "/root.tar.gz":
                self._send(gzip.compress(data, 1))
            case "/unmeasured":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(data)
            case "/short":
                self._send(data[:100_000], length=len(data))
            case "/text":
                self._send(b"hello " * 1000)
            case "/moved":
                self._send(b"", status=302, location="/root.tar")
            case "/to-a-file":
                self._send(b"", status=302, location="file:///etc/passwd")
            case _:
                self._send(b"no such file", status=404)

    def _send(self, data: bytes, *, status: int = 200, length: int | None = None, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def create(sampand: Sampand, url: str, more: str = "") -> tuple[int, list[dict[str, Any]]]:
    status, _, answer = sampand.request("POST", f"/images/create?fromSrc={quote(url, safe='')}{more}")
    return status, [json.loads(line) for line in answer.splitlines()]


@pytest.mark.parametrize("path", ["root.tar", "root.tar.gz", "unmeasured", "moved"])
def test_clients_import_a_url(sampand: Sampand, cli: str, site: str, path: str) -> None:
    name = f"fetched-{path.replace('.', '-')}:{'ours' if 'sampan' in cli else 'dockers'}"
    done = sampand.docker("import", "--change", 'CMD ["sh"]', f"{site}/{path}", name, cli=cli)
    first, image_id = done.text.splitlines()
    assert (done.code, first) == (0, f"Downloading from {site}/{path}")
    assert image_id.startswith("sha256:")
    assert sampand.docker("run", "--rm", name, "echo", "fetched", cli=cli).text == "fetched"
    assert f"Imported from {site}/{path}" in sampand.docker("history", name, cli=cli).text


def test_how_far_it_is(sampand: Sampand, site: str) -> None:
    status, lines = create(sampand, f"{site}/root.tar".removeprefix("http://"), "&message=mine")
    total = len(busybox_tar())
    assert (status, lines[0]) == (200, {"status": f"Downloading from {site}/root.tar"})
    assert lines[-2]["progressDetail"] == {"current": total, "total": total}
    assert {line["status"] for line in lines[1:-1]} == {"Importing"}
    found = sampand.call("GET", f"/images/{lines[-1]['status']}/json")
    assert found["Comment"] == "mine"


@pytest.mark.parametrize(
    ("path", "more", "want", "text"),
    [
        pytest.param("nothing", "", 404, "404 Not Found", id="the server has no such file"),
        pytest.param("to-a-file", "", 500, "302", id="led to a file of this machine"),
        pytest.param("root.tar", "&repo=BAD", 400, "must be lowercase", id="a wrong name"),
        pytest.param("root.tar", "&changes=NOPE", 400, "NOPE", id="a wrong change"),
    ],
)
def test_what_is_wrong_before_it_begins(
    sampand: Sampand, site: str, path: str, more: str, want: int, text: str
) -> None:
    status, [line] = create(sampand, f"{site}/{path}", more)
    assert status == want
    assert text.lower() in line["message"].lower()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://a:b/", "http://a/ b", "http://%zz/"]
)
def test_what_is_no_url(sampand: Sampand, url: str) -> None:
    status, [line] = create(sampand, url)
    assert status == 400
    assert line["message"] == f"cannot fetch {url!r}: it is no http or https URL"


def test_a_server_that_is_not_there(sampand: Sampand) -> None:
    status, [line] = create(sampand, "http://127.0.0.1:1/root.tar")
    assert status == 500
    assert "cannot fetch http://127.0.0.1:1/root.tar: " in line["message"]
    assert "refused" in line["message"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("short", "broke off after 100000 bytes", id="it breaks off"),
        pytest.param("text", "tar", id="it is no archive"),
    ],
)
def test_what_goes_wrong_on_the_way(sampand: Sampand, site: str, path: str, text: str) -> None:
    before = sampand.call("GET", "/images/json?all=1")
    status, lines = create(sampand, f"{site}/{path}")
    assert status == 200
    assert text in lines[-1]["error"]
    assert sampand.call("GET", "/images/json?all=1") == before
