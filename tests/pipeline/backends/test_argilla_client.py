"""A server that is away, slow, or refuses: what is tried again, and what is said."""

import time
from pathlib import Path

import pytest

from pipeline.backends import _argilla_client, make_backend
from pipeline.backends._argilla_client import Client
from pipeline.errors import BackendAway, InputError, PairsmithError, RecipeError
from tests.pipeline.backends.lossy import Reply, replies

OK: Reply = (200, {}, b'{"items": []}')
BUSY: Reply = (503, {}, b'{"detail": "starting"}')
CUT: Reply = (0, {}, b"")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_argilla_client, "_pause", lambda attempt, asked: 0.01)


def client_of(url: str, retries: int = 3, timeout: float = 5.0) -> Client:
    return Client(url, "s3cret-key", "ARGILLA_API_KEY", timeout, retries)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("failure", [BUSY, CUT, (500, {}, b"oops"), (429, {}, b"{}")], ids=["503", "cut", "500", "429"])
def test_what_may_pass_is_tried_again(failure: Reply) -> None:
    with replies(failure, failure, OK) as server:
        client = client_of(server.url)
        assert client.get("me/workspaces") == {"items": []}
        assert client.requests == len(server.requests) == 3


@pytest.mark.usefixtures("fast")
def test_a_server_that_stays_away_is_a_sentence_that_holds_no_key() -> None:
    with replies(BUSY) as server, pytest.raises(BackendAway) as caught:
        client_of(server.url, retries=2).get("users")
    said = str(caught.value)
    assert said == (
        f"Argilla at {server.url} does not answer (HTTP 503 starting; 3 tries); nothing is lost: "
        "run the same command again when it is back, or mend annotate.url"
    )
    assert len(server.requests) == 3
    assert caught.value.exit_code == 2
    assert "s3cret" not in repr(caught.getrepr(showlocals=False))


@pytest.mark.usefixtures("fast")
def test_a_server_that_is_not_there_or_too_slow_is_away() -> None:
    with pytest.raises(BackendAway, match="refused"):
        client_of("http://127.0.0.1:9", retries=1).get("users")


def test_a_reply_that_takes_too_long_is_lost() -> None:
    from tests.pipeline.backends.lossy import serve

    def slow(*_: object) -> Reply:
        time.sleep(0.4)
        return OK

    with serve(slow) as server, pytest.raises(BackendAway, match=r"no reply in 0\.1 s; 1 tries"):
        client_of(server.url, retries=0, timeout=0.1).get("users")


@pytest.mark.slow
def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    with replies((429, {"Retry-After": "1.6"}, b"{}"), OK) as server:
        begun = time.monotonic()
        client_of(server.url).get("users")
    assert time.monotonic() - begun >= 1.6


def test_pauses_grow_and_are_never_the_same() -> None:
    pauses = [[_argilla_client._pause(attempt, 0.0) for _ in range(50)] for attempt in range(4)]
    assert all(max(few) <= 0.75 * 2**attempt and min(few) >= 0.25 * 2**attempt for attempt, few in enumerate(pauses))
    assert all(len(set(few)) > 10 for few in pauses)


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        ((401, {}, b"{}"), RecipeError, "refused the API key in ARGILLA_API_KEY; export a valid one"),
        ((403, {}, b"{}"), RecipeError, "does not let the owner of ARGILLA_API_KEY GET users; use the key of an owner"),
        ((422, {}, b'{"detail": "Record at position 3 is not valid"}'), InputError, r"\(HTTP 422\): Record at position 3 is not valid"),
        ((200, {}, b"<html>Welcome</html>"), RecipeError, "answered with b'<html>Welcome</html>', wanted Argilla's API; mend annotate.url"),
        ((302, {"Location": "https://a.example/login"}, b""), RecipeError, r"a redirect to https://a\.example/login, wanted Argilla's API"),
    ],
)
def test_a_refusal_is_a_sentence_at_once(reply: Reply, kind: type[PairsmithError], sentence: str) -> None:
    with replies(reply) as server, pytest.raises(kind, match=sentence):
        client_of(server.url).get("users")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "key", "sentence"),
    [
        ("", "k", r"annotate\.url: found none, wanted the address of an Argilla server; set it, or export ARGILLA_API_URL"),
        ("http://localhost:6900", "", "Argilla needs an API key, and ARGILLA_API_KEY is not set"),
        ("localhost:6900", "k", "ARGILLA_API_URL: found 'localhost:6900'; wanted an http"),
    ],
)
def test_a_missing_address_or_key_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, key: str, sentence: str) -> None:
    monkeypatch.setenv("ARGILLA_API_URL", url)
    monkeypatch.setenv("ARGILLA_API_KEY", key)
    with pytest.raises(RecipeError, match=sentence):
        make_backend({"backend": "argilla"}, tmp_path)


def test_a_wrong_address_in_the_recipe_is_found_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"annotate\.url: found 'ftp://x'"):
        make_backend({"backend": "argilla", "url": "ftp://x"}, tmp_path)


def test_the_key_goes_in_a_header_and_the_address_may_end_in_api_v1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OUR_KEY", "s3cret-key")
    with replies(OK) as server:
        backend = make_backend({"backend": "argilla", "url": f"{server.url}/api/v1/", "api_key_env": "OUR_KEY"}, tmp_path)
        backend.client.get("users")  # type: ignore[attr-defined]
        backend.close()
    assert server.requests[0][0] == "GET /api/v1/users"
    assert {name.lower(): value for name, value in server.requests[0][1].items()}["x-argilla-api-key"] == "s3cret-key"
