"""A Hugging Face Hub for tests: the parts of its HTTP interface that huggingface_hub uses to upload and download."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

LFS_FROM = 10_000  # bytes: larger files are stored by their sha256, as the Hub stores binary ones


class HubServer(ThreadingHTTPServer):
    """Repositories by name (`user/name`, `spaces/user/name`), each a list of commits: files by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.sdks: dict[str, str | None] = {}
        self.objects: dict[str, bytes] = {}
        self.validated: list[str] = []
        self.asked: list[str] = []
        self.stated_size: int | None = None
        self.change: Callable[[bytes], bytes] = bytes
        """What becomes of a file's bytes on their way to the client."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def commit_id(repo: str, number: int) -> str:
    return hashlib.sha1(f"{repo}:{number}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        content = self._read()
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            self._validate(json.loads(content))
        elif path == "/api/repos/create":
            wanted = json.loads(content)
            repo = f"{wanted['organization']}/{wanted['name']}"
            repo = f"spaces/{repo}" if wanted.get("type") == "space" else repo
            self.server.repos.setdefault(repo, [])
            self.server.sdks[repo] = wanted.get("sdk")
            self._answer({"url": f"{self.server.address}/{repo}"})
        elif found := re.fullmatch(r"/api/(model|space)s/(.+)/preupload/main", path):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] > LFS_FROM else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(content)["files"]
            ]
            self._answer({"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/upload/{one['oid']}"}}}
                for one in json.loads(content)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/(model|space)s/(.+)/commit/main", path):
            repo = f"spaces/{found[2]}" if found[1] == "space" else found[2]
            self._commit(repo, [json.loads(line) for line in content.splitlines()])
        else:
            self._answer({"error": "unknown"}, 404)

    def do_PUT(self) -> None:
        content = self._read()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.objects[oid] = content
        self._answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        commits = self.server.repos.get(found[1]) if found else None
        if not found or not commits:
            return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        ids = [commit_id(found[1], number) for number in range(len(commits))]
        if found[2] not in (*ids, "main"):
            return self._answer({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        number = ids.index(found[2]) if found[2] in ids else len(ids) - 1
        files = commits[number]
        if found[3] not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": ids[number]}
            return self._answer({"error": "Entry not found"}, 404, headers)
        content = files[found[3]]
        is_lfs = len(content) > LFS_FROM
        blob = b"blob %d\0" % len(content) + content  # as git hashes it
        etag = hashlib.sha256(content).hexdigest() if is_lfs else hashlib.sha1(blob).hexdigest()
        stated = self.server.stated_size or len(content)
        sent = self.server.change(content)
        self.send_response(200)
        self.send_header("X-Repo-Commit", ids[number])
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(stated))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(sent)
            self.close_connection = len(sent) != stated
        return None

    def _validate(self, wanted: dict[str, str]) -> None:
        """The rules that the Hub documents for the metadata of cards."""
        self.server.validated.append(wanted["content"])
        found = re.match(r"---\n(.*?)\n---\n", wanted["content"], re.DOTALL)
        told = yaml.safe_load(found[1]) if found else None
        errors = []
        if not isinstance(told, dict):
            errors.append("metadata is missing")
        else:
            if told.get("license") == "other" and not re.fullmatch(r"[a-z0-9-]+", told.get("license_name", "")):
                errors.append('"license_name" is needed, of a-z, 0-9 and -')
            if wanted["repoType"] == "space" and told.get("sdk") not in ("gradio", "docker", "static"):
                errors.append('"sdk" must be one of gradio, docker, static')
            if wanted["repoType"] == "space" and not {"title", "emoji", "colorFrom", "colorTo"} <= told.keys():
                errors.append("title, emoji, colorFrom and colorTo are needed")
            results = [result for entry in told.get("model-index", []) for result in entry["results"]]
            if any(not {"task", "dataset", "metrics"} <= result.keys() for result in results):
                errors.append('"model-index" needs task, dataset and metrics')
        self._answer({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = dict(self.server.repos[repo][-1]) if self.server.repos[repo] else {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        self.server.repos[repo].append(files)
        commit = commit_id(repo, len(self.server.repos[repo]) - 1)
        self._answer(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.server.address}/{repo}/commit/{commit}"}
        )

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
