"""What is known of each annotator: agreement with the others, sides, speed, and whether suggestions sway them."""

import random

import pytest

from pipeline.annotate.annotators import difference, times
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotate.status import status
from pipeline.annotation import Response
from pipeline.passport.estimate import share
from tests.harness.annotators import FakeBackend, make_run

pytestmark = pytest.mark.slow  # one by one they are quick, together they are seconds


def labelled(tmp_path, people, n=60, seconds=30.0, **fields):
    """The status of a run whose tasks these people answered; each is a function of the task."""
    made = make_run(tmp_path / "run", ("certain",) * n, **{"random_share": 0.0, "per_day": 1000, "min_submitted": len(people), **fields})
    backend = FakeBackend()
    push(made.run, backend, day="2026-01-01")
    for name, says in people.items():
        backend.answer(name, says, seconds=seconds)
    pull(made.run, backend)
    return status(made.run, backend)


def mostly(share_right, seed):
    """Takes the better text, `i` before `j` in odd tasks and after it in even ones, as often as told."""
    draw = random.Random(seed)

    def says(task):
        better = "i" if int(task.fields["answer_1"].split()[1]) % 2 else "j"
        first = task.fields["answer_1"].endswith(better)
        return {"choice": "1" if first == (draw.random() < share_right) else "2"}

    return says


def by_name(figures):
    return {a["name"]: a for a in figures["annotators"]}


def test_somebody_who_disagrees_with_everybody_is_named_and_nobody_else(tmp_path):
    figures = labelled(tmp_path, {"ann": mostly(0.95, 1), "bob": mostly(0.9, 2), "eve": mostly(0.9, 3), "zoe": mostly(0.1, 4)})
    assert {name for name, a in by_name(figures).items() if a["disagrees_with_everybody"]} == {"zoe"}
    zoe = by_name(figures)["zoe"]
    assert zoe["with_the_others"]["kappa"]["high"] < 0.2
    assert zoe["submitted"] == zoe["comparisons"] == 60  # reported, not dropped
    assert figures["people"]["judges"] == 4


def test_few_shared_comparisons_name_nobody(tmp_path):
    figures = labelled(tmp_path, {"ann": mostly(1, 1), "bob": mostly(1, 2), "zoe": mostly(0, 4)}, n=9)
    assert not any(a["disagrees_with_everybody"] for a in figures["annotators"])


def test_somebody_who_takes_what_stands_first_is_seen(tmp_path):
    figures = by_name(labelled(tmp_path, {"ann": mostly(1, 1), "bob": lambda task: {"choice": "1"}}))
    assert (figures["bob"]["first_shown"]["value"], figures["bob"]["leans_to_a_side"]) == (1.0, True)
    assert (0.3 < figures["ann"]["first_shown"]["value"] < 0.7, figures["ann"]["leans_to_a_side"]) == (True, False)


def test_ties_say_nothing_of_sides(tmp_path):
    figures = by_name(labelled(tmp_path, {"ann": lambda task: {"choice": "tie"}}))
    assert figures["ann"]["first_shown"]["n"] == 0
    assert figures["ann"]["leans_to_a_side"] is False


@pytest.mark.parametrize(("seconds", "share_fast"), [(0.5, 1.0), (0.7, 0.0)])
def test_somebody_who_is_faster_than_reading_is_seen(tmp_path, seconds, share_fast):
    # "question number 0", "text 0 i" and "text 0 j" are 9 words: 0.6 seconds at 15 words a second
    figures = by_name(labelled(tmp_path, {"ann": mostly(1, 1)}, seconds=seconds))
    assert (figures["ann"]["faster_than_reading"]["value"], figures["ann"]["median_seconds"]) == (share_fast, seconds)


def response(task, at, seconds=None):
    return Response(task, "ann", "submitted", {}, at, seconds)


def test_without_a_clock_the_time_between_two_responses_is_the_most_it_took():
    found = times(
        [response("b", "2026-01-01T00:00:09Z"), response("a", "2026-01-01T00:00:00Z"), response("c", "2026-01-01T00:00:10Z", 0.2)]
    )
    assert found == {"b": 9.0, "c": 0.2}


def test_responses_that_all_bear_one_time_tell_nothing():
    assert times([response(t, "2026-01-01T00:00:00Z") for t in "abc"]) == {}


def test_suggestions_that_sway_people_show_against_the_control_share(tmp_path):
    def swayed(task):
        return dict(task.suggestions) or mostly(0.5, task.id)(task)

    figures = labelled(tmp_path, {"ann": swayed}, n=200, suggestions=True, control_share=0.5)["anchoring"]
    assert figures["suggested"]["value"] == 1.0
    assert 0.3 < figures["control"]["value"] < 0.7
    assert figures["difference"]["low"] > 0.3
    assert figures["suggested"]["n"] + figures["control"]["n"] == 200


def test_without_suggestions_there_is_nothing_to_be_swayed_by(tmp_path):
    assert labelled(tmp_path, {"ann": mostly(1, 1)})["anchoring"] is None


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe 1998, Table II, row a: 56/70 less 48/80
    found = difference(share(56, 70), share(48, 80))
    assert (found.value, found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
