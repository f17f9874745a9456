"""The whole cycle on a real Argilla server: 300 records, three annotators, overlap 2; a push that is killed, edits, discards and
drafts, a server that goes away in the middle of a pull, a round of adjudication; and pairs that are people's in the end."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import ROOT
from pipeline.annotate.ledger import Sent, read_ledger
from pipeline.annotate.people import read_outcomes
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotate.responses import read_responses
from pipeline.annotate.status import status
from pipeline.annotation import annotate_settings
from pipeline.backends.argilla import Backend
from pipeline.tables import read_table
from tests.harness.annotators import KINDS, SECRETS, Made, make_run
from tests.harness.argilla import ArgillaServer, require_argilla
from tests.harness.waiting import wait_for

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

PEOPLE = ("ana", "ben", "cho")
RECORDS = 300
DATASET = "made-choice"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    require_argilla()
    with ArgillaServer(tmp_path_factory.mktemp("argilla")) as running:
        yield running


@pytest.fixture(scope="module")
def made(server: ArgillaServer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    kinds = [list(KINDS)[n % len(KINDS)] for n in range(RECORDS)]
    part = {"backend": "argilla", "url": server.url, "workspace": "cycle", "annotators": list(PEOPLE), "batch": 20}
    folder = tmp_path_factory.mktemp("runs") / "run"
    return make_run(folder, kinds, shard=50, categories=("facts", "style"), min_submitted=2, per_day=1000, **part)


@pytest.fixture
def backend(server: ArgillaServer, made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    monkeypatch.setenv("ARGILLA_API_KEY", server.api_key)
    settings = annotate_settings(made.run.recipe()["annotate"])
    there = Backend(settings, made.run.path / "annotate" / "argilla")  # type: ignore[arg-type]
    yield there
    there.close()


def test_a_push_that_is_killed_is_finished_by_the_next_without_a_duplicate(server: ArgillaServer, made: Made, backend: Backend) -> None:
    command = [sys.executable, "-m", "flows.cli", "annotate", "push", str(made.run.path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bulk = "/records/bulk"
    wait_for(lambda: any(bulk in asked and n >= 2 for asked, n in server.requests().items()), 60, process, pause=0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {row.state for row in read_ledger(made.run)} == {"chosen"}, "the ledger is ahead of the server, never behind"
    arrived = len(server.records(DATASET))
    assert 0 < arrived < RECORDS
    done = push(made.run, backend)
    assert (done.again, sum(done.sent.values()), done.gone) == (RECORDS, RECORDS, 0)
    records = server.records(DATASET)
    assert sorted(r["external_id"] for r in records) == sorted(row.id for row in read_ledger(made.run))
    assert len(records) == RECORDS
    assert sum(push(made.run, backend).sent.values()) == 0


def test_nothing_on_the_server_tells_who_wrote_or_judged(server: ArgillaServer, made: Made) -> None:
    dataset = next(d for d in server.get("me/datasets")["items"] if d["name"] == DATASET)
    everything = str([dataset, server.records(DATASET), *(server.get(f"datasets/{dataset['id']}/{w}") for w in ("fields", "questions"))])
    assert [word for word in (*SECRETS, *KINDS, "scripted", "weak") if word != "tie" and word in everything] == []


def answers_of(made: Made, row: Sent, wrong: bool) -> Mapping[str, Any]:
    """What somebody says who thinks that the text ending in `i` is better; or that the other is."""
    texts = [made.texts[a] for a in row.answers]
    better = next(n for n, text in enumerate(texts) if text.endswith("i") != wrong)
    return {"choice": str(better + 1), "strength": "clear"}


def label(server: ArgillaServer, made: Made) -> Counter[str]:
    """Two of three people label each record; every tenth they see differently; ana discards some, cho leaves drafts."""
    ids = server.record_ids(DATASET)
    for person in PEOPLE:
        server.add_annotator(person, "cycle")
    work: dict[str, list[tuple[object, Mapping[str, Any] | None, str]]] = {person: [] for person in PEOPLE}
    for n, row in enumerate(sorted(read_ledger(made.run), key=lambda row: row.id)):
        one, other, third = (PEOPLE[(n + k) % 3] for k in range(3))
        work[one].append((ids[row.id], answers_of(made, row, wrong=False), "submitted"))
        work[other].append((ids[row.id], answers_of(made, row, wrong=n % 10 == 0), "submitted"))
        if n % 25 == 1:  # a third opinion, which is none: a discard without values, or a draft
            work[third].append((ids[row.id], None, "discarded") if third == "ana" else (ids[row.id], {"choice": "tie"}, "draft"))
    for person, said in work.items():
        server.answer_many(person, said)
    return Counter(status for said in work.values() for _, _, status in said)


def test_labels_come_back_once_though_the_server_goes_away_in_the_middle(server: ArgillaServer, made: Made, backend: Backend) -> None:
    given = label(server, made)
    send, asked = backend.client._send, []

    def restarts(method: str, path: str, *rest: Any) -> Any:
        asked.append(path)
        if len(asked) == 3:
            server.kill()
            server.start()
        return send(method, path, *rest)

    backend.client._send = restarts  # type: ignore[method-assign]
    first = pull(made.run, backend)
    assert len(asked) > 3
    assert (first.submitted, first.discarded, first.drafts) == (given["submitted"], given["discarded"], given["draft"])
    assert (first.new, first.unreadable, first.unknown) == (sum(given.values()), 0, ())
    again = pull(made.run, backend)
    assert (again.new, again.changed) == (0, 0)
    outcomes = read_outcomes(made.run)
    assert Counter(o.result if o.result == "unresolved" else "decided" for o in outcomes.values()) == {"decided": 270, "unresolved": 30}
    wrong = [o for o in outcomes.values() if o.result in ("A", "B") and not made.texts[o.a if o.result == "A" else o.b].endswith("i")]
    assert wrong == []
    assert first.adjudication == 30


def test_the_verdicts_are_about_stored_sides_whatever_was_shown_first(made: Made) -> None:
    rows = read_table(made.run.path / "annotate" / "verdicts.parquet").to_pylist()
    assert {row["source"] for row in rows} == {"human"}
    assert {row["judge"] for row in rows} == set(PEOPLE)
    shown_first = Counter(made.models[row.answers[0]] for row in read_ledger(made.run) if row.round == 0)
    assert min(shown_first.values()) > 0.4 * RECORDS
    assert Counter(row["choice"] for row in rows)["A"] == 600 - 30  # the stored side a is the strong one, which ends in `i`


def test_an_edited_answer_replaces_the_one_before(server: ArgillaServer, made: Made, backend: Backend) -> None:
    stored = read_responses(made.run)
    row = next(r for r in read_ledger(made.run) if r.round == 0 and (r.id, "ana") in stored and stored[r.id, "ana"].status == "submitted")
    server.answer("ana", server.record_ids(DATASET)[row.id], {"choice": "both_bad"})
    got = pull(made.run, backend)
    assert (got.new, got.changed) == (0, 1)
    assert read_responses(made.run)[row.id, "ana"].values["choice"] == "both_bad"
    assert len(read_responses(made.run)) == len(stored)
    # Back to what it was, for the tests that follow.
    server.answer("ana", server.record_ids(DATASET)[row.id], dict(stored[row.id, "ana"].values))
    assert pull(made.run, backend).changed == 1


def test_what_they_could_not_agree_on_goes_to_one_more_round(server: ArgillaServer, made: Made, backend: Backend) -> None:
    sent = push(made.run, backend).sent
    assert sent["made-choice-adjudication"] >= 30
    ids = server.record_ids("made-choice-adjudication")
    rows = [row for row in read_ledger(made.run) if row.round == 1]
    server.answer_many("cho", [(ids[row.id], answers_of(made, row, wrong=False), "submitted") for row in rows])
    got = pull(made.run, backend)
    assert got.unresolved == 0
    assert {o.by for o in read_outcomes(made.run).values()} == {"majority", "adjudication"}


def test_status_says_how_far_it_is_and_how_far_the_judge_goes_with_people(made: Made, backend: Backend) -> None:
    figures = status(made.run, backend)
    flat = str(figures)
    assert all(person in flat for person in PEOPLE)
    assert DATASET in flat


@pytest.mark.parametrize("kind", ["ranking", "rating", "rewrite"])
def test_every_other_kind_of_task_goes_round(server: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("ARGILLA_API_KEY", server.api_key)
    part = {"backend": "argilla", "url": server.url, "workspace": f"kind-{kind}", "annotators": ["ana"], "task": kind}
    criteria = {"criteria": {"helpful": "Does it help?", "true": "Is it true?"}} if kind == "rating" else {}
    made = make_run(tmp_path / "run", ["flipped"] * 4, answers=2 if kind == "rewrite" else 3, **part, **criteria)
    there = Backend(annotate_settings(made.run.recipe()["annotate"]), made.run.path / "annotate" / "argilla")  # type: ignore[arg-type]
    dataset, sent = next(iter(push(made.run, there).sent.items()))
    assert sent == 4
    ids = server.record_ids(dataset)
    server.add_annotator("ana", f"kind-{kind}")
    for row in read_ledger(made.run):
        shown = [made.texts[a] for a in row.answers]
        best_first = sorted(range(len(shown)), key=lambda n: shown[n])
        said: Mapping[str, Any] = {
            "ranking": {"ranking": [{"value": str(n + 1), "rank": rank} for rank, n in enumerate(best_first, 1)]},
            "rating": {f"{c}.{n + 1}": 5 - rank for c in ("helpful", "true") for rank, n in enumerate(best_first)},
            "rewrite": {"rewrite": f"{shown[0]}, and better"},
        }[kind]
        server.answer("ana", ids[row.id], said)
    got = pull(made.run, there)
    there.close()
    assert (got.new, got.unreadable) == (4, 0)
    if kind == "rewrite":
        assert got.rewrites == 4
        return
    outcomes = read_outcomes(made.run)
    assert got.decided == len(outcomes) == 4 * 3
    assert all(made.texts[o.a if o.result == "A" else o.b] < made.texts[o.b if o.result == "A" else o.a] for o in outcomes.values())
