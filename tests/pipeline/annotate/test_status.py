"""How far people are, how far they agree, and how many labels more would tell."""

import json

import pytest

from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotate.status import labels_for, status
from pipeline.annotate.status_words import words
from pipeline.errors import BackendAway
from pipeline.passport.estimate import wilson
from tests.harness.annotators import FakeBackend, make_run


def best(task):
    return {"choice": "1" if task.fields["answer_1"].endswith("i") else "2"}


def worst(task):
    return {"choice": "2" if task.fields["answer_1"].endswith("i") else "1"}


def half_done(tmp_path, **fields):
    made = make_run(tmp_path / "run", ("certain", "flipped") * 20, **{"min_submitted": 2, "random_share": 0.5, **fields})
    backend = FakeBackend()
    push(made.run, backend, day="2026-01-01")
    tasks = list(backend.all_tasks)
    backend.answer("ann", best)
    backend.answer("bob", best, only=tasks[:20])
    backend.answer("bob", worst, only=tasks[20:24])
    backend.answer("bob", lambda task: None, only=tasks[24:25])
    pull(made.run, backend)
    return made, backend


def test_progress_is_told_by_dataset_and_annotator(tmp_path):
    made, backend = half_done(tmp_path)
    figures = status(made.run, backend)
    main, adjudication = figures["datasets"]
    assert main == {
        "name": "made-choice", "kind": "choice", "round": 0, "chosen": 40, "tasks": 40, "completed": 24,
        "annotators": {"ann": {"submitted": 40}, "bob": {"submitted": 24, "discarded": 1}},
    }  # fmt: skip
    assert (adjudication["name"], adjudication["chosen"], adjudication["tasks"]) == ("made-choice-adjudication", 4, 0)
    assert figures["outcomes"] == {"A": 20, "unresolved": 4}
    assert json.loads(json.dumps(figures)) == figures


def test_the_judge_is_measured_on_what_was_drawn_by_chance_and_on_everything(tmp_path):
    made, backend = half_done(tmp_path)
    figures = status(made.run, backend)
    (random,), (overall,) = figures["judge"]["random"], figures["judge"]["all"]
    assert random["name"] == overall["name"] == "llm-judge-x"
    assert 0 < random["raw"]["n"] < overall["raw"]["n"] == 36  # 40, less the 4 without a majority
    assert figures["needed"]["labelled"] >= random["raw"]["n"]
    assert figures["needed"]["at"] == random["raw"]["value"]
    assert figures["needed"]["responses"] == 2 * figures["needed"]["more"]


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.7, 0.83, 0.95, 1.0])
def test_so_many_labels_bring_the_interval_to_five_points_and_no_fewer(agreement):
    n = labels_for(agreement)
    low, high = wilson(agreement * n, n)
    assert high - low <= 0.1
    low, high = wilson(agreement * (n - 1), n - 1)
    assert high - low > 0.1


def test_an_agreement_of_one_half_needs_most():
    assert labels_for(0.5) == 381
    assert max(labels_for(p / 100) for p in range(101)) == 381


def test_before_anybody_said_anything_the_worst_is_supposed(tmp_path):
    made = make_run(tmp_path / "run", ("certain",) * 5)
    figures = status(made.run, FakeBackend())
    assert (figures["needed"]["at"], figures["needed"]["more"], figures["people"], figures["annotators"]) == (0.5, 381, None, [])
    assert words(figures)[0] == "Nothing was sent to people yet: `pairsmith annotate push RUN` does it."


def test_a_backend_that_is_away_is_said(tmp_path):
    made, backend = half_done(tmp_path)
    backend.away = True
    with pytest.raises(BackendAway):
        status(made.run, backend)


def test_the_sentences_hold_the_numbers(tmp_path):
    made, backend = half_done(tmp_path)
    figures = status(made.run, backend)
    text = "\n".join(words(figures))
    assert "made-choice: 24 of 40 tasks are complete." in text
    assert "made-choice-adjudication: 0 of 0 tasks are complete; 4 chosen and not sent yet." in text
    assert "  bob: 24 submitted, 1 discarded." in text
    assert "64 responses are here, 1 discarded; people decided: A 20, unresolved 4." in text
    assert "llm-judge-x agrees with people on" in text
    assert f"{figures['needed']['more']} more comparisons drawn by chance ({figures['needed']['responses']} responses)" in text
    assert "None" not in text


def test_rewrites_have_a_status_too(tmp_path):
    made = make_run(tmp_path / "run", ("certain",) * 3, task="rewrite", random_share=0.0)
    backend = FakeBackend()
    push(made.run, backend, day="2026-01-01")
    backend.answer("ann", {"rewrite": "a better text"})
    pull(made.run, backend)
    figures = status(made.run, backend)
    assert (figures["rewrites"], figures["people"], figures["annotators"][0]["submitted"]) == (3, None, 3)
    assert "None" not in "\n".join(words(figures))
