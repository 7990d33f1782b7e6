"""A stand-in for a model hub on this machine: as much of the Hugging Face Hub's protocol as uploading and fetching a model needs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "secret"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: name to file to content."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.models: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def revision(self, name: str) -> str:
        """As Git names one: 40 digits that depend on the content."""
        return hashlib.sha1(repr(sorted(self.models[name].items())).encode()).hexdigest()


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.body()
        self.server.asked.append(f"POST {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "validate-yaml"]:
            return self.reply({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply({"error": "Invalid credentials"}, 401)
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            self.server.models.setdefault(name, {})
            return self.reply({"url": f"{self.server.endpoint}/{name}", "name": name, "id": name})
        name, what = "/".join(parts[2:4]), parts[4]
        if what == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self.reply({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.models[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        oid = self.server.revision(name)
        return self.reply({"success": True, "commitOid": oid, "commitUrl": f"{self.server.endpoint}/{name}/commit/{oid}", "hookOutput": ""})

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        files = self.server.models.get(name)
        if files is None:
            return self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        oid = self.server.revision(name)
        if parts[0] == "api" and parts[4] == "revision" and parts[5] in ("main", oid):
            siblings = [{"rfilename": path} for path in files]
            return self.reply({"id": name, "modelId": name, "sha": oid, "siblings": siblings, "private": False, "tags": []})
        if parts[0] == "api" and parts[4] == "tree":
            rows = [{"type": "file", "path": path, "size": len(data), "oid": blob(data)} for path, data in files.items()]
            return self.reply(rows)
        if parts[0] != "api" and parts[2] == "resolve" and "/".join(parts[4:]) in files:
            data = files["/".join(parts[4:])]
            return self.send(data, 200, {"ETag": f'"{blob(data)}"', "X-Repo-Commit": oid, "Content-Type": "application/octet-stream"})
        return self.reply({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def reply(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


def blob(data: bytes) -> str:
    """As Git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def served() -> Iterator[Hub]:
    """A hub without models, while the context lasts."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
