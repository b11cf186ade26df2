"""A hub on the loopback: the few endpoints that `huggingface_hub` asks for models' files and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories in memory: ``repos`` are the files of each by name, ``asked`` is what was asked of them.

    The terms of those in ``gated`` were accepted by nobody.
    """

    def __init__(self):
        self.repos: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, status, content=b"", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if repo in self.hub.gated:
            return self.answer(403, {"error": "gated"}, X_Error_Code="GatedRepo")
        files = self.hub.repos.get(repo)
        if files is None:
            return self.answer(404, {"error": "none"}, X_Error_Code="RepoNotFound")
        if parts[0] == "api":
            return self.listing(repo, files, parts)
        revision, name = parts[3], "/".join(parts[4:])
        if revision not in (COMMIT, "main") or name not in files:
            return self.answer(404, {"error": "none"}, X_Error_Code="EntryNotFound")
        etag = hashlib.sha256(files[name]).hexdigest()
        return self.answer(200, files[name], ETag=f'"{etag}"', X_Repo_Commit=COMMIT)

    def do_HEAD(self):
        self.do_GET()

    def listing(self, repo, files, parts):
        if len(parts) > 5 and parts[5] not in (COMMIT, "main"):
            return self.answer(404, {"error": "none"}, X_Error_Code="RevisionNotFound")
        if len(parts) > 4 and parts[4] == "tree":
            return self.answer(
                200,
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ],
            )
        siblings = [{"rfilename": name} for name in files]
        return self.answer(200, {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings})

    def do_POST(self):
        path, data = unquote(urlsplit(self.path).path), self.body()
        self.hub.asked.append(f"POST {path}")
        parts = path.strip("/").split("/")
        if parts[-1] == "create":
            wanted = json.loads(data)
            repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            self.hub.repos.setdefault(repo, {})
            return self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo})
        if parts[1] == "validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        repo = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(data)["files"]
            ]
            return self.answer(200, {"files": files})
        for line in data.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.hub.repos[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = {"commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""}
        return self.answer(200, {**commit, "success": True})
