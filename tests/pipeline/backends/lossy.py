"""A proxy that loses requests or replies when told to, and a server that answers what it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, body. Status 0 closes the connection without a word."""


@dataclass
class Seen:
    """An address, and what was asked there: method and path, headers, body."""

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def serve(answer: Callable[[str, dict[str, str], bytes], Reply]) -> Iterator[Seen]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = (f"{self.command} {self.path}", dict(self.headers.items()), body)
            seen.requests.append(asked)
            status, headers, said = answer(*asked)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def replies(*said: Reply) -> Iterator[Seen]:
    """One reply after the other; the last one again and again."""
    left = list(said)
    with serve(lambda *_: left.pop(0) if len(left) > 1 else left[0]) as seen:
        yield seen


@contextmanager
def proxy(url: str, lose: Callable[[int, str], bool]) -> Iterator[Seen]:
    """Hands everything on to `url`; where `lose` says so of the nth request, it was done and nobody hears of it."""
    count = 0
    with httpx.Client(base_url=url, timeout=60) as client:

        def answer(line: str, headers: dict[str, str], body: bytes) -> Reply:
            nonlocal count
            count += 1
            method, _, path = line.partition(" ")
            kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection", "accept-encoding")}
            reply = client.request(method, path, headers=kept, content=body)
            return (0, {}, b"") if lose(count, line) else (reply.status_code, {"Content-Type": "application/json"}, reply.content)

        with serve(answer) as seen:
            yield seen
