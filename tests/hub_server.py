"""A stand-in for the Hugging Face Hub on loopback, for the real huggingface_hub client.

It speaks the part of the Hub's protocol that fetching a public model takes:

- ``HEAD /<repo>/resolve/<revision>/<file>`` names the commit (X-Repo-Commit), the content's hash
  (ETag) and its size; for a large file it redirects to another host, as the Hub does to its CDN,
  and gives hash and size in X-Linked-Etag and X-Linked-Size;
- ``GET`` sends the bytes, from the middle of the file if the request has a Range.

What makes it a test instrument is how badly it can behave: slowly, cut off, or not at all.
"""

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 1 << 18


@dataclass
class StandIn:
    """How the stand-in behaves, and what it was asked."""

    folder: Path
    repository: str = "openai-community/gpt2"
    seconds_per_mb: float = 0.0
    cut_at: int | None = None  # the weights break off after so many bytes …
    cuts: int = 1  # … so many times …
    reset: bool = False  # … with a TCP reset instead of an orderly end
    stall_at: int | None = None  # the weights stop there, with the line left open
    resumable: bool = True  # whether a Range is honoured
    status: int | None = None  # answer everything with this status and nothing of the Hub
    url: str = ""
    port: int = 0
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    @property
    def ranges(self) -> list[str]:
        return [asked for _, _, asked in self.requests if asked]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandIn

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if hub.status is not None:
            return self.plain(hub.status)
        on_hub = re.fullmatch(rf"/{hub.repository}/resolve/[^/]+/([^/]+)", self.path)
        on_cdn = re.fullmatch(r"/cdn/([^/]+)", self.path)
        if not on_hub and not on_cdn:
            return self.plain(404, {"X-Error-Code": "RepoNotFound"})
        file = hub.folder / (on_hub or on_cdn).group(1)
        if not file.is_file():
            return self.plain(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        etag, size = f'"{sha256(file)}"', file.stat().st_size
        if on_hub and file.suffix == ".safetensors":
            # "localhost" is another host than "127.0.0.1" to the client: this is the CDN.
            headers = {"Location": f"http://localhost:{hub.port}/cdn/{file.name}"}
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(size)}
            return self.plain(302, headers | {"X-Repo-Commit": COMMIT})
        asked = hub.resumable and re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked.group(1)) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(size - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        return self.send(file, start) if body else None

    def plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, file: Path, start: int) -> None:
        hub, content = self.hub, file.read_bytes()
        end = len(content)
        cut = file.suffix == ".safetensors" and hub.cut_at is not None and hub.cuts > 0
        if cut:
            hub.cuts -= 1
            end = min(end, hub.cut_at)
        for position in range(start, end, BLOCK):
            block = content[position : min(position + BLOCK, end)]
            self.wfile.write(block)
            time.sleep(hub.seconds_per_mb * len(block) / 1e6)
            if hub.stall_at is not None and position > hub.stall_at:
                time.sleep(30)
        if cut:
            if hub.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            self.close_connection = True

    def handle(self):
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client went away, as some tests want

    def finish(self):
        with suppress(OSError, ValueError):
            super().finish()


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in, listening on ``stand_in.url``."""
    handler = type("BoundHandler", (Handler,), {"hub": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stand_in.port = server.server_address[1]
    stand_in.url = f"http://127.0.0.1:{stand_in.port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def black_hole() -> Iterator[str]:
    """An address that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
