"""A reply is paid for once: it is found again by what was asked and by nothing else, whoever wrote it and however they died."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ROOT
from pipeline.cache import ReplyCache, reply_key
from pipeline.errors import RunError
from pipeline.records import Prompt, Reply, Request, Sampling, TokenChoice

fixed = settings(derandomize=True, max_examples=50, deadline=None)

ASKED = Request(
    messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}),
    sampling={"temperature": 0.7, "max_tokens": 16, "extra": {"top_k": 1, "min_p": 0.1}},
    sample=0,
    schema={"type": "object", "required": []},
)


def key(model: str = "m", revision: str | None = None, adapter: str | None = None, request: Request = ASKED) -> bytes:
    return reply_key(model, revision, adapter, request)


def test_a_stored_reply_is_found_by_its_key_alone(tmp_path: Path) -> None:
    reply = Reply("Hello ‚🙂‘\n", "length", 3, 4, score=0.5)
    with ReplyCache(tmp_path / "deep" / "r.sqlite") as cache:
        assert cache.get(key()) is None
        assert cache.put(key(), "m", reply) == reply
        assert cache.get(key()) == reply
        assert cache.get(key(model="other")) is None


def test_a_reply_outlives_its_process_and_is_counted_by_model(tmp_path: Path) -> None:
    for model in ("b", "a", "b"):
        with ReplyCache(tmp_path / "r.sqlite") as cache:
            cache.put(os.urandom(32), model, Reply("x"))
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        assert list(cache.count().items()) == [("a", 1), ("b", 2)]


def test_the_first_reply_counts_and_the_second_writer_is_given_it(tmp_path: Path) -> None:
    with ReplyCache(tmp_path / "r.sqlite") as one, ReplyCache(tmp_path / "r.sqlite") as other:
        assert one.put(key(), "m", Reply("first")).text == "first"
        assert other.put(key(), "m", Reply("second")).text == "first"
        assert one.get(key()) == other.get(key()) == Reply("first")


@fixed
@given(st.text(), st.text(), st.integers(0, 10**6), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_reply_comes_back_as_it_was(text: str, reason: str, tokens: int, score: float | None) -> None:
    reply = Reply(text, reason, tokens, tokens + 1, score=score)
    with ReplyCache(Path(":memory:")) as cache:
        cache.put(b"k", "m", reply)
        assert cache.get(b"k") == reply


OTHER_MESSAGES: dict[str, tuple[Any, ...]] = {
    "another text": (ASKED.messages[0], {"role": "user", "content": "hi"}),
    "another role": ({"role": "user", "content": "Be brief."}, ASKED.messages[1]),
    "another order": ASKED.messages[::-1],
    "one less": ASKED.messages[1:],
    "one more": (*ASKED.messages, ASKED.messages[1]),
}

OTHER_SAMPLING: dict[str, Sampling] = {
    "temperature": {**ASKED.sampling, "temperature": 0.8},
    "max_tokens": {**ASKED.sampling, "max_tokens": 17},
    "top_p": {**ASKED.sampling, "top_p": 0.9},
    "seed": {**ASKED.sampling, "seed": 0},
    "stop": {**ASKED.sampling, "stop": ["\n"]},
    "extra": {**ASKED.sampling, "extra": {"top_k": 2, "min_p": 0.1}},
}

DEPENDS_ON: dict[str, list[bytes]] = {
    "messages": [key(request=replace(ASKED, messages=m)) for m in OTHER_MESSAGES.values()],
    "sampling": [key(request=replace(ASKED, sampling=s)) for s in OTHER_SAMPLING.values()],
    "sample": [key(request=replace(ASKED, sample=n)) for n in (1, 2)],
    "schema": [key(request=replace(ASKED, schema=s)) for s in (None, {}, {"type": "object", "required": ["a"]})],
    "logprobs": [key(request=replace(ASKED, logprobs=n)) for n in (5, 20)],
}

FREE_OF = {"prompt": [key(request=replace(ASKED, prompt=p)) for p in (None, Prompt("1", ASKED.messages), Prompt("2", (), key="k"))]}


def test_a_key_depends_on_every_part_of_what_is_asked() -> None:
    parts = [key(model="n"), key(revision="1"), key(adapter="1"), *(k for keys in DEPENDS_ON.values() for k in keys)]
    assert len({key(), *parts}) == 1 + len(parts)
    assert DEPENDS_ON.keys() | FREE_OF.keys() == {f.name for f in fields(Request)}, "say of the new field whether the key depends on it"
    assert OTHER_SAMPLING.keys() == Sampling.__annotations__.keys(), "say what the new parameter does to the key"


def test_a_key_depends_on_nothing_else() -> None:
    turned = replace(
        ASKED,
        messages=[{"content": m["content"], "role": m["role"]} for m in ASKED.messages],  # type: ignore[arg-type]
        sampling=dict(reversed(ASKED.sampling.items())) | {"extra": {"min_p": 0.1, "top_k": 1}},  # type: ignore[arg-type]
        schema={"required": [], "type": "object"},
    )
    assert {key(request=turned), *FREE_OF["prompt"]} == {key()}


def test_a_revision_is_not_an_adapter_nor_part_of_a_name() -> None:
    assert len({key("a", "b"), key("a", None, "b"), key("ab"), key("a", "", "b"), key("a", "b", "")}) == 5


def test_a_key_is_the_same_in_every_version() -> None:
    # Whoever changes this pays for every reply again.
    assert key("gpt", "2026-01-01", None).hex() == "220b7ff66b36a87490aad69433dc9091b921aae6e5b999b5d0a462c0d2c52746"
    asked = replace(ASKED, logprobs=20)
    assert key("gpt", "2026-01-01", None, asked).hex() == "4c365e5bb84da358fe81825b6f0f9a421fb6df975332036da8de279b9f7417c6"


def test_log_probabilities_come_back_as_they_were_and_take_no_room_where_there_are_none() -> None:
    reply = Reply("4", logprobs=(TokenChoice("4", (("4", -0.1), (" ✓", -2.5))), TokenChoice("", ())))
    with ReplyCache(Path(":memory:")) as cache:
        cache.put(b"k", "m", reply)
        assert cache.get(b"k") == reply
    assert b"logprobs" not in Reply("4").to_json()
    assert Reply.from_json(b'{"text": "4"}') == Reply("4")


# --- processes

REPLIES = 2000


def write_all(path: Path, text: str, barrier: Any, won: Any) -> None:
    barrier.wait(timeout=60)
    with ReplyCache(path) as cache:
        came = [cache.put(n.to_bytes(4, "big"), "m", Reply(f"{text} {n}")) for n in range(REPLIES)]
        kept = [cache.get(n.to_bytes(4, "big")) for n in range(REPLIES)]
    won.put((text, came == kept, sum(reply.text == f"{text} {n}" for n, reply in enumerate(came))))


def test_two_processes_that_write_the_same_replies_lose_none_and_agree_on_the_first(tmp_path: Path) -> None:
    # The file is there already: how it comes into being is the next test's.
    ReplyCache(tmp_path / "r.sqlite").close()
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    writers = [context.Process(target=write_all, args=(tmp_path / "r.sqlite", text, barrier, won)) for text in ("one", "two")]
    for writer in writers:
        writer.start()
    results = [won.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    assert [agreed for _, agreed, _ in results] == [True, True]
    assert sum(count for _, _, count in results) == REPLIES
    with ReplyCache(tmp_path / "r.sqlite") as cache:
        assert cache.count() == {"m": REPLIES}


def test_a_process_that_is_just_creating_the_cache_is_waited_for(tmp_path: Path) -> None:
    # SQLite's own waiting does not cover this moment: beside a writer the switch to WAL is refused at once.
    path = tmp_path / "r.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE settings (name TEXT)")
        done = Timer(0.2, other.execute, ["COMMIT"])
        done.start()
        try:
            with ReplyCache(path) as cache:
                assert cache.put(key(), "m", Reply("x")) == Reply("x")
        finally:
            done.join()


ENDLESS = """
import sys
from itertools import count
from pathlib import Path
from pipeline.cache import ReplyCache
from pipeline.records import Reply

