"""What comes back: the order shown is undone, nothing counts twice, nothing that cannot be read counts at all."""

import random
import shutil
from dataclasses import replace

import pytest

from pipeline.annotate.ledger import folder, read_ledger
from pipeline.annotate.people import read_outcomes, read_rewrites
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotate.responses import read_responses
from pipeline.annotation import Response
from pipeline.errors import BackendAway, RecipeError
from pipeline.records import Answer, Comparison, Verdict
from pipeline.tables import read_table, to_records, write_table
from tests.harness.annotators import FakeBackend, make_run

DAY = "2026-01-01"

ALL = {"random_share": 0.0, "per_day": 1000}


def asked(tmp_path, kinds=("certain",) * 6, **fields):
    """A run whose tasks are all sent, and where they are."""
    made = make_run(tmp_path / "run", kinds, **{**ALL, **fields})
    backend = FakeBackend()
    push(made.run, backend, day=DAY)
    return made, backend


def best(task):
    """Somebody who always takes the text that ends with `i`, the strong model's: stored side a."""
    return {"choice": "1" if task.fields["answer_1"].endswith("i") else "2", "strength": "clear"}


def worst(task):
    return {"choice": "2" if task.fields["answer_1"].endswith("i") else "1", "strength": "slight"}


def verdicts(made):
    return to_records(Verdict, read_table(folder(made.run) / "verdicts.parquet"))


def results(made):
    return [say.result for say in read_outcomes(made.run).values()]


def state(made):
    return {f.name: f.read_bytes() for f in folder(made.run).iterdir() if f.name != "tasks.parquet"}


def test_the_order_in_which_answers_were_shown_is_undone(tmp_path):
    made, backend = asked(tmp_path, ("certain",) * 30)
    backend.answer("ann", best)
    said = {backend.responses["made-choice"][i, "ann"].values["choice"] for i in backend.all_tasks}
    assert said == {"1", "2"}  # both sides were drawn
    assert pull(made.run, backend).decided == 30
    assert results(made) == ["A"] * 30
    tasks = {t.comparison_id: t for t in read_ledger(made.run)}
    assert {v.choice for v in verdicts(made)} == {"A"}
    assert {(v.judge, v.source) for v in verdicts(made)} == {("ann", "human")}
    for v in verdicts(made):
        assert v.order == ("AB" if made.texts[tasks[v.comparison_id].answers[0]].endswith("i") else "BA")


def test_pulling_again_changes_nothing(tmp_path):
    made, backend = asked(tmp_path)
    backend.answer("ann", best)
    first = pull(made.run, backend)
    before = state(made)
    again = pull(made.run, backend)
    assert (first.new, again.new, again.changed) == (6, 0, 0)
    assert replace(again, new=6) == first
    assert state(made) == before
    (folder(made.run) / "cursor.json").unlink()  # everything comes again
    assert pull(made.run, backend) == again
    assert state(made) == before


def test_an_edited_response_replaces_the_old_one(tmp_path):
    made, backend = asked(tmp_path)
    backend.answer("ann", best)
    pull(made.run, backend)
    one = next(iter(backend.all_tasks))
    backend.answer("ann", worst, only=[one])
    pulled = pull(made.run, backend)
    assert (pulled.new, pulled.changed, pulled.submitted) == (0, 1, 6)
    assert sorted(results(made)) == ["A"] * 5 + ["B"]
    backend.answer("ann", lambda task: None, only=[one])  # and is withdrawn
    pulled = pull(made.run, backend)
    assert (pulled.changed, pulled.discarded, pulled.decided) == (1, 1, 5)
    assert results(made) == ["A"] * 5


def test_an_older_response_never_replaces_a_newer_one(tmp_path):
    made, backend = asked(tmp_path, ("certain",))
    backend.answer("ann", best)
    pull(made.run, backend)
    ((key, response),) = backend.responses["made-choice"].items()
    backend.responses["made-choice"][key] = replace(response, values={"choice": "tie"}, updated="2025-12-31T23:00:00Z")
    (folder(made.run) / "cursor.json").unlink()
    assert pull(made.run, backend).changed == 0
    assert results(made) == ["A"]


