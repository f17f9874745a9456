"""The round trip on a real argilla-server, with its traps."""

import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from pipeline.annotation import Form, Question, Response, Task
from pipeline.backends import _argilla_changes, _argilla_client, make_backend
from pipeline.backends.argilla import Backend
from pipeline.errors import BackendAway, InputError, RecipeError
from tests.harness.argilla import ArgillaServer
from tests.pipeline.backends.forms import choice_form, choice_task, choice_tasks
from tests.pipeline.backends.lossy import proxy

pytestmark = pytest.mark.server

Connect = Callable[..., Backend]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of the workspace and of the form: the server is shared."""
    return f"r-{abs(hash(request.node.nodeid)) % 10**8}"


@pytest.fixture
def connect(argilla_server: ArgillaServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    monkeypatch.setattr(_argilla_client, "_pause", lambda attempt, asked: 0.01)
    monkeypatch.setenv("ARGILLA_API_URL", argilla_server.url)
    monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
    made: list[Backend] = []

    def connect(**settings: Any) -> Backend:
        backend = make_backend({"backend": "argilla", "workspace": name, **settings}, tmp_path / "annotate" / "argilla")
        assert isinstance(backend, Backend)
        made.append(backend)
        return backend

    yield connect
    for backend in made:
        backend.close()


@pytest.fixture
def answer(argilla_server: ArgillaServer, name: str) -> Callable[..., None]:
    def answer(form: Form, who: str, *given: tuple[int, Any, str]) -> None:
        argilla_server.add_annotator(who, name)
        ids = argilla_server.record_ids(form.name)
        argilla_server.answer_many(who, [(ids[choice_task(n).id], values, status) for n, values, status in given])

    return answer


def pulled(backend: Backend, form: Form, since: str | None = None) -> tuple[dict[tuple[str, str], Response], str | None]:
    responses, after = backend.pull(form, since)
    return {(r.task_id, r.annotator): r for r in responses}, after


def cost(backend: Backend, ask: Callable[[], Any]) -> int:
    before = backend.client.requests
    ask()
    return backend.client.requests - before


def test_what_is_missing_is_made_once(connect: Connect, argilla_server: ArgillaServer, name: str, tmp_path: Path) -> None:
    form = choice_form(name, min_submitted=2)
    backend = connect(annotators=[f"{name}-ann", f"{name}-ben"])
    backend.prepare(form)
    before = argilla_server.requests()
    connect(annotators=[f"{name}-ann", f"{name}-ben"]).prepare(form)
    after = argilla_server.requests()
    assert {line for line in after if after[line] != before.get(line) and not line.startswith("GET")} == set()
    dataset = next(d for d in argilla_server.get("me/datasets")["items"] if d["name"] == name)
    assert (dataset["status"], dataset["guidelines"], dataset["distribution"]["min_submitted"]) == ("ready", form.guidelines, 2)
    logins = tmp_path / "annotate" / "argilla" / "logins.json"
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600
    for user, password in orjson.loads(logins.read_bytes()).items():
        assert httpx.post(f"{argilla_server.url}/api/v1/token", data={"username": user, "password": password}).status_code == 201


def test_a_user_who_is_there_is_only_added_to_the_workspace(
    connect: Connect, argilla_server: ArgillaServer, name: str, tmp_path: Path
) -> None:
    argilla_server.add_annotator(f"{name}-eva")
    connect(annotators=[f"{name}-eva"]).prepare(choice_form(name))
    assert not (tmp_path / "annotate").exists()
    workspace = next(w["id"] for w in argilla_server.get("me/workspaces")["items"] if w["name"] == name)
    assert f"{name}-eva" in {user["username"] for user in argilla_server.get(f"workspaces/{workspace}/users")["items"]}


def test_pushing_twice_replaces_and_makes_no_duplicate(connect: Connect, argilla_server: ArgillaServer, name: str) -> None:
    form = choice_form(name)
    backend = connect(batch=20)
    backend.prepare(form)
    backend.push(form, choice_tasks(50))
    mended = choice_task(7, fields={"prompt": "Mended?", "answer_1": "a", "answer_2": "b"})
    assert cost(backend, lambda: backend.push(form, [mended, *choice_tasks(7), *choice_tasks(50)[8:]])) == 5
    records = {record["external_id"]: record for record in argilla_server.records(name)}
    assert len(argilla_server.records(name)) == len(records) == 50
    assert records[mended.id]["fields"] == mended.fields
    assert {tuple(record["metadata"]) for record in records.values()} == {("category",)}


def test_replies_that_get_lost_make_no_duplicates(connect: Connect, argilla_server: ArgillaServer, name: str) -> None:
    form = choice_form(name)
    with proxy(argilla_server.url, lambda n, line: n % 3 == 0) as lossy:
        backend = connect(url=lossy.url, batch=10, annotators=[f"{name}-ann", f"{name}-ben", f"{name}-cem"])
        backend.prepare(form)
        backend.push(form, choice_tasks(60))
        assert backend.client.requests > 40
    assert sorted(record["external_id"] for record in argilla_server.records(name)) == [task.id for task in choice_tasks(60)]
    assert [d["status"] for d in argilla_server.get("me/datasets")["items"] if d["name"] == name] == ["ready"]


def test_a_push_that_stops_in_the_middle_goes_on_where_it_stopped(connect: Connect, argilla_server: ArgillaServer, name: str) -> None:
    form = choice_form(name)
    connect().prepare(form)
    with proxy(argilla_server.url, lambda n, line: n > 4) as lossy, pytest.raises(BackendAway, match="nothing is lost"):
        connect(url=lossy.url, batch=10, retries=1).push(form, choice_tasks(60))
    assert 0 < len(argilla_server.records(name)) < 60
    connect().push(form, choice_tasks(60))
    assert sorted(record["external_id"] for record in argilla_server.records(name)) == [task.id for task in choice_tasks(60)]


def test_a_dataset_that_a_killed_run_left_unfinished_is_made_again(connect: Connect, argilla_server: ArgillaServer, name: str) -> None:
    form = choice_form(name)
    with proxy(argilla_server.url, lambda n, line: "/questions" in line) as lossy, pytest.raises(BackendAway):
        connect(url=lossy.url, retries=0).prepare(form)
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(2))
    assert len(argilla_server.records(name)) == 2


def test_a_pull_brings_submitted_drafts_and_discards_with_who_and_when(connect: Connect, answer: Callable[..., None], name: str) -> None:
    form = choice_form(name, min_submitted=2)
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(5))
    answer(form, f"{name}-ann", (0, {"choice": "1", "comment": "ok"}, "submitted"), (1, {"strength": "clear"}, "draft"))
    answer(form, f"{name}-ben", (0, {"choice": "tie"}, "submitted"), (2, {}, "discarded"))
    responses, _ = pulled(backend, form)
    assert {key: (r.status, dict(r.values)) for key, r in responses.items()} == {
        ("0000e45", f"{name}-ann"): ("submitted", {"choice": "1", "comment": "ok"}),
        ("0000e45", f"{name}-ben"): ("submitted", {"choice": "tie"}),
        ("0001e45", f"{name}-ann"): ("draft", {"strength": "clear"}),
        ("0002e45", f"{name}-ben"): ("discarded", {}),
    }
    assert all(r.updated.startswith("20") and r.updated.endswith("+00:00") and r.seconds is None for r in responses.values())


def test_an_edited_response_comes_again_with_a_newer_time(connect: Connect, answer: Callable[..., None], name: str) -> None:
    form, who = choice_form(name), f"{name}-ann"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(3))
    answer(form, who, *((n, {"choice": "1"}, "submitted") for n in range(3)))
    first, since = pulled(backend, form)
    answer(form, who, (1, {"choice": "both_bad"}, "submitted"))
    edited = pulled(backend, form, since)[0]["0001e45", who]
    assert edited.values == {"choice": "both_bad"}
    assert edited.updated > first["0001e45", who].updated


def test_trap_a_filter_by_time_misses_what_was_just_completed_and_the_pull_does_not(
    connect: Connect, answer: Callable[..., None], name: str, argilla_server: ArgillaServer
) -> None:
    form, who = choice_form(name), f"{name}-ann"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(10))
    _, since = pulled(backend, form)
    dataset = next(d for d in argilla_server.get("me/datasets")["items"] if d["name"] == name)
    pushed = max(datetime.fromisoformat(record["updated_at"]) for record in argilla_server.records(name))
    answer(form, who, *((n, {"choice": "1"}, "submitted") for n in range(10)))
    scope = {"entity": "record", "property": "updated_at"}
    later = {"filters": {"and": [{"type": "range", "scope": scope, "ge": (pushed + timedelta(microseconds=1)).isoformat()}]}}
    assert argilla_server.post(f"datasets/{dataset['id']}/records/search", later)["total"] == 0, "Argilla has mended this: use the filter"
    assert len(pulled(backend, form, since)[0]) == 10


def test_trap_a_discard_without_values_breaks_the_package_and_not_the_pull(
    connect: Connect, answer: Callable[..., None], name: str, argilla_server: ArgillaServer
) -> None:
    argilla = pytest.importorskip("argilla")
    form, who = choice_form(name), f"{name}-ann"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(2))
    answer(form, who, (0, None, "discarded"), (1, {"choice": "2"}, "submitted"))
    dataset = argilla.Argilla(api_url=argilla_server.url, api_key=argilla_server.api_key).datasets(name, workspace=name)
    with pytest.raises(Exception, match="NoneType"):
        list(dataset.records(with_responses=True))
    responses, _ = pulled(backend, form)
    assert {r.task_id: (r.status, dict(r.values)) for r in responses.values()} == {
        "0000e45": ("discarded", {}),
        "0001e45": ("submitted", {"choice": "2"}),
    }
    backend.push(form, choice_tasks(2))


def test_trap_more_people_than_the_overlap_wants_may_answer_and_all_are_brought(
    connect: Connect, answer: Callable[..., None], name: str
) -> None:
    form = choice_form(name, min_submitted=1)
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(1))
    for who in ("ann", "ben", "cem"):
        answer(form, f"{name}-{who}", (0, {"choice": "1"}, "submitted"))
    assert len(pulled(backend, form)[0]) == 3


def test_trap_where_the_index_lags_the_database_is_read(
    connect: Connect, answer: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, who = choice_form(name), f"{name}-ann"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(5))
    answer(form, who, *((n, {"choice": "1"}, "submitted") for n in range(3)))
    monkeypatch.setattr(_argilla_changes, "_answered_pages", lambda client, dataset: iter([[]]))
    assert len(pulled(backend, form)[0]) == 3


def test_status_counts_by_annotator_and_what_is_complete(connect: Connect, answer: Callable[..., None], name: str) -> None:
    form, ann, ben = choice_form(name, min_submitted=2), f"{name}-ann", f"{name}-ben"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(4))
    answer(form, ann, (0, {"choice": "1"}, "submitted"), (1, {"choice": "2"}, "submitted"), (2, {"choice": "2"}, "draft"))
    answer(form, ben, (0, {"choice": "1"}, "submitted"), (3, {}, "discarded"))
    progress = backend.status(form)
    assert (progress.tasks, progress.completed) == (4, 1)
    assert progress.annotators == {ann: {"submitted": 2, "draft": 1}, ben: {"submitted": 1, "discarded": 1}}


def test_a_pull_where_nothing_happened_is_one_request(connect: Connect, answer: Callable[..., None], name: str) -> None:
    form = choice_form(name)
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(5))
    answer(form, f"{name}-ann", (0, {"choice": "1"}, "submitted"))
    _, since = pulled(backend, form)
    assert cost(backend, lambda: pulled(backend, form, since)) == 1
    assert pulled(backend, form, since) == ({}, since)


@pytest.fixture
def labelled(connect: Connect, answer: Callable[..., None], name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Form, str]:
    """A form with 30 tasks, of which the oldest 20 are answered, read ten at a time; and who answered."""
    monkeypatch.setattr(_argilla_changes, "PAGE", 5)
    monkeypatch.setattr(_argilla_changes, "_SLACK", _argilla_changes.timedelta(0))
    form, who = choice_form(name), f"{name}-ann"
    backend = connect()
    backend.prepare(form)
    backend.push(form, choice_tasks(30))
    answer(form, who, *((n, {"choice": "1"}, "submitted") for n in range(20)))
    return form, who


def test_a_pull_after_one_new_response_reads_one_page(connect: Connect, answer: Callable[..., None], labelled: tuple[Form, str]) -> None:
    form, who = labelled
    backend = connect()
    _, since = pulled(backend, form)
    answer(form, who, (25, {"choice": "2"}, "submitted"))
    found: list[Any] = []
    # The dataset, the counts, a page, the names; reading all would be five pages.
    assert cost(backend, lambda: found.append(pulled(backend, form, since)[0])) == 4
    assert set(found[0]) == {(choice_task(25).id, who)}


def test_a_pull_that_stops_in_the_middle_begins_again_where_the_one_before_it_ended(
    connect: Connect, argilla_server: ArgillaServer, labelled: tuple[Form, str]
) -> None:
    form, _ = labelled
    with proxy(argilla_server.url, lambda n, line: "offset=10" in line) as lossy:
        responses, _ = connect(url=lossy.url, retries=1).pull(form, None)
        got = []
        with pytest.raises(BackendAway, match="nothing is lost"):
            got.extend(responses)
    assert len(pulled(connect(), form)[0]) == 20


def test_an_edit_of_an_old_response_is_found_however_old_when_it_is_the_last_thing_that_happened(
    connect: Connect, answer: Callable[..., None], labelled: tuple[Form, str]
) -> None:
    form, who = labelled
    backend = connect()
    _, since = pulled(backend, form)
    answer(form, who, (0, {"choice": "2"}, "submitted"))
    assert pulled(backend, form, since)[0][choice_task(0).id, who].values == {"choice": "2"}


def test_an_old_edit_that_new_responses_hide_comes_with_the_pull_that_reads_all(
    connect: Connect, answer: Callable[..., None], labelled: tuple[Form, str]
) -> None:
    form, who = labelled
    backend = connect()
    _, since = pulled(backend, form)
    answer(form, who, (0, {"choice": "2"}, "submitted"))
    answer(form, who, (25, {"choice": "2"}, "submitted"))
    first, since = pulled(backend, form, since)
    assert set(first) == {(choice_task(25).id, who)}
    answer(form, who, (26, {"choice": "2"}, "submitted"))
    second, _ = pulled(connect(read_all_hours=0), form, since)
    assert second[choice_task(0).id, who].values == {"choice": "2"}


def test_a_draft_that_was_submitted_on_an_old_page_is_found(
    connect: Connect, answer: Callable[..., None], labelled: tuple[Form, str]
) -> None:
    form, who = labelled
    backend = connect()
    answer(form, who, (3, {"choice": "1"}, "draft"))
    _, since = pulled(backend, form)
    answer(form, who, (3, {"choice": "2"}, "submitted"), (25, {"choice": "2"}, "submitted"))
    assert {choice_task(3).id, choice_task(25).id} <= {task for task, _ in pulled(backend, form, since)[0]}


def test_every_kind_of_question_goes_there_and_back(connect: Connect, argilla_server: ArgillaServer, name: str) -> None:
    form = choice_form(
        name,
        fields={"prompt": "Prompt", "reference": "Reference"},
        questions=(
            Question("choice", "label", "Which?", labels={"1": "One", "2": "Two"}),
            Question("helpful.1", "rating", "How helpful?", "From 1 to 5.", {str(n): str(n) for n in range(1, 6)}, required=False),
            Question("ranking", "ranking", "In order", labels={n: f"Answer {n}" for n in "123"}, required=False),
            Question("rewrite", "text", "Better?", required=False),
        ),
    )
    said = {"choice": "2", "helpful.1": 4, "ranking": ("2", "1=3"), "rewrite": "A better text."}
    backend = connect()
    backend.prepare(form)
    backend.push(form, [Task("t-1", {"prompt": "=p <b>", "reference": "r"}, suggestions=said), Task("t-2", {"prompt": "p"})])
    backend.prepare(form)
    records = {record["external_id"]: record for record in argilla_server.records(name)}
    values = {
        question["name"]: suggestion["value"]
        for suggestion in records["t-1"]["suggestions"]
        for question in argilla_server.get(f"datasets/{records['t-1']['dataset_id']}/questions")["items"]
        if question["id"] == suggestion["question_id"]
    }
    argilla_server.add_annotator(f"{name}-ann", name)
    argilla_server.answer(f"{name}-ann", records["t-1"]["id"], values)
    assert pulled(backend, form)[0]["t-1", f"{name}-ann"].values == said


def test_another_overlap_or_other_questions_are_refused_and_guidelines_follow(
    connect: Connect, argilla_server: ArgillaServer, name: str
) -> None:
    backend = connect()
    backend.prepare(choice_form(name))
    with pytest.raises(RecipeError, match=f"'{name}' in workspace '{name}' that asks 1 people for each task, and .* wants 3, which cannot"):
        backend.prepare(choice_form(name, min_submitted=3))
    with pytest.raises(RecipeError, match=r"other questions than the recipe wants \(strength, comment\)"):
        backend.prepare(choice_form(name, questions=choice_form().questions[:1]))
    with pytest.raises(RecipeError, match=r"other fields than the recipe wants \(prompt, answer_1, answer_2\)"):
        connect(markdown=True).prepare(choice_form(name))
    backend.prepare(choice_form(name, guidelines="Read twice."))
    assert [d["guidelines"] for d in argilla_server.get("me/datasets")["items"] if d["name"] == name] == ["Read twice."]


def test_a_dataset_that_is_not_there_is_a_sentence(connect: Connect, name: str) -> None:
    with pytest.raises(InputError, match=f"has no dataset '{name}' in workspace '{name}'; push tasks first"):
        connect().pull(choice_form(name), None)


def test_a_dataset_that_was_deleted_and_made_again_is_read_from_its_start(
    connect: Connect, answer: Callable[..., None], name: str, argilla_server: ArgillaServer
) -> None:
    form = choice_form(name)
    backend = connect()
    for _ in range(2):
        backend.prepare(form)
        backend.push(form, choice_tasks(2))
        answer(form, f"{name}-ann", (0, {"choice": "1"}, "submitted"))
        since = pulled(backend, form)[1]
        argilla_server.delete(f"datasets/{argilla_server.records(name)[0]['dataset_id']}")
    backend.prepare(form)
    backend.push(form, choice_tasks(2))
    answer(form, f"{name}-ann", (1, {"choice": "2"}, "submitted"))
    assert set(pulled(backend, form, since)[0]) == {("0001e45", f"{name}-ann")}


def test_a_recipe_that_names_another_workspace_is_read_from_its_start(
    connect: Connect, argilla_server: ArgillaServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_argilla_changes, "_SLACK", _argilla_changes.timedelta(0))
    form, ann = choice_form(name), f"{name}-ann"
    backends = {place: connect(workspace=f"{name}-{place}") for place in ("old", "new")}
    for place, backend in backends.items():
        backend.prepare(form)
        backend.push(form, choice_tasks(2))
        argilla_server.add_annotator(ann, f"{name}-{place}")
    ids = {d["id"] for d in argilla_server.get("me/datasets")["items"] if d["name"] == name}
    assert len(ids) == 2
    for dataset in sorted(ids):
        record = argilla_server.get(f"datasets/{dataset}/records")["items"][0]
        argilla_server.answer(ann, record["id"], {"choice": "1"})
    for first, then in (("old", "new"), ("new", "old")):
        _, since = pulled(backends[first], form)
        assert len(pulled(backends[then], form, since)[0]) == 1


def test_an_annotators_key_is_not_enough(
    connect: Connect, argilla_server: ArgillaServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", argilla_server.add_annotator(f"{name}-ann"))
    with pytest.raises(RecipeError, match="does not let the owner of THEIR_KEY POST workspaces; use the key of an owner"):
        connect(api_key_env="THEIR_KEY").prepare(choice_form(name))
