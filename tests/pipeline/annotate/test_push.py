"""Push: what was chosen arrives once, whatever goes wrong, and tells nobody who wrote it."""

import gc
import tracemalloc
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.annotate import push as push_module
from pipeline.annotate.ledger import folder, read_ledger, write_ledger
from pipeline.annotate.people import read_outcomes, texts_key
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.errors import BackendAway
from pipeline.records import Answer
from pipeline.tables import to_table, write_table
from tests.harness.annotators import KINDS, SECRETS, FakeBackend, make_run, prefers

TASKS = ("choice", "ranking", "rating", "rewrite")


@pytest.fixture
def backend():
    return FakeBackend()


def test_tasks_show_the_question_its_reference_and_the_answers_as_the_ledger_says(tmp_path, backend):
    made = make_run(tmp_path / "run", [*KINDS] * 2, reference=True)
    pushed = push(made.run, backend, day="2026-01-01")
    ledger = {row.id: row for row in read_ledger(made.run)}
    assert pushed.sent == {"made-choice": 14}
    assert ledger.keys() == backend.all_tasks.keys()
    for row in ledger.values():
        n = made.prompts.index(row.prompt_id)
        shown = [made.texts[a] for a in row.answers]
        assert backend.all_tasks[row.id].fields == {
            "prompt": f"question number {n}", "reference": f"reference {n}", "answer_1": shown[0], "answer_2": shown[1],
        }  # fmt: skip
        assert row.texts == texts_key(*shown)
        assert row.state == "sent"
    assert sum(made.models[row.answers[0]] == SECRETS[0] for row in ledger.values()) not in (0, 14)


def test_what_was_done_is_counted(tmp_path, backend):
    made = make_run(tmp_path / "run", ["flipped"] * 5 + ["certain"] * 15, per_day=8, random_share=0.25)
    pushed = push(made.run, backend, day="2026-01-01")
    assert sum(pushed.chosen.values()) == 8
    assert pushed.chosen["random"] == 2
    assert (pushed.left, pushed.again, pushed.gone) == (12, 0, 0)
    assert push(made.run, backend, day="2026-01-01") == push_module.Pushed("2026-01-01", {}, {}, 0, 0, 12)


@settings(max_examples=12)
@given(
    st.sampled_from(TASKS), st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=12), st.integers(2, 3), st.booleans(), st.integers(0)
)
def test_no_model_name_and_no_verdict_leaves_the_house(tmp_path_factory, task, kinds, answers, judged, seed):
    made = make_run(
        tmp_path_factory.mktemp("x") / "run", kinds, answers=answers, judged=judged, seed=seed, task=task, categories=["x", None]
    )  # fmt: skip
    backend = FakeBackend()
    push(made.run, backend, day="2026-01-01")
    assert backend.all_tasks
    seen = repr([astuple(t) for t in backend.all_tasks.values()]) + repr([astuple(f) for f in backend.forms.values()])
    assert [name for name in SECRETS if name in seen] == []
    assert [
        word for word in ("flipped", "split", "one_order", "random", "strong", "weak") if word in repr(list(backend.all_tasks.values()))
    ] == []
    assert [t for t in backend.all_tasks.values() if t.suggestions and task != "rewrite"] == []


def test_the_judges_choice_is_suggested_about_the_side_on_which_it_is_shown(tmp_path, backend):
    made = make_run(tmp_path / "run", ["certain"] * 30 + ["tie"] * 10 + ["flipped"] * 10, suggestions=True, control_share=0.3)
    push(made.run, backend, day="2026-01-01")
    for row in read_ledger(made.run):
        suggested = backend.all_tasks[row.id].suggestions.get("choice")
        if not row.suggested:
            assert suggested is None
        elif made.comparisons[row.comparison_id] == "tie":
            assert suggested == "tie"
        else:
            assert made.models[row.answers[int(suggested) - 1]] == SECRETS[0]
    assert {b.suggestions.get("choice") for b in backend.all_tasks.values()} == {"1", "2", "tie", None}