def test_discards_are_counted_and_drafts_wait(tmp_path):
    made, backend = asked(tmp_path)
    tasks = list(backend.all_tasks)
    backend.answer("ann", lambda task: None, only=tasks[:2])  # without values
    backend.answer("ann", best, only=tasks[2:4], status="draft")
    backend.answer("ann", best, only=tasks[4:])
    pulled = pull(made.run, backend)
    assert (pulled.submitted, pulled.discarded, pulled.drafts, pulled.decided) == (2, 2, 2, 2)
    assert len(read_responses(made.run)) == 6
    backend.answer("ann", best, only=tasks[2:4])
    assert pull(made.run, backend).decided == 4


def test_responses_to_tasks_that_nobody_sent_are_named_and_not_used(tmp_path):
    made, backend = asked(tmp_path, ("certain",))
    backend.responses["made-choice"]["strange", "ann"] = Response("strange", "ann", "submitted", {"choice": "1"}, "2026-02-01T00:00:00Z")
    pulled = pull(made.run, backend)
    assert (pulled.unknown, pulled.decided, len(verdicts(made))) == (("strange",), 0, 0)


@pytest.mark.parametrize("values", [{}, {"choice": "3"}, {"choice": ""}, {"choice": 1.5}, {"choice": ("1", "2")}, {"strength": "clear"}])
def test_what_cannot_be_read_is_counted_and_is_no_tie(tmp_path, values):
    made, backend = asked(tmp_path, ("certain",))
    backend.answer("ann", values)
    pulled = pull(made.run, backend)
    assert (pulled.unreadable, pulled.decided, pulled.unresolved, verdicts(made)) == (1, 0, 0, [])


def test_words_that_changed_after_they_were_shown_are_not_judged(tmp_path):
    made, backend = asked(tmp_path, ("certain",) * 2)
    backend.answer("ann", best)
    file = made.run.shard(0) / "answers.parquet"
    table = read_table(file)
    changed = [*table["text"].to_pylist()[:-1], "quite another text"]
    write_table(table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), [changed]), file, "made")
    pulled = pull(made.run, backend)
    assert (pulled.stale, pulled.decided) == (1, 1)


def test_both_bad_is_a_tie_for_whoever_asks_which_is_better_and_is_kept_beside_it(tmp_path):
    made, backend = asked(tmp_path, ("certain",))
    backend.answer("ann", {"choice": "both_bad", "comment": "neither answers"})
    pull(made.run, backend)
    assert results(made) == ["both_bad"]
    (row,) = read_table(folder(made.run) / "verdicts.parquet").to_pylist()
    assert (row["choice"], row["both_bad"], row["reason"], row["reply"], row["seconds"]) == ("tie", True, None, "neither answers", 30.0)
    assert row["updated"] == "2026-01-01T00:00:01+00:00"


def test_a_comparison_waits_for_as_many_people_as_were_asked_for(tmp_path):
    made, backend = asked(tmp_path, min_submitted=2)
    backend.answer("ann", best)
    pulled = pull(made.run, backend)
    assert (pulled.decided, pulled.open) == (0, 6)
    backend.answer("bob", best)
    pulled = pull(made.run, backend)
    assert (pulled.decided, pulled.open) == (6, 0)
    assert {(say.n, say.agreement, say.strength) for say in read_outcomes(made.run).values()} == {(2, 1.0, 2.0)}


# --- where people could not agree


def test_what_people_cannot_agree_on_has_one_round_of_adjudication(tmp_path):
    made, backend = asked(tmp_path, ("certain",) * 12, min_submitted=2)
    backend.answer("ann", best)
    backend.answer("bob", worst)
    pulled = pull(made.run, backend, day=DAY)
    assert (pulled.decided, pulled.unresolved, pulled.adjudication) == (0, 12, 12)
    again = [t for t in read_ledger(made.run) if t.round == 1]
    assert {(t.state, t.why, t.day, t.kind, t.dataset) for t in again} == {
        ("chosen", "adjudication", DAY, "choice", "made-choice-adjudication"),
    }  # fmt: skip
    assert pull(made.run, backend).adjudication == 0
    push(made.run, backend, day=DAY)
    assert len(backend.tasks["made-choice-adjudication"]) == 12
    backend.answer("eve", best, dataset="made-choice-adjudication")
    pulled = pull(made.run, backend)
    assert (pulled.decided, pulled.unresolved, pulled.adjudication) == (12, 0, 0)
    assert {(say.result, say.by, say.n) for say in read_outcomes(made.run).values()} == {("A", "adjudication", 3)}
    assert {v.judge for v in verdicts(made)} == {"ann", "bob", "eve"}


