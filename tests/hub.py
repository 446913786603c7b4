"""A hub on loopback: what `huggingface_hub` asks of huggingface.co, answered from a folder.

  with Hub(root) as hub, hub.used(cache):
      GPTCausalLM.from_preset("hf://owner/name")

`root` holds a folder `owner/name` for each repository, and `owner/name@revision` for its other
revisions; a commit is what the files of a folder are. It is read anew for each request, so that a
test changes it as it goes. A process of its own finds the hub by `hub.environment(cache)`.

Left out: Xet, datasets, redirects to another host, pull requests, and files in several parts.
"""

import base64
from collections.abc import Callable, Iterator
import contextlib
import functools
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import os
import pathlib
import re
import shutil
import threading
import urllib.parse

from huggingface_hub import constants, hf_api
import pytest

# What the hub keeps apart from git, under the SHA-256 of its content.
_LARGE = (".safetensors", ".h5", ".bin")
_BLOCK = 1 << 20
TOKEN = "hf_of_the_tests"


@functools.lru_cache(maxsize=1000)
def _sums(path: str, size: int, changed: int) -> tuple[str, str]:
    """SHA-256 of a file, and git's name for it; `changed` says when it was."""
    with open(path, "rb") as stream:
        git = hashlib.sha1(b"blob %d\0" % size)
        sha256 = hashlib.sha256()
        while block := stream.read(_BLOCK):
            git.update(block)
            sha256.update(block)
    return sha256.hexdigest(), git.hexdigest()