def test_a_ranking_is_suggested_in_the_order_in_which_it_is_shown(tmp_path, backend):
    made = make_run(tmp_path / "run", ["certain"] * 12, answers=3, task="ranking", suggestions=True, control_share=0)
    push(made.run, backend, day="2026-01-01")
    for row in read_ledger(made.run):
        best, rest = backend.all_tasks[row.id].suggestions["ranking"]
        assert made.models[row.answers[int(best) - 1]] == SECRETS[0]
        assert sorted([best, *rest.split("=")]) == ["1", "2", "3"]


def test_a_rewrite_has_the_text_there_to_be_edited(tmp_path, backend):
    made = make_run(tmp_path / "run", ["certain"] * 3, task="rewrite")
    push(made.run, backend, day="2026-01-01")
    for task in backend.all_tasks.values():
        assert task.suggestions == {"rewrite": task.fields["answer_1"]}
        assert list(task.fields) == ["prompt", "answer_1"]


# --- what goes wrong


@pytest.mark.parametrize("after", [0, 1, 7, 24])
def test_a_push_that_breaks_off_is_mended_by_the_next(tmp_path, after, monkeypatch):
    monkeypatch.setattr(push_module, "BATCH", 6)
    made, undisturbed = (make_run(tmp_path / name, [*KINDS] * 5, per_day=25) for name in ("broken", "whole"))
    backend, whole = FakeBackend(fail_after=after), FakeBackend()
    with pytest.raises(BackendAway):
        push(made.run, backend, day="2026-01-01")
    states = [row.state for row in read_ledger(made.run)]
    assert len(states) == 25
    assert states.count("sent") == after // 6 * 6
    mended = push(made.run, backend, day="2026-01-01")
    push(undisturbed.run, whole, day="2026-01-01")
    assert mended.chosen == {}
    assert mended.again == 25 - after // 6 * 6
    assert list(backend.all_tasks) == list(whole.all_tasks)
    assert read_ledger(made.run) == read_ledger(undisturbed.run)
    assert push(made.run, backend, day="2026-01-01").sent == {}


class Killed(BaseException):
    """What no handler of ours may catch."""


@pytest.mark.parametrize("when", range(6))
def test_a_kill_at_any_write_of_the_ledger_loses_and_doubles_nothing(tmp_path, backend, monkeypatch, when):
    monkeypatch.setattr(push_module, "BATCH", 4)
    made = make_run(tmp_path / "run", [*KINDS] * 2)
    writes = 0

    def dies(run, rows):
        nonlocal writes
        if writes == when:
            raise Killed
        writes += 1
        write_ledger(run, rows)

    with monkeypatch.context() as patch:
        patch.setattr(push_module, "write_ledger", dies)
        try:
            push(made.run, backend, day="2026-01-01")
        except Killed:
            assert when < 5
    push(made.run, backend, day="2026-01-01")
    ledger = read_ledger(made.run)
    assert {row.state for row in ledger} == {"sent"}
    assert sorted(row.comparison_id for row in ledger) == sorted(made.comparisons)
    assert backend.all_tasks.keys() == {row.id for row in ledger}


def test_a_backend_that_is_away_costs_nothing_but_time(tmp_path, backend):
    made = make_run(tmp_path / "run", [*KINDS])
    backend.away = True
    with pytest.raises(BackendAway):
        push(made.run, backend, day="2026-01-01")
    backend.away = False
    assert push(made.run, backend, day="2026-01-02").sent == {"made-choice": 7}
    assert {row.day for row in read_ledger(made.run)} == {"2026-01-01"}


def test_what_waits_from_yesterday_goes_out_beside_todays(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 20, per_day=5)
    backend = FakeBackend(fail_after=2)
    with pytest.raises(BackendAway):
        push(made.run, backend, day="2026-01-01")
    pushed = push(made.run, backend, day="2026-01-02")
    assert (pushed.sent, pushed.again) == ({"made-choice": 10}, 5)


