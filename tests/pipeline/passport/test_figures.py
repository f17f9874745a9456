"""The passport as a whole: what it must not depend on, and what it says where there is little to say."""

import dataclasses
import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.passport.family import family_of
from pipeline.passport.figures import passport, run_figures
from pipeline.passport.page import html_page
from pipeline.passport.thresholds import Thresholds, missed
from pipeline.passport.words import headline, in_sentences
from pipeline.runs import Run
from tests.pipeline.passport.made import random_rows, rows, verdicts


def figures(given, **more):
    return passport(verdicts(given), **{"resamples": 50, **more})


def judge(found, name):
    return next(j for j in found["judges"] if j["name"] == name)


def swapped(row):
    choice = {"A": "B", "B": "A"}.get(row.choice, row.choice)
    order = row.order[::-1] if row.order else None
    return dataclasses.replace(
        row, choice=choice, order=order, answers=row.answers[::-1], models=row.models[::-1], lengths=row.lengths[::-1]
    )


def known(value, place=""):
    """All numbers of a JSON value, by their place."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in known(item, f"{place}.{key}").items()}
    if isinstance(value, list):
        return {k: v for n, item in enumerate(value) for k, v in known(item, f"{place}.{n}").items()}
    return {place: value}


@settings(max_examples=25, deadline=None)
@given(random_rows(), st.randoms(use_true_random=False))
@pytest.mark.slow
def test_rows_in_any_order_make_the_same_passport(given, random):
    shuffled = [*given]
    random.shuffle(shuffled)
    assert figures(given, by="g") == figures(shuffled, by="g")


@settings(max_examples=25, deadline=None)
@given(random_rows())
@pytest.mark.slow
def test_which_side_is_called_a_does_not_matter(given):
    """Kappa, alpha and everything with models is the same when all sides are named the other way round."""
    one, other = figures(given), figures([swapped(r) for r in given])
    for a, b in zip(one["judges"], other["judges"], strict=True):
        for name in ("invalid", "ties", "flip", "half_flip", "first_position", "repeat_disagreement", "family"):
            assert a[name] == b[name], name
        if a["standings"]:
            for x, y in zip(a["standings"]["models"], b["standings"]["models"], strict=True):
                assert (x["model"], x["win_rate"]) == (y["model"], y["win_rate"])
                assert x["strength"]["value"] == pytest.approx(y["strength"]["value"], abs=1e-6)
    for a, b in zip(one["pairs"], other["pairs"], strict=True):
        assert (a["raw"], a["without_ties"]) == (b["raw"], b["without_ties"])
        assert a["kappa"]["value"] == pytest.approx(b["kappa"]["value"])


@settings(max_examples=40, deadline=None)
@given(random_rows())
@pytest.mark.slow
def test_every_passport_is_json_and_words_and_a_page(given):
    found = figures(given, by="g")
    assert orjson.loads(orjson.dumps(found)) == found
    assert not [place for place, v in known(found).items() if isinstance(v, float) and not math.isfinite(v)]
    for sentence in in_sentences(found):
        assert not {"nan", "None", "inf"} & set(sentence.replace(",", " ").split()), sentence
    assert "nan" not in html_page(found).replace("dominant", "")


def test_one_row_is_an_honest_one():
    found = figures(rows((1, "j", "A")))
    assert headline(found).startswith("j judged 1 item alone")
    assert found["pairs"] == found["together"] == []
    assert judge(found, "j")["against"] is None


def test_judges_that_share_no_item():
    found = figures(rows((1, "j", "A"), (2, "k", "A")))
    assert "share no item" in headline(found)
    assert found["pairs"][0]["raw"] == {"value": None, "low": None, "high": None, "n": 0}


def test_few_rows_are_called_few():
    found = figures(rows(*((n, j, "A" if n % 2 else "B") for n in range(8) for j in ("j", "k"))))
    assert "8 items are too few to tell" in headline(found)


def test_all_ties_have_no_kappa_and_no_best_model():
    found = figures(rows(*((n, j, "tie") for n in range(9) for j in ("j", "k")), models=("x", "y")))
    assert found["pairs"][0]["kappa"]["value"] is None
    assert judge(found, "j")["standings"]["models"][0]["strength"]["value"] is None
    assert any("all meetings are ties" in s for s in in_sentences(found))


def test_invalid_is_missing_and_never_a_tie():
    found = figures(rows((1, "j", "invalid"), (2, "j", "tie"), (1, "k", "tie"), (2, "k", "tie")))
    assert judge(found, "j")["labelled"] == 1
    assert judge(found, "j")["invalid"]["value"] == 0.5
    assert found["pairs"][0]["confusion"]["tie"] == {"A": 0, "B": 0, "tie": 1}


def test_a_judge_is_held_against_people_and_a_person_against_the_others():
    said = {"p1": "AABt", "p2": "AABB", "p3": "AAAA", "j": "ABBA"}
    found = figures(
        rows(*((n, who, {"t": "tie"}.get(c, c)) for who, text in said.items() for n, c in enumerate(text)), people=["p1", "p2", "p3"])
    )
    # People's majorities are A, A, B and none: one tie, one B, one A.
    assert found["people"]["majority"] == {"A": 2, "B": 1, "tie": 0}
    assert found["people"]["without_majority"] == 1
    against = judge(found, "j")["against"]
    assert (against["reference"], against["accuracy"]["value"], against["accuracy"]["n"]) == ("people", pytest.approx(2 / 3), 3)
    # p1 and p2 agree on A, A and B, where p3 says A, A, A.
    assert judge(found, "p3")["against"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert judge(found, "p3")["against"]["reference"] == "the other people"


def test_categories_have_figures_of_their_own():
    given = [
        r
        for g in ("x", "y")
        for r in rows(*((f"{g}{n}", j, "A" if g == "x" or j == "j" else "B") for n in range(4) for j in ("j", "k")), group=g)
    ]
    groups = figures(given, by="category")["by"]["groups"]
    assert [(g["value"], g["items"], g["agreement"][0]["raw"]["value"]) for g in groups] == [("x", 4, 1), ("y", 4, 0)]


def test_a_column_of_ids_is_no_category():
    with pytest.raises(InputError, match="--by id: found 60 different values, wanted at most 50"):
        figures([r for n in range(60) for r in rows((n, "j", "A"), group=str(n))], by="id")


def test_longer_answers_are_seen_and_can_be_taken_out():
    """A judge that goes by length alone: the model that writes more wins, and at equal length nobody does."""
    rng = np.random.default_rng(1)
    given = []
    for n in range(600):
        a, b = rng.normal(110, 20), rng.normal(100, 20)
        longer = rng.random() < 1 / (1 + np.exp(-(a - b) / 15))
        given += rows((n, "j", "A" if longer else "B"), models=("wordy", "terse"), lengths=(a, b))
    length = judge(figures(given, resamples=500), "j")["length"]
    wordy = next(m for m in length["controlled"] if m["model"] == "wordy")
    assert length["longer_chosen"]["low"] > 0.6
    assert length["sway"]["low"] > 0
    assert wordy["raw"]["low"] > 0.5
    assert wordy["controlled"]["low"] < 0.5 < wordy["controlled"]["high"]


def test_the_length_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    models, given, x, y = ["m0", "m1", "m2"], [], [], []
    for n in range(400):
        i, k = rng.choice(3, 2, replace=False)
        lengths = rng.integers(50, 150, 2).astype(float)
        won = bool(rng.random() < 1 / (1 + np.exp(-(i - k) * 0.5 - (lengths[0] - lengths[1]) / 60)))
        given += rows((n, "j", "A" if won else "B"), models=(models[i], models[k]), lengths=tuple(lengths))
        x.append([*(float(i == m) - float(k == m) for m in (1, 2)), lengths[0] - lengths[1]])
        y.append(won)
    x = np.array(x, float)
    x[:, 2] = np.tanh(x[:, 2] / x[:, 2].std())
    wanted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y).coef_[0]
    assert judge(figures(given), "j")["length"]["sway"]["value"] == pytest.approx(wanted[2], abs=1e-4)


def test_without_variation_no_regression_is_claimed():
    alike = rows(*((n, "j", "A" if n % 2 else "B") for n in range(50)), lengths=(5.0, 5.0))
    always = [r for n in range(50) for r in rows((n, "j", "A"), lengths=(9.0, 5.0 + n % 3))]
    for made in (alike, always):
        length = judge(figures(made), "j")["length"]
        assert (length["sway"]["value"], length["controlled"]) == (None, [])


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-4o-mini", "openai"), ("text-davinci-003", "openai"), ("o3", "openai"), ("gpt-j-6b", "gpt"), ("gpt-neox-20b", "gpt"),
        ("claude-3-5-sonnet", "anthropic"), ("meta-llama/Llama-3.1-8B", "meta"), ("bard:20230327", "google"), ("Qwen2.5-7B", "qwen"),
        ("vicuna-13b:v1", "vicuna"), ("vicuna-7b", "vicuna"), ("123", None),
    ],
)  # fmt: skip
def test_families_by_name(model, family):
    assert family_of(model) == family


def test_a_judge_that_prefers_its_relatives_is_seen():
    given = []
    for n in range(40):
        given += rows((n, "gpt-4", "A"), (n, "claude-3", "A" if n % 2 else "B"), models=("gpt-3.5", "zephyr"))
    family = judge(figures(given), "gpt-4")["family"]
    assert (family["own"]["value"], family["others"]["value"], family["excess"]["value"]) == (1, 0.5, 0.5)
    assert family["excess"]["low"] > 0.3
    assert judge(figures(given), "claude-3")["family"] is None


def test_costs_are_means_of_the_rows_that_say():
    given = rows((1, "j", "A"), (2, "j", "A"), costs=(100.0, 10.0, 0.002)) + rows((3, "j", "A"))
    cost = judge(figures(given), "j")["cost"]
    assert cost == {"prompt_tokens_per_1000": 100_000, "completion_tokens_per_1000": 10_000, "dollars_per_1000": pytest.approx(2), "n": 2}


# --- thresholds


def test_what_is_missed_is_said_with_its_numbers():
    given = rows(
        *((n, "j", "A", order) for n in range(10) for order in ("AB",)), *((n, "j", "B" if n < 4 else "A", "BA") for n in range(10))
    )
    given += rows(*((n, "person", "A") for n in range(10)), (11, "j", "invalid"), people=["person"])
    found = figures(given)
    held = Thresholds(min_agreement=0.7, min_kappa=0.2, max_flip=0.25, max_invalid=0.01, max_ties=0.5, max_first_position_bias=0.1)
    sentences = missed(found, held)
    assert [s.rpartition("(")[2] for s in sentences] == [
        "max_flip)",
        "max_invalid)",
        "max_first_position_bias)",
        "min_agreement)",
        "min_kappa)",
    ]
    assert (
        "j: 40.0% (16.0% to 70.0%, n=10) of its comparisons change the winner with the order, at most 25.0% were wanted (max_flip)"
        in sentences
    )
    assert "the agreement is 0.60, 0.31 to 0.83 at n=10; at least 0.70 was wanted" in sentences[3]
    assert "the kappa is 0.00" in sentences[4]
    assert missed(found, Thresholds()) == []


def test_a_threshold_nobody_can_measure_is_not_met():
    found = figures(rows((1, "j", "A")))
    assert len(missed(found, Thresholds(max_flip=0.5, max_first_position_bias=0.2, min_agreement=0.1))) == 3


def test_the_figures_of_a_run_are_those_of_its_tables(tmp_path):
    from tests.pipeline.passport.run_folder import write_run

    run, given = write_run(tmp_path / "run")
    found, whole = run_figures(Run(run)), figures(given)
    for one in found["judges"]:
        assert one == {key: judge(whole, one["name"])[key] for key in one}
    assert missed(found, Thresholds(max_flip=1, max_invalid=1, max_ties=1, max_first_position_bias=0.5)) == []
    assert "nobody else judged" in missed(found, Thresholds(min_agreement=0.5))[0]
