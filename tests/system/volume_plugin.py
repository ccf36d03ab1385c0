"""A small volume plugin, as a program: Docker's protocol on a unix socket, volumes as folders. For the tests.

python3 volume_plugin.py SOCKET FOLDER LOG: every call is written to LOG, one JSON object a line.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socketserver
import sys
from typing import Any


class Plugin:
    def __init__(self, folder: str, log: str) -> None:
        self.folder, self.log = folder, log
        self.users: dict[str, set[str]] = {}

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        with open(self.log, "a") as log:
            log.write(json.dumps({"method": method, **body}) + "\n")
        name = body.get("Name", "")
        if method == "/Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "/VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if method == "/VolumeDriver.List":
            return {"Volumes": [self.describe(one) for one in sorted(os.listdir(self.folder))]}
        if method == "/VolumeDriver.Create":
            if (body.get("Opts") or {}).get("fail"):
                return {"Err": "told to fail"}
            os.makedirs(self.path(name), exist_ok=True)
            return {"Err": ""}
        if not os.path.isdir(self.path(name)):
            return {"Err": f"no volume {name}"}
        return self.on_volume(method, name, body)

    def on_volume(self, method: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        users = self.users.setdefault(name, set())
        match method:
            case "/VolumeDriver.Remove":
                if users:
                    return {"Err": "still mounted"}
                shutil.rmtree(self.path(name))
            case "/VolumeDriver.Mount":
                users.add(body["ID"])
                return {"Mountpoint": self.path(name), "Err": ""}
            case "/VolumeDriver.Unmount":
                users.discard(body["ID"])
            case "/VolumeDriver.Path":
                return {"Mountpoint": self.path(name)}
            case "/VolumeDriver.Get":
                return {"Volume": self.describe(name)}
        return {"Err": ""}

    def describe(self, name: str) -> dict[str, Any]:
        return {
            "Name": name,
            "Mountpoint": self.path(name),
            "Status": {"users": len(self.users.get(name, ()))},
        }


class Handler(http.server.BaseHTTPRequestHandler):
    plugin: Plugin

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = json.dumps(self.plugin.answer(self.path, json.loads(raw or b"{}"))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_arguments: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    socket_path, volumes, calls = sys.argv[1:]
    Handler.plugin = Plugin(volumes, calls)
    Server(socket_path, Handler).serve_forever()