def test_adjudicators_who_cannot_agree_either_are_not_asked_again(tmp_path):
    made, backend = asked(tmp_path, ("certain",), min_submitted=2)
    backend.answer("ann", best)
    backend.answer("bob", worst)
    pull(made.run, backend)
    push(made.run, backend, day=DAY)
    backend.answer("eve", best, dataset="made-choice-adjudication")
    backend.answer("joe", worst, dataset="made-choice-adjudication")
    pulled = pull(made.run, backend)
    assert (pulled.unresolved, pulled.adjudication) == (1, 0)


def test_no_adjudication_where_the_recipe_wants_none(tmp_path):
    made, backend = asked(tmp_path, min_submitted=2, adjudication=False)
    backend.answer("ann", best)
    backend.answer("bob", worst)
    pulled = pull(made.run, backend)
    assert (pulled.unresolved, pulled.adjudication, len(read_ledger(made.run))) == (6, 0, 6)


# --- kills and absences

WRITTEN = (
    "responses.parquet",
    "tasks.parquet",
    "verdicts.parquet",
    "answers.parquet",
    "rewrites.parquet",
    "outcomes.parquet",
    "cursor.json",
)


@pytest.mark.parametrize("done", range(len(WRITTEN)))
def test_a_kill_anywhere_is_mended_by_pulling_again(tmp_path, done):
    made, backend = asked(tmp_path, min_submitted=2)
    here = folder(made.run)
    backend.answer("ann", best)
    pull(made.run, backend, day=DAY)
    shutil.copytree(here, tmp_path / "before")
    backend.answer("bob", worst, only=list(backend.all_tasks)[:3])
    backend.answer("bob", best, only=list(backend.all_tasks)[3:])
    pull(made.run, backend, day=DAY)
    whole = {f.name: f.read_bytes() for f in here.iterdir()}
    assert set(whole) == set(WRITTEN)
    for name in WRITTEN[done:]:  # what a kill after so many files leaves
        shutil.copy(tmp_path / "before" / name, here / name)
    pull(made.run, backend, day=DAY)
    assert {f.name: f.read_bytes() for f in here.iterdir()} == whole


def test_files_are_written_in_the_order_that_the_test_of_kills_supposes(tmp_path):
    made, backend = asked(tmp_path, min_submitted=2)
    backend.answer("ann", best)
    backend.answer("bob", worst)
    pull(made.run, backend)
    stamps = {name: (folder(made.run) / name).stat().st_mtime_ns for name in WRITTEN}
    assert sorted(WRITTEN, key=lambda name: stamps[name]) == list(WRITTEN)


def test_a_backend_that_goes_away_in_mid_pull_loses_nothing(tmp_path):
    made, backend = asked(tmp_path)
    backend.answer("ann", best)
    backend.fail_pull_after = 4
    with pytest.raises(BackendAway):
        pull(made.run, backend)
    assert len(read_responses(made.run)) == 4
    pulled = pull(made.run, backend)
    assert (pulled.new, pulled.submitted, pulled.decided) == (2, 6, 6)


def test_responses_may_come_in_any_order(tmp_path):
    made, backend = asked(tmp_path, min_submitted=2)
    backend.answer("ann", best)
    backend.answer("bob", best)
    pull(made.run, backend)
    before = state(made)
    shutil.rmtree(tmp_path / "run" / "annotate" / "x", ignore_errors=True)
    for name in before:
        (folder(made.run) / name).unlink()
    mixed = list(backend.responses["made-choice"].items())
    random.Random(1).shuffle(mixed)
    backend.responses["made-choice"] = dict(mixed)
    pull(made.run, backend)
    assert state(made) == before


def test_a_run_that_asks_nobody_says_so(tmp_path):
    made = make_run(tmp_path / "run", ("certain",))
    text = made.run.recipe_file.read_text()
    made.run.recipe_file.write_text(text[: text.index("annotate:")])
    with pytest.raises(RecipeError, match="annotate"):
        pull(made.run, FakeBackend())


# --- the other kinds


def by_letter(task):
    """The number of the answer with each letter."""
    return {text[-1]: number for number in "123" if (text := task.fields.get(f"answer_{number}"))}


