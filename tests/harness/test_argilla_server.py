"""The real argilla-server that other tests stand on, asked through the real SDK."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.argilla import ArgillaServer, require_argilla
from tests.harness.argilla import server as server_module
from tests.harness.argilla.server import ROOT, InUse, lock
from tests.harness.vllm import wait_until

pytestmark = pytest.mark.server

TEXTS = [f"Question {n} about {'cats' if n % 2 else 'dogs'}" for n in range(50)]


def sdk(server: ArgillaServer) -> Any:
    import argilla

    return argilla.Argilla(api_url=server.url, api_key=server.api_key)


def make_dataset(server: ArgillaServer, workspace: str, *, overlap: int = 2) -> Any:
    """A dataset `tasks` of 50 records with the four kinds of questions, in a workspace with the annotators ann and bob."""
    import argilla

    client = sdk(server)
    argilla.Workspace(name=workspace, client=client).create()
    settings = argilla.Settings(
        fields=[argilla.TextField(name="prompt"), argilla.TextField(name="answer_1")],
        questions=[
            argilla.LabelQuestion(name="choice", labels=["1", "2", "tie"]),
            argilla.RankingQuestion(name="ranking", values=["1", "2", "3"], required=False),
            argilla.RatingQuestion(name="clear", values=[1, 2, 3, 4, 5], required=False),
            argilla.TextQuestion(name="comment", required=False),
        ],
        metadata=[argilla.TermsMetadataProperty(name="category"), argilla.IntegerMetadataProperty(name="length")],
        distribution=argilla.TaskDistribution(min_submitted=overlap),
        guidelines="Choose.",
    )
    dataset = argilla.Dataset(name=f"{workspace}-tasks", workspace=workspace, settings=settings, client=client)
    dataset.create()
    dataset.records.log(records())
    for name in ("ann", "bob"):
        server.add_annotator(name, workspace)
    return dataset


def records() -> list[Any]:
    import argilla

    return [
        argilla.Record(
            id=f"task-{n}",
            fields={"prompt": text, "answer_1": "An answer"},
            metadata={"category": "cats" if n % 2 else "dogs", "length": n},
            suggestions=[argilla.Suggestion("choice", "1", score=n / 50, agent="judge")] if n < 5 else [],
        )
        for n, text in enumerate(TEXTS)
    ]


def ids(found: Any) -> list[str]:
    return [record.id for record in found]


def completed(dataset: Any) -> list[str]:
    import argilla

    return ids(dataset.records(argilla.Query(filter=argilla.Filter(("status", "==", "completed")))))


def test_records_that_are_sent_twice_are_there_once(argilla_server: ArgillaServer) -> None:
    dataset = make_dataset(argilla_server, "twice")
    dataset.records.log(records())
    assert sorted(ids(dataset.records)) == sorted(f"task-{n}" for n in range(50))
    assert dataset.progress()["total"] == 50


def test_a_record_is_completed_by_as_many_annotators_as_it_needs(argilla_server: ArgillaServer) -> None:
    dataset = make_dataset(argilla_server, "overlap")
    at = argilla_server.record_ids("overlap-tasks")
    ranking = [{"value": value, "rank": rank} for value, rank in (("2", 1), ("1", 2), ("3", 2))]
    argilla_server.answer("ann", at["task-1"], {"choice": "1", "ranking": ranking, "clear": 4, "comment": "so"})
    argilla_server.answer("ann", at["task-2"], {"choice": "2"})
    argilla_server.answer("bob", at["task-2"], None, "discarded")
    argilla_server.answer("ann", at["task-3"], {"choice": "tie"}, "draft")
    assert completed(dataset) == []
    argilla_server.answer("bob", at["task-1"], {"choice": "2"})
    assert completed(dataset) == ["task-1"]
    progress = dataset.progress(with_users_distribution=True)
    assert (progress["total"], progress["completed"], progress["pending"]) == (50, 1, 49)
    assert progress["users"]["bob"] == {"completed": {"submitted": 1, "draft": 0, "discarded": 0}} | {
        "pending": {"submitted": 0, "draft": 0, "discarded": 1}
    }
    said = next(r for r in argilla_server.records("overlap-tasks") if r["external_id"] == "task-1")["responses"]
    assert sorted(response["values"]["choice"]["value"] for response in said) == ["1", "2"]
    assert all(response["updated_at"] for response in said)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([("metadata.category", "==", "cats")], 25),
        ([("metadata.length", ">=", 40)], 10),
        ([("metadata.category", "in", ["cats", "dogs"]), ("metadata.length", "<=", 4)], 5),
        ([("choice.suggestion", "==", "1")], 5),
        ([("choice.score", ">=", 0.05)], 2),
        ([("response.status", "==", "submitted")], 2),
        ([("response.status", "==", "pending")], 48),
        ([("choice.response", "==", "2")], 1),
        ([("clear.response", ">=", 3)], 1),
        ([("status", "==", "pending")], 50),
        ([("inserted_at", ">=", "2000-01-01T00:00:00")], 50),
        ([("inserted_at", "<=", "2000-01-01T00:00:00")], 0),
    ],
)
def test_filters_find_what_they_name(filtered: Any, asked: list[Any], found: int) -> None:
    import argilla

    assert len(ids(filtered.records(argilla.Query(filter=argilla.Filter(asked))))) == found


@pytest.fixture(scope="module")
def filtered(argilla_server: ArgillaServer) -> Any:
    dataset = make_dataset(argilla_server, "filters")
    at = argilla_server.record_ids("filters-tasks")
    argilla_server.answer("ann", at["task-0"], {"choice": "1", "clear": 5})
    argilla_server.answer("bob", at["task-1"], {"choice": "2", "clear": 2})
    return dataset


def test_texts_are_found_by_their_words(filtered: Any) -> None:
    import argilla

    assert len(ids(filtered.records(argilla.Query(query="CATS")))) == 25
    assert ids(filtered.records(argilla.Query(query="question 7"))) == ["task-7"]
    assert ids(filtered.records(argilla.Query(query="cat"))) == []


def test_records_come_in_the_order_that_is_asked_for(argilla_server: ArgillaServer, filtered: Any) -> None:
    assert ids(filtered.records(batch_size=7)) == [f"task-{n}" for n in range(50)]
    rising, falling = list(range(50)), list(range(49, -1, -1))
    assert found_in_order(argilla_server, filtered, {"entity": "metadata", "metadata_property": "length"}, "desc") == falling
    assert found_in_order(argilla_server, filtered, {"entity": "record", "property": "inserted_at"}, "asc") == rising
    judged = found_in_order(argilla_server, filtered, {"entity": "suggestion", "question": "choice", "property": "score"}, "desc")
    assert judged == [4, 3, 2, 1, 0, *range(5, 50)]  # what has none stands last
    rated = found_in_order(argilla_server, filtered, {"entity": "response", "question": "clear"}, "asc")
    assert rated[:2] == [1, 0]


def found_in_order(server: ArgillaServer, dataset: Any, scope: dict[str, str], order: str) -> list[int]:
    """The numbers of the tasks, from the second page too: the SDK knows no sort, the web page asks so."""
    numbers: list[int] = []
    for offset in (0, 30):
        asked = {"sort": [{"scope": scope, "order": order}]}
        page = server.post(f"datasets/{dataset.id}/records/search?limit=30&offset={offset}", asked)
        assert page["total"] == 50
        numbers += [int(item["record"]["external_id"].removeprefix("task-")) for item in page["items"]]
    return numbers


def test_each_annotator_meets_the_records_in_an_order_of_their_own(argilla_server: ArgillaServer, filtered: Any) -> None:
    mine = f"me/datasets/{filtered.id}/records/search?limit=50"
    seen = {}
    for name in ("ann", "bob"):
        key = argilla_server.add_annotator(name, "filters")
        first, second = (argilla_server.post(mine, {}, key)["items"] for _ in range(2))
        seen[name] = [item["record"]["id"] for item in first]
        assert seen[name] == [item["record"]["id"] for item in second]
    assert seen["ann"] != seen["bob"]
    assert set(seen["ann"]) == set(seen["bob"])


def test_a_deleted_record_and_a_deleted_dataset_are_gone(argilla_server: ArgillaServer) -> None:
    dataset = make_dataset(argilla_server, "deleted")
    dataset.records.delete([r for r in dataset.records if r.id in ("task-1", "task-2")])
    assert len(ids(dataset.records)) == 48
    dataset.delete()
    assert sdk(argilla_server).datasets("deleted-tasks", "deleted") is None


def test_requests_are_counted(argilla_server: ArgillaServer) -> None:
    argilla_server.get("me")
    before = argilla_server.requests()["GET /api/v1/me"]
    argilla_server.get("me")
    assert argilla_server.requests()["GET /api/v1/me"] == before + 1


def test_the_worker_calls_webhooks(argilla_server: ArgillaServer, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    listener = subprocess.Popen([sys.executable, "-c", LISTENER, str(heard)], stdout=subprocess.PIPE, text=True)
    try:
        assert listener.stdout
        port = int(listener.stdout.readline())
        hook = {"url": f"http://127.0.0.1:{port}/", "events": ["response.created"], "description": "a test"}
        made = argilla_server.post("webhooks", hook)
        make_dataset(argilla_server, "hooks")
        argilla_server.answer("ann", argilla_server.record_ids("hooks-tasks")["task-1"], {"choice": "1"})
        assert wait_until(heard.exists, 20)
        assert '"type":"response.created"' in heard.read_text().replace(" ", "")
        argilla_server.delete(f"webhooks/{made['id']}")
    finally:
        listener.kill()
        listener.wait()


LISTENER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open(sys.argv[1] + ".new", "wb").write(body)
        __import__("os").rename(sys.argv[1] + ".new", sys.argv[1])
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_server_that_is_killed_and_started_again_has_everything(tmp_path: Path) -> None:
    require_argilla()
    with ArgillaServer(tmp_path / "home") as server:
        dataset = make_dataset(server, "kept", overlap=1)
        server.answer("ann", server.record_ids("kept-tasks")["task-1"], {"choice": "1"})
        url = server.url
        server.kill()
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began < 30
        assert server.url == url
        assert completed(dataset) == ["task-1"]
        server.answer("ann", server.record_ids("kept-tasks")["task-2"], {"choice": "1"})
        assert sorted(completed(dataset)) == ["task-1", "task-2"]
        assert oct(server.home.stat().st_mode & 0o777) == "0o700"
        assert oct((server.home / "api-key").stat().st_mode & 0o777) == "0o600"


def test_a_server_for_trying_out_says_how_to_use_it_keeps_its_key_to_itself_and_ends_with_its_owner(tmp_path: Path) -> None:
    require_argilla()
    home = tmp_path / "home"
    command = [sys.executable, "-m", "tests.harness.argilla", "--home", str(home), "--port", "0", "--annotator", "ann"]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    said = "".join(iter(owner.stdout.readline, "Ctrl-C stops it.\n"))
    assert f"export ARGILLA_API_KEY=$(cat {home}/api-key)" in said
    assert "ann-password" in said
    for secret in ("api-key", "password"):
        assert (home / secret).read_text() not in said
    assert len(working_in(home)) >= 4  # the guardian, the server, its redis, its worker
    with pytest.raises(InUse, match="another server runs in"):
        lock(home, patience=0.2)
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert wait_until(lambda: not working_in(home), 20)


def test_a_test_is_skipped_with_a_sentence_where_no_server_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "ENVIRONMENT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_module, "ARGILLA_PYTHON", Path(sys.executable))
    with pytest.raises(pytest.skip.Exception, match="needs redis-server: install it"):
        require_argilla()
    monkeypatch.setattr(server_module, "ARGILLA_PYTHON", tmp_path / "python")
    with pytest.raises(pytest.skip.Exception, match="not installed: make argilla-env"):
        require_argilla()


def working_in(home: Path) -> list[str]:
    """The processes that have this home's log or its worker's open."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if any(f.readlink().is_relative_to(home) for f in (place / "fd").iterdir()):
                found.append(place.name)
        except OSError:
            pass
    return found
