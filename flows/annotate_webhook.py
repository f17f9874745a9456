"""Argilla calls us when a task is complete: a listener on this machine that believes signed calls alone, and then pulls."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.annotate import opened
from pipeline.errors import BackendAway, PairsmithError, RecipeError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from pipeline.backends._argilla_webhooks import Hook

SECONDS = 10.0
"""Between two pulls at least: a hundred tasks that are completed in a minute are six pulls."""

LONGEST = 4 * 2**20
"""Bytes of a call."""


class Debounced:
    """Does the work soon after it was called for, at most every so many seconds; what fails for now is done again."""

    def __init__(self, work: Callable[[], object], seconds: float = SECONDS) -> None:
        self._work, self._seconds = work, seconds
        self._wanted, self._ended = Event(), Event()
        self._thread = Thread(target=self._run, name="pairsmith-webhook", daemon=True)
        self._thread.start()

    def call(self) -> None:
        """Ask for the work; from any thread, and without waiting for it."""
        self._wanted.set()

    def close(self) -> None:
        """Begin no other work."""
        self._ended.set()
        self._wanted.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wanted.wait()
            if self._ended.is_set():
                return
            self._wanted.clear()
            try:
                self._work()
            except PairsmithError as error:  # such as another process in the run folder: its time will come
                Console(stderr=True).print(f"pairsmith: {error}", highlight=False, markup=False, soft_wrap=True)
                self._wanted.set()
            self._ended.wait(self._seconds)


def app_of(hook: "Callable[[], Hook | None]", call: Callable[[], None]) -> "Starlette":
    """The listener: 204 for a call that is signed with the hook's secret, 401 for any other."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from pipeline.backends._argilla_webhooks import ForgedCall, verify

    async def take(request: Request) -> Response:
        known, body = hook(), b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST:
                return Response(status_code=413)
        try:
            if known is None:
                return Response(status_code=503)
            verify(known, request.headers, body)
        except ForgedCall:
            return Response(status_code=401)
        call()
        return Response(status_code=204)

    return Starlette(routes=[Route("/", take, methods=["POST"])])


@contextmanager
def listening(run: Path, port: int, url: str | None, work: Callable[[], object]) -> Iterator[None]:
    """Listen at 127.0.0.1:PORT and have Argilla call it, under `url` where it sees us under another name, until the block ends.

    Raises RecipeError where the backend is another, or the port taken; BackendAway where Argilla is.
    """
    import uvicorn

    from pipeline.backends._argilla_webhooks import register, unregister

    with opened(run) as (_, backend):
        client: Any = getattr(backend, "client", None)
        if client is None:
            raise RecipeError("--webhook: this backend calls nobody, wanted `annotate.backend: argilla`; leave --webhook out")
        pulls, hooks = Debounced(work), list["Hook"]()
        place = _bound(port)
        app = app_of(lambda: hooks[0] if hooks else None, pulls.call)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [place]}, name="pairsmith-listener", daemon=True)
        thread.start()
        try:
            hooks.append(register(client, url or f"http://127.0.0.1:{place.getsockname()[1]}"))
            yield
        finally:
            with suppress(BackendAway):  # then its calls reach nobody, which harms nobody
                for hook in hooks:
                    unregister(client, hook)
            server.should_exit = True
            thread.join(timeout=5)
            pulls.close()
            place.close()


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", port))
        place.listen()  # calls wait from now on, until the server takes them
    except OSError as error:
        place.close()
        raise RecipeError(f"--webhook {port}: {error.strerror}; give a port that is free") from error
    return place
