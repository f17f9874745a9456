"""What the pair stage reads of people: it comes back as it was written, and stands over the judge by stated rules."""

import pytest

from pipeline.annotate.overrule import overrule, people_alone
from pipeline.annotate.people import (
    People,
    PeopleSay,
    Rewrite,
    key_of_people,
    read_outcomes,
    read_people,
    read_rewrites,
    texts_key,
    write_people,
)
from pipeline.judge import Outcome
from pipeline.records import Answer, Comparison
from pipeline.runs import Run
from pipeline.tables import to_table
from tests.harness.shards import answer, prompt

P = prompt("Which is best?")
ANSWERS = [answer(P, m, f"text of {m}") for m in "xyz"]
X, Y, Z = ANSWERS
XY, XZ, YZ = (Comparison.of(P.id, a.id, b.id) for a, b in ((X, Y), (X, Z), (Y, Z)))
TEXTS = {a.id: a.text for a in ANSWERS}


def say(c, result, **fields):
    return PeopleSay(c.id, P.id, c.a, c.b, result, "majority", 3, 1.0, texts=texts_key(TEXTS[c.a], TEXTS[c.b]), **fields)


def stands(outcomes, *says):
    """(result, score_a, score_b, by people) of each comparison of three answers."""
    given = {s.comparison_id: s for s in says}
    judged = overrule(to_table(Comparison, [XY, XZ, YZ]), outcomes, given, to_table(Answer, ANSWERS))
    rows = zip(judged.comparisons["id"].to_pylist(), judged.outcomes, judged.by_people, strict=True)
    return {i: (o.result, o.score_a, o.score_b, by) for i, o, by in rows}


def test_it_comes_back_as_it_was_written(tmp_path):
    run = Run(tmp_path)
    assert not read_people(run)
    edit = Rewrite("r", P.id, X.id, "better", "ann", texts_key(X.text))
    people = People({XY.id: say(XY, "A", strength=1.5), YZ.id: say(YZ, "both_bad")}, [edit])
    write_people(run, people)
    assert read_outcomes(run) == people.says
    assert read_rewrites(run) == [edit]
    assert key_of_people(run) == people.key() != ""
    write_people(run, People())
    assert key_of_people(run) == ""


def test_the_key_follows_what_changes_pairs_and_nothing_else():
    def key(*says, rewrites=()):
        return People({s.comparison_id: s for s in says}, rewrites).key()

    assert key(say(XY, "A"), say(XZ, "B")) == key(say(XZ, "B"), say(XY, "A"))
    assert key(say(XY, "A")) == key(say(XY, "A", strength=3.0))
    assert (
        len({key(say(XY, "A")), key(say(XY, "B")), key(say(XZ, "A")), key(say(XY, "A"), rewrites=[Rewrite("r", "p", "a", "t", "ann")])})
        == 4
    )


@pytest.mark.parametrize(
    ("result", "becomes"), [("A", "A"), ("B", "B"), ("tie", "tie"), ("both_bad", "both_bad"), ("unresolved", "people_disagree")]
)
@pytest.mark.parametrize("judge", ["A", "B", "tie", "flipped", "invalid", "one_order"])
def test_people_stand_over_whatever_the_judge_said(result, becomes, judge):
    given = {XY.id: Outcome(judge, "llm"), XZ.id: Outcome("A", "llm")}
    assert stands(given, say(XY, result)) == {XY.id: (becomes, None, None, True), XZ.id: ("A", None, None, False)}


def test_a_comparison_that_nobody_judged_is_there_once_people_decided_it():
    assert stands({}, say(YZ, "A")) == {YZ.id: ("A", None, None, True)}


@pytest.mark.parametrize(
    ("scores", "result", "becomes"),
    [
        ((9.0, 5.0), "A", (9.0, 5.0)),
        ((9.0, 5.0), "B", (7.0, 7.0)),
        ((9.0, 5.0), "tie", (7.0, 7.0)),
        ((5.0, 5.0), "A", (5.0, 5.0)),
        ((9.0, 5.0), "both_bad", (9.0, 5.0)),
        ((9.0, 5.0), "unresolved", (9.0, 5.0)),
        ((None, None), "A", (None, None)),
    ],
)
def test_scores_that_people_overruled_say_nothing_of_which_is_better(scores, result, becomes):
    found = stands({XY.id: Outcome("A", "llm", *scores)}, say(XY, result))[XY.id]
    assert found[1:3] == becomes


def test_what_was_said_of_other_words_is_left_aside():
    other = PeopleSay(XY.id, P.id, X.id, Y.id, "B", "majority", 1, 1.0, texts=texts_key("what it was", Y.text))
    gone = PeopleSay("c", P.id, "gone", Y.id, "B", "majority", 1, 1.0, texts=texts_key("?", Y.text))
    assert stands({XY.id: Outcome("A", "llm")}, other, gone) == {XY.id: ("A", None, None, False)}
    assert people_alone({XY.id: other}, to_table(Answer, ANSWERS)) is None


def test_without_a_judge_comparisons_stand_in_the_order_of_the_answers():
    found = people_alone(
        {s.comparison_id: s for s in (say(YZ, "A"), say(XZ, "tie"), say(XY, "B", score_a=2.0, score_b=4.0))}, to_table(Answer, ANSWERS)
    )
    assert found.comparisons["id"].to_pylist() == [XY.id, XZ.id, YZ.id]
    assert [(o.result, o.score_a, o.source) for o in found.outcomes] == [("B", 2.0, "human"), ("tie", None, "human"), ("A", None, "human")]
    assert found.alone