cache = ReplyCache(Path(sys.argv[1]))
for n in count():
    cache.put(n.to_bytes(4, "big"), "m", Reply(str(n)))
    print(n, flush=True)
"""


def test_a_kill_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    stored = -1
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            stored = int(line)
            if stored == 500:
                writer.send_signal(signal.SIGKILL)
            # What it wrote before the kill reached it is still in the pipe.
    assert stored >= 500
    with ReplyCache(path) as cache:
        lost = [n for n in range(stored + 1) if cache.get(n.to_bytes(4, "big")) != Reply(str(n))]
        assert lost == []
        cache.put(b"next", "m", Reply("goes on"))


# --- places that cannot be used


def refused(path: Path) -> str:
    with pytest.raises(RunError) as refusal:
        ReplyCache(path)
    text = str(refusal.value)
    assert text.startswith(f"the reply cache {path} cannot be used: ")
    assert "nothing that had arrived is lost" in text
    assert "set run.cache to another file" in text
    assert "\n" not in text
    return text


def test_a_folder_is_no_cache(tmp_path: Path) -> None:
    refused(tmp_path)


def test_a_file_where_a_folder_should_be_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(tmp_path / "file" / "r.sqlite")
    refused(tmp_path / "file" / "deeper" / "r.sqlite")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "r.sqlite").write_text("my notes, " * 100)
    refused(tmp_path / "r.sqlite")
    assert (tmp_path / "r.sqlite").read_text() == "my notes, " * 100


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder; the file in place of a folder stands for it")
def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert f"({tmp_path} is read-only for you)" in refused(tmp_path / "r.sqlite")
