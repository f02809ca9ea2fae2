"""Packages for hosts that have no way out: a caching mirror and the lab's own repository, on the bridge's address.

One small server for each instance (`python -m lab.proxy INSTANCE_FOLDER ADDRESS`). What it fetches is kept under
ROOT/cache, which all instances share. Files under pool/ and by-hash/ never change and are served from there for good;
indexes are asked for again after some minutes, and served as they were where the mirror does not answer.
"""

import abc
import contextlib
import email.utils
import filecmp
import functools
import http
import http.client
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab import processes
from lab.commands import detach
from lab.errors import LabError
from lab.sources import Distribution, apt_proxy, read_distribution

PORT = 3142
ADDRESS = f"http://controller:{PORT}"  # How hosts name it: the same in every instance, so that images fit all.
_FRESH_SECONDS = 300


@dataclass(slots=True, kw_only=True)
class Cache:
    """The mirror's files as far as they were asked for, one writer for each file at a time."""

    folder: Path
    _locks: dict[Path, threading.Lock] = field(default_factory=dict)
    _asked: dict[Path, float] = field(default_factory=dict)

    def fetch(self, base: str, path: str) -> Path:
        """Return the local copy of BASE/PATH; urllib.error.URLError where there is none and none can be had."""
        kept = self.folder / urlsplit(base).netloc.rpartition("@")[2] / urlsplit(base).path.strip("/") / path
        with self._locks.setdefault(kept, threading.Lock()):
            if not self._is_fresh(kept):
                self._ask(f"{base}/{path}", kept)
        return kept

    def _is_fresh(self, kept: Path) -> bool:
        lasting = "/pool/" in str(kept) or "/by-hash/" in str(kept)
        recent = time.monotonic() - self._asked.get(kept, float("-inf")) < _FRESH_SECONDS
        return kept.is_file() and (lasting or recent)

    def _ask(self, url: str, kept: Path) -> None:
        request = urllib.request.Request(url)
        if kept.is_file():
            request.add_header("If-Modified-Since", email.utils.formatdate(kept.stat().st_mtime, usegmt=True))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._keep(answer, kept)
        except urllib.error.URLError as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else 0
            gone = status not in (0, http.HTTPStatus.NOT_MODIFIED) and status < 500
            if gone or not kept.is_file():
                raise
        self._asked[kept] = time.monotonic()

    def _keep(self, answer: http.client.HTTPResponse, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        with part.open("wb") as copy:
            shutil.copyfileobj(answer, copy)
        expected = answer.headers.get("Content-Length")
        if expected and part.stat().st_size != int(expected):
            part.unlink()
            raise urllib.error.URLError("the mirror broke off")
        if kept.is_file() and filecmp.cmp(part, kept, shallow=False):
            # A mirror may tell no date: what has not changed keeps the one that the hosts know.
            part.unlink()
            return
        changed = email.utils.parsedate_to_datetime(answer.headers.get("Last-Modified", email.utils.formatdate()))
        os.utime(part, (changed.timestamp(), changed.timestamp()))
        part.rename(kept)


def start(folder: Path, address: str) -> None:
    """Start the server of an instance, and wait until it listens."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    log = folder / "proxy.log"
    detach([sys.executable, "-m", "lab.proxy", str(folder), address], log=log, environment=environment)
    until = time.monotonic() + 20
    while not processes.recall(folder / "proxy.json"):
        if time.monotonic() > until:
            raise LabError(f"The server of packages does not listen on {address}:{PORT}; see {log}.")
        time.sleep(0.02)


def stop(folder: Path) -> None:
    """End the server of an instance."""
    running = processes.recall(folder / "proxy.json")
    if running:
        running.send(signal.SIGKILL)
        processes.wait_until_gone([running], 10)


def serve(
    folder: Path | None, address: tuple[str, int], cache: Cache, distribution: Distribution, *, quiet: bool = False
) -> ThreadingHTTPServer:
    """Make a server for the distribution's mirrors and, under /lab/, the repository in the instance's folder."""
    install_upstream_proxy()
    mirrors = {path: uri for uri, path in distribution.paths().items()}

    class Handler(_Handler):
        def find(self, path: str) -> Path | None:
            first, _, rest = path.partition("/")
            if ".." in rest.split("/"):
                return None
            if first == "lab" and folder:
                return folder / "repository" / rest
            return cache.fetch(mirrors[first], rest) if first in mirrors else None

        def log_message(self, format: str, *args: object) -> None:
            if not quiet:
                print(self.client_address[0], format % args, flush=True)

    return ThreadingHTTPServer(address, Handler)


@contextlib.contextmanager
def serving(root: Path, distribution: Distribution) -> Iterator[str]:
    """Serve the mirror on this machine while an image is built: its hosts find in the cache what the image took."""
    server = serve(None, ("127.0.0.1", 0), Cache(folder=root / "cache"), distribution, quiet=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def install_upstream_proxy() -> None:
    """Reach the mirror the way the machine's own apt does, through its proxy where it has one."""
    found = apt_proxy()
    handler = urllib.request.ProxyHandler({"http": found, "https": found} if found else None)
    urllib.request.install_opener(urllib.request.build_opener(handler, _PatientHandler))


class _PatientConnection(http.client.HTTPConnection):
    """Looks a name up once: a lost answer costs 5 s, and an image takes some 150 files."""

    def connect(self) -> None:
        try:
            self.sock = socket.create_connection((_address_of(self.host), self.port), timeout=10)
            self.sock.settimeout(60)
        except OSError:
            super().connect()


class _PatientHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PatientConnection, req)


@functools.cache
def _address_of(host: str) -> str:
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # apt sends several requests at once: without a buffer each answer's head would wait for the peer's acknowledgement.
    wbufsize = 65536
    disable_nagle_algorithm = True

    @abc.abstractmethod
    def find(self, path: str) -> Path | None:
        """Return the file that stands for a path, None where there is none."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        try:
            found = self.find(unquote(urlsplit(self.path).path).lstrip("/"))
        except urllib.error.HTTPError as error:
            return self._refuse(error.code, error.reason)
        except (urllib.error.URLError, OSError) as error:
            return self._refuse(http.HTTPStatus.BAD_GATEWAY, str(error))
        if found is None or not found.is_file():
            return self._refuse(http.HTTPStatus.NOT_FOUND, "not found")
        self._send(found, with_body=with_body)

    def _send(self, path: Path, *, with_body: bool) -> None:
        with path.open("rb") as content:
            state = os.fstat(content.fileno())
            changed = email.utils.formatdate(state.st_mtime, usegmt=True)
            known = self.headers.get("If-Modified-Since") == changed
            self.send_response(http.HTTPStatus.NOT_MODIFIED if known else http.HTTPStatus.OK)
            self.send_header("Last-Modified", changed)
            self.send_header("Content-Length", "0" if known else str(state.st_size))
            self.end_headers()
            if with_body and not known:
                shutil.copyfileobj(content, self.wfile)

    def _refuse(self, status: int, reason: str) -> None:
        body = f"{reason}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    """Serve one instance until the process is ended."""
    folder, address = Path(sys.argv[1]), sys.argv[2]
    cache = Cache(folder=folder.parent.parent / "cache")
    server = serve(folder, (address, PORT), cache, read_distribution())
    processes.remember(folder / "proxy.json", os.getpid())
    server.serve_forever()


if __name__ == "__main__":
    main()
