"""Other people's recorded verdicts, beside the numbers they published and beside counting by hand."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pipeline.passport.figures import passport
from pipeline.passport.outside import described, read_outside
from pipeline.passport.verdicts import Collector, Verdicts

PLACE = os.environ.get("PAIRSMITH_RECORDED_DATA", "")

pytestmark = pytest.mark.skipif(not PLACE, reason="PAIRSMITH_RECORDED_DATA names no folder with the recorded verdicts")


def lines(pattern: str) -> list[dict]:
    return [json.loads(line) for file in sorted(Path(PLACE).glob(pattern)) for line in file.read_text().splitlines()]


def recorded(name: str) -> Verdicts:
    into = Collector()
    for table in described(f"flows/recipes/verdicts/{name}.yaml"):
        read_outside(table, into, None)
    return into.verdicts()


def test_pandalm_s_published_agreement_of_its_annotators():
    found = passport(recorded("pandalm"), resamples=200)
    kappas = {tuple(p["judges"]): p["kappa"]["value"] for p in found["pairs"]}
    published = [("annotator1", "annotator2", 0.85), ("annotator1", "annotator3", 0.88), ("annotator2", "annotator3", 0.86)]
    assert [round(kappas[a, b], 2) for a, b, _ in published] == [k for *_, k in published]
    assert found["people"]["majority"] == {"tie": 105, "A": 422, "B": 472}
    assert (found["people"]["items"], found["people"]["without_majority"]) == (999, 0)


def test_pandalm_s_unreadable_verdicts_are_invalid_and_no_ties():
    found = {j["name"]: j for j in passport(recorded("pandalm"), resamples=200)["judges"]}
    said = Counter(r["gpt_result"] for r in lines("pandalm/judge_gpt35.jsonl"))
    gpt = found["gpt-3.5-turbo"]
    assert (gpt["verdicts"], gpt["labelled"], round(gpt["invalid"]["value"] * 999)) == (999, 974, 25)
    assert round(gpt["ties"]["value"] * 974) == said["Tie"] == 38
    assert gpt["against"]["raw"]["n"] == 974


def test_pandalm_s_accuracy_counted_by_hand():
    found = {j["name"]: j for j in passport(recorded("pandalm"), resamples=200)["judges"]}
    majority = {r["idx"]: Counter(r[f"annotator{n}"] for n in (1, 2, 3)).most_common(1)[0][0] for r in lines("pandalm/testset.jsonl")}
    rows = lines("pandalm/judge_pandalm7b.jsonl")
    right = sum(r["pandalm_result"] == majority[r["idx"]] for r in rows)
    assert found["pandalm-7b"]["against"]["accuracy"]["value"] == pytest.approx(right / 999)


def test_the_scores_in_gpt4_s_reviews_are_those_that_were_stored():
    v = recorded("vicuna-reviews")
    found = passport(v, resamples=200)
    by_name = {j["name"]: j for j in found["judges"]}
    assert {name: j["labelled"] for name, j in by_name.items()} == {"gpt-4 as stored": 1040, "gpt-4 as written": 1040}
    assert found["pairs"][0]["confusion"] == {
        "A": {"A": 277, "B": 0, "tie": 0},
        "B": {"A": 0, "B": 663, "tie": 0},
        "tie": {"A": 0, "B": 0, "tie": 100},
    }
    # By hand: each model's points over its 13 tables of 80.
    models = {r["answer_id"]: r["model_id"] for r in lines("vicuna80/answer__*.jsonl")}
    points, games = Counter(), Counter()
    for review in lines("vicuna80/review__*.jsonl"):
        a, b = review["score"]
        for side, won in (("answer1_id", (a > b) + (a == b) / 2), ("answer2_id", (b > a) + (a == b) / 2)):
            points[models[review[side]]] += won
            games[models[review[side]]] += 1
    rates = {m["model"]: m["win_rate"]["value"] for m in by_name["gpt-4 as stored"]["standings"]["models"]}
    assert rates == {model: pytest.approx(points[model] / games[model]) for model in games}


def test_two_reviews_say_other_scores_than_were_stored():
    """The tables on the issue name them: question 70, where the text says 4 and the table 2."""
    from pipeline.passport.outside import UNDERSTOOD, _found, _plain, read_rows

    table = described("flows/recipes/verdicts/vicuna-reviews.yaml")[1]
    differing = []
    for row in read_rows(_plain(table), needed=(), understood=UNDERSTOOD):
        written = _found(table.patterns["text"], row, "text")
        if [float(written["score_a"] or -1), float(written["score_b"] or -1)] != row.rest["score"]:
            differing.append((row.rest["question_id"], row.rest["score"], written["score_a"], written["score_b"]))
    assert differing == [(70, [10, 2], "10", "4")] * 2