def test_a_task_whose_answers_are_gone_is_counted_and_not_sent(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 3)
    backend = FakeBackend(away=True)
    with pytest.raises(BackendAway):
        push(made.run, backend, day="2026-01-01")
    kept = [Answer(i, made.prompts[n // 2], made.models[i], 0, t) for n, (i, t) in enumerate(made.texts.items()) if n < 4]
    write_table(to_table(Answer, kept), made.run.shard(0) / "answers.parquet", "made")
    backend.away = False
    pushed = push(made.run, backend, day="2026-01-01")
    assert (pushed.sent, pushed.gone) == ({"made-choice": 2}, 1)


def test_what_an_earlier_kind_of_task_left_is_sent_in_its_own_form(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 3)
    backend = FakeBackend(away=True)
    with pytest.raises(BackendAway):
        push(made.run, backend, day="2026-01-01")
    raw = made.run.recipe()
    made.run.begin({**raw, "annotate": {**raw["annotate"], "task": "ranking"}})
    backend.away = False
    assert push(made.run, backend, day="2026-01-01").sent == {"made-choice": 3, "made-ranking-of-2": 3}
    assert backend.forms["made-choice"].questions[0].name == "choice"


def test_what_people_could_not_agree_on_goes_to_a_dataset_of_its_own(tmp_path, backend):
    made = make_run(tmp_path / "run", ["tie"] * 4, min_submitted=2)
    push(made.run, backend, day="2026-01-01")
    backend.answer("anna", {"choice": "1"})
    backend.answer("ben", {"choice": "2"})
    assert pull(made.run, backend, day="2026-01-02").adjudication == 4
    pushed = push(made.run, backend, day="2026-01-02")
    assert (pushed.sent, pushed.again, pushed.chosen) == ({"made-choice-adjudication": 4}, 4, {})
    form = backend.forms["made-choice-adjudication"]
    assert form.min_submitted == 1
    assert len(backend.tasks["made-choice-adjudication"]) == 4
    assert push(made.run, backend, day="2026-01-03").sent == {}


def test_what_was_drawn_comes_back_about_the_stored_sides(tmp_path, backend):
    made = make_run(tmp_path / "run", ["flipped"] * 12)
    push(made.run, backend, day="2026-01-01")
    backend.answer("anna", prefers(lambda one, two: 1 if one.endswith("i") else -1))  # the first model's text ends so
    assert pull(made.run, backend).decided == 12
    assert {(made.models[s.a], s.result) for s in read_outcomes(made.run).values()} == {(SECRETS[0], "A")}


def test_nothing_is_written_where_nothing_is_new(tmp_path, backend):
    made = make_run(tmp_path / "run", ["tie"] * 3)
    push(made.run, backend, day="2026-01-01")
    before = (folder(made.run) / "tasks.parquet").stat().st_mtime_ns
    push(made.run, backend, day="2026-01-02")
    assert (folder(made.run) / "tasks.parquet").stat().st_mtime_ns == before


class Forgetful(FakeBackend):
    """Keeps no task."""

    def push(self, form, tasks):
        self.pushes.append([task.id for task in tasks])


@pytest.mark.server
def test_memory_follows_the_batch_and_not_the_number_of_tasks(tmp_path):
    def peak(tasks: int) -> float:
        made = make_run(tmp_path / str(tasks), ["tie"] * tasks, per_day=tasks, shard=100)
        for shard in made.run.shards():
            long = [Answer(a, made.prompts[n // 2], made.models[a], 0, t + " word" * 800) for n, (a, t) in enumerate(made.texts.items())]
            here = long[int(shard.name) * 200 : int(shard.name) * 200 + 200]
            write_table(to_table(Answer, here), shard / "answers.parquet", "made")
        del long
        gc.collect()
        tracemalloc.start()
        push(made.run, Forgetful(), day="2026-01-01")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / 2**20

    small, large = peak(400), peak(1600)
    # The texts of 1,200 more tasks are 10 MiB; their rows in the ledger are less than 2.
    assert large - small < 4, (small, large)