def sides(made):
    """Outcomes by the letters of both answers."""
    return {(made.texts[s.a][-1], made.texts[s.b][-1]): s for s in read_outcomes(made.run).values()}


def test_a_ranking_decides_every_pair_and_equal_ranks_are_ties(tmp_path):
    made, backend = asked(tmp_path, ("certain",) * 8, answers=3, task="ranking")

    def ranks(task):
        at = by_letter(task)
        return {"ranking": (at["k"], f"{at['i']}={at['j']}")}

    backend.answer("ann", ranks)
    pulled = pull(made.run, backend)
    assert (pulled.decided, pulled.apart) == (24, 8)  # the run does not compare j with k
    compared = {(a, b): say.result for (a, b), say in sides(made).items()}
    assert compared.pop(("i", "j")) == "tie"
    assert compared.pop(("i", "k")) == "B"
    assert {("A" if result == "A" else "B", pair) for pair, result in compared.items()} <= {("B", ("j", "k")), ("A", ("k", "j"))}
    run_ids = {c.id for c in to_records(Comparison, read_table(made.run.shard(0) / "comparisons.parquet"))}
    assert len({v.comparison_id for v in verdicts(made)} & run_ids) == 16


@pytest.mark.parametrize("ranking", [("1", "2"), ("1", "2", "3", "4"), ("1", "1", "2"), "123", ("1=2",)])
def test_a_ranking_that_leaves_an_answer_out_is_unreadable(tmp_path, ranking):
    made, backend = asked(tmp_path, ("certain",), answers=3, task="ranking")
    backend.answer("ann", {"ranking": ranking})
    assert pull(made.run, backend).unreadable == 1


def test_a_rating_is_the_mean_over_the_criteria(tmp_path):
    criteria = {"true": "It is true.", "short": "It is short."}
    made, backend = asked(tmp_path, ("certain",) * 4, task="rating", criteria=criteria)

    def rates(task):
        at = by_letter(task)
        return {f"true.{at['i']}": 5, f"short.{at['i']}": 2, f"true.{at['j']}": 3, f"short.{at['j']}": 3}

    backend.answer("ann", rates)
    pull(made.run, backend)
    assert {(v.choice, v.score_a, v.score_b) for v in verdicts(made)} == {("A", 3.5, 3.0)}
    assert {(s.result, s.score_a, s.score_b) for s in read_outcomes(made.run).values()} == {("A", 3.5, 3.0)}
    backend.answer("ann", lambda task: {**rates(task), "true.1": 6})
    assert pull(made.run, backend).unreadable == 4


def test_a_rewrite_becomes_an_answer_of_people(tmp_path):
    made, backend = asked(tmp_path, ("certain",) * 3, task="rewrite")
    tasks = list(backend.all_tasks)
    backend.answer("ann", lambda task: {"rewrite": task.fields["answer_1"] + ", and more"}, only=tasks[:2])
    backend.answer("ann", lambda task: {"rewrite": f" {task.fields['answer_1']}"}, only=tasks[2:])
    backend.answer("bob", {"rewrite": "  "}, only=tasks[:1])
    pulled = pull(made.run, backend)
    assert (pulled.rewrites, pulled.unchanged, pulled.unreadable, pulled.decided) == (3, 1, 1, 0)
    rewrites, answers = read_rewrites(made.run), to_records(Answer, read_table(folder(made.run) / "answers.parquet"))
    assert {(a.model, a.source) for a in answers} == {("people", "human")}
    assert {r.id for r in rewrites} == {a.id for a in answers}
    edited = {r.answer_id: r.text for r in rewrites}
    assert edited == {
        t.answers[0]: backend.all_tasks[t.id].fields["answer_1"] + ", and more" for t in read_ledger(made.run) if t.id in tasks[:2]
    } | {t.answers[0]: f" {backend.all_tasks[t.id].fields['answer_1']}" for t in read_ledger(made.run) if t.id in tasks[2:]}


def test_people_decide_without_a_judge_too(tmp_path):
    made, backend = asked(tmp_path, judged=False)
    backend.answer("ann", best)
    pulled = pull(made.run, backend)
    assert (pulled.decided, pulled.apart) == (6, 0)
    assert {s.comparison_id for s in read_outcomes(made.run).values()} == {t.comparison_id for t in read_ledger(made.run)}
    assert results(made) == ["A"] * 6  # the strong one's side, as a judge would have it