def _sums_of(path: pathlib.Path) -> tuple[str, str]:
    status = path.stat()
    return _sums(str(path), status.st_size, status.st_mtime_ns)


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    return {path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*")) if path.is_file()}


class Hub:
    """See the module.

    Args:
      root: folder of the repositories.

    Attributes:
      url: where it answers.
      requests: (method, path) of each request, in order.
      private: names of repositories that are found with `TOKEN` alone.
      gated: names of those that are known, and given to nobody.
      damage: path of a file in its repository -> what is sent in place of its bytes.
      status: what every request is answered with; 0: as it should be.
    """

    def __init__(self, root: os.PathLike):
        self.root = pathlib.Path(root)
        self.requests: list[tuple[str, str]] = []
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.damage: dict[str, Callable[[bytes], bytes]] = {}
        self.status = 0
        self._uploads: dict[str, bytes] = {}
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self, cache: os.PathLike) -> dict[str, str]:
        """Environment variables by which a process uses this hub, and `cache` as $HF_HOME."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}

    @contextlib.contextmanager
    def used(self, cache: os.PathLike) -> Iterator[None]:
        """This process uses the hub, which `huggingface_hub` reads of the environment only when
        it is imported; and `cache` as $HF_HUB_CACHE."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (
                    ("ENDPOINT", self.url), ("HF_HUB_CACHE", str(cache)),
                    ("HUGGINGFACE_CO_URL_TEMPLATE",
                     self.url + "/{repo_id}/resolve/{revision}/{filename}"),
                    ("HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"}),
                    ("HF_HUB_DISABLE_XET", True)):
                patch.setattr(constants, name, value)
            patch.setattr(hf_api.api, "endpoint", self.url)
            for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
                patch.delenv(name, raising=False)
            patch.setattr(constants, "HF_TOKEN_PATH", os.path.join(cache, "no-token"))
            yield

    def commit(self, repo: str, revision: str = "main") -> str:
        """The 40 digits of a revision's commit."""
        return self._commit_of(self._folder(repo, revision))

    def _folder(self, repo: str, revision: str) -> pathlib.Path | None:
        main = self.root / repo
        if revision == "main":
            return main
        for folder in [main, *main.parent.glob(f"{main.name}@*")]:
            if folder.name == f"{main.name}@{revision}" or self._commit_of(folder) == revision:
                return folder
        return None

    @staticmethod
    def _commit_of(folder: pathlib.Path) -> str:
        listing = [f"{name} {_sums_of(path)[0]}" for name, path in _files(folder).items()]
        return hashlib.sha1("\n".join(listing).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """One connection; see https://huggingface.co/docs/hub/api and git-lfs's batch API."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format, *args):
        """Nothing: the tests look at what the client says."""

    def _answer(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.status:
            self._say(self.hub.status, {"error": "as the test wants it"})
            return
        name = r"(?P<repo>[^/]+/[^/]+)"
        for method, pattern, answer in (
                ("POST", r"/api/repos/create", self._create),
                ("POST", r"/api/validate-yaml", self._validate),
                ("GET", rf"/api/models/{name}(/revision/(?P<revision>.+))?", self._info),
                ("GET", rf"/api/models/{name}/tree/(?P<revision>[^/]+)", self._tree),
                ("GET", rf"/{name}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
                ("POST", rf"/api/models/{name}/preupload/(?P<revision>.+)", self._preupload),
                ("POST", rf"/{name}\.git/info/lfs/objects/batch", self._batch),
                ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self._upload),
                ("POST", rf"/api/models/{name}/commit/(?P<revision>.+)", self._commit)):
            found = re.fullmatch(pattern, path)
            if found and self.command.replace("HEAD", "GET") == method:
                values = {key: value for key, value in found.groupdict().items()}
                if "repo" not in values or self._may(values["repo"]):
                    answer(**values)
                return
        self._say(404, {"error": "no such address"})

    def _may(self, repo: str) -> bool:
        """Whether the repository is there for who asks; else says so."""
        is_known = (self.hub.root / repo).is_dir()
        has_token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo in self.hub.gated and is_known:
            self._say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif not is_known or (repo in self.hub.private and not has_token):
            # Who has no token is not told which it is.
            self._say(404 if has_token else 401, {"error": "Repository not found"},
                      {"X-Error-Code": "RepoNotFound"} if has_token else {})
        else:
            return True
        return False

    def _revision(self, repo: str, revision: str | None) -> pathlib.Path | None:
        folder = self.hub._folder(repo, revision or "main")
        if folder is None:
            self._say(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return folder

    def _info(self, repo: str, revision: str | None):
        if (folder := self._revision(repo, revision)):
            self._say(200, {"id": repo, "modelId": repo, "sha": self.hub._commit_of(folder),
                            "private": repo in self.hub.private, "tags": [], "downloads": 0,
                            "siblings": [
                                {"rfilename": entry["path"], "size": entry["size"],
                                 "blobId": entry["oid"]} | ({"lfs": {
                                     "sha256": entry["lfs"]["oid"], "size": entry["size"],
                                     "pointerSize": 130}} if "lfs" in entry else {})
                                for entry in self._entries(folder)]})

    def _tree(self, repo: str, revision: str):
        if (folder := self._revision(repo, revision)):
            self._say(200, self._entries(folder))

    @staticmethod
    def _entries(folder: pathlib.Path) -> list[dict]:
        entries = []
        for name, path in _files(folder).items():
            sha256, git = _sums_of(path)
            size = path.stat().st_size
            entry = {"type": "file", "path": name, "size": size, "oid": git}
            if name.endswith(_LARGE):
                entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 130}
            entries.append(entry)
        return entries

    def _resolve(self, repo: str, revision: str, file: str):
        if not (folder := self._revision(repo, revision)):
            return
        commit = {"X-Repo-Commit": self.hub._commit_of(folder)}
        path = _files(folder).get(file)
        if path is None:
            self._say(404, {"error": "Entry not found"}, commit | {"X-Error-Code": "EntryNotFound"})
            return
        sha256, git = _sums_of(path)
        size = path.stat().st_size
        headers = commit | {"ETag": f'"{git}"', "Accept-Ranges": "bytes",
                            "Content-Type": "application/octet-stream"}
        if file.endswith(_LARGE):
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size)}
        if file in self.hub.damage and self.command == "GET":
            self._send(200, headers, self.hub.damage[file](path.read_bytes()), size)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, size
        if wanted:
            start, end = int(wanted[1]), int(wanted[2] or size - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        with open(path, "rb") as stream:
            stream.seek(start)
            self._start(206 if wanted else 200, headers, end - start)
            if self.command == "GET":
                shutil.copyfileobj(stream, self.wfile, _BLOCK)

    def _create(self):
        value = json.loads(self._body)
        owner = value.get("organization") or "tests"
        repo = f"{owner}/{value['name']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid username or password."})
            return
        (self.hub.root / repo).mkdir(parents=True, exist_ok=True)
        self._say(200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": "1"})

    def _validate(self):
        self._say(200, {"errors": [], "warnings": []})

    def _preupload(self, repo: str, revision: str):
        self._say(200, {"files": [
            {"path": file["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular"}
            for file in json.loads(self._body)["files"]]})

    def _batch(self, repo: str):
        self._say(200, {"transfer": "basic", "objects": [
            value | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{value['oid']}"}}}
            for value in json.loads(self._body)["objects"]]})

    def _upload(self, oid: str):
        is_whole = hashlib.sha256(self._body).hexdigest() == oid
        if is_whole:
            self.hub._uploads[oid] = self._body
        self._say(200 if is_whole else 422, {})

    def _commit(self, repo: str, revision: str):
        folder = self.hub.root / repo
        for line in self._body.decode().splitlines():
            value = json.loads(line)
            if value["key"] not in ("file", "lfsFile"):
                continue
            change = value["value"]
            path = folder / change["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(change["content"]) if value["key"] == "file"
                             else self.hub._uploads[change["oid"]])
        self._say(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/1",
                        "commitOid": self.hub._commit_of(folder), "success": True})

    def _say(self, status: int, value, headers: dict[str, str] | None = None):
        data = json.dumps(value).encode()
        self._send(status, {"Content-Type": "application/json"} | (headers or {}), data, len(data))

    def _send(self, status: int, headers: dict[str, str], data: bytes, length: int):
        """`data`; where it is not as long as it says, the connection ends behind it."""
        self._start(status, headers, length)
        if self.command != "HEAD":
            self.wfile.write(data[:length])
        self.close_connection |= len(data) < length

    def _start(self, status: int, headers: dict[str, str], length: int):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
