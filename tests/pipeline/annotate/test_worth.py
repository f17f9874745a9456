"""What is worth a person: a fair sample, then what the judge is least sure of, at most so many a day, and nothing twice."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.annotate.candidates import ORDER, asked_of, units_in
from pipeline.annotate.ledger import Sent, Why
from pipeline.annotate.people import People, PeopleSay, write_people
from pipeline.annotate.worth import choose, proportional
from pipeline.errors import RecipeError, RunError
from pipeline.records import Answer, Verdict
from pipeline.runs import Run
from pipeline.tables import to_table, write_table
from tests.harness.annotators import KINDS, SECRETS, make_run

pytestmark = pytest.mark.slow

UNCERTAIN = [kind for kind in KINDS if kind != "certain"]


def days(made, *days: str) -> list[Sent]:
    """The ledger after a choice on each of these days."""
    ledger: list[Sent] = []
    for day in days:
        choice = choose(asked_of(made.run), ledger, day)
        ledger = choice.before + choice.new
    return ledger


def why_of(ledger):
    return dict(Counter(row.why for row in ledger))


def test_the_judges_doubt_comes_in_this_order(tmp_path):
    made = make_run(tmp_path / "run", [*KINDS] * 3, random_share=0, per_day=3)
    ledger = days(made, *(f"2026-01-{n:02}" for n in range(1, len(KINDS) + 1)))
    assert [row.why for row in ledger[::3]] == ["flipped", "split", "invalid", "one_order", "tie_in_one_order", "tie", "certain"]
    assert why_of(ledger) == dict.fromkeys(KINDS, 3)
    assert all(made.comparisons[row.comparison_id] == row.why for row in ledger)


def test_a_margin_below_the_recipes_is_uncertain_and_the_smaller_the_earlier(tmp_path):
    scores = [(5.0, 1.0), (4.0, 3.5), (3.0, 3.1), (5.0, 4.1)]
    made = make_run(tmp_path / "run", ["certain"] * 4, scores=scores, random_share=0, per_day=1, margin=1)
    ledger = days(made, "1", "2", "3", "4")
    assert [made.prompts.index(row.prompt_id) for row in ledger] == [2, 1, 3, 0]
    assert [row.why for row in ledger] == ["small_margin"] * 3 + ["certain"]


def test_without_a_margin_the_smallest_come_first_all_the_same(tmp_path):
    made = make_run(tmp_path / "run", ["certain"] * 3, scores=[(5.0, 1.0), (4.0, 3.5), (3.0, 1.0)], random_share=0, per_day=1)
    ledger = days(made, "1", "2", "3")
    assert [made.prompts.index(row.prompt_id) for row in ledger] == [1, 2, 0]


def test_the_more_a_jury_is_split_the_earlier(tmp_path):
    made = make_run(tmp_path / "run", ["split"] * 2, random_share=0, per_day=1)
    votes = {0: "AAAB", 1: "AABB"}  # by the prompt's number
    verdicts = [
        Verdict(c, made.prompts[n], f"juror {k}", None, choice, "llm")  # type: ignore[arg-type]
        for n, c in enumerate(made.comparisons)
        for k, choice in enumerate(votes[n])
    ]
    write_table(to_table(Verdict, verdicts), made.run.shard(0) / "verdicts.parquet", "made")
    assert [made.prompts.index(row.prompt_id) for row in days(made, "1", "2")] == [1, 0]
    split = {n: choices[::-1] for n, choices in enumerate(reversed(votes.values()))}
    turned = [replace(v, choice=split[made.prompts.index(v.prompt_id)][int(v.judge[-1])]) for v in verdicts]
    write_table(to_table(Verdict, turned), made.run.shard(0) / "verdicts.parquet", "made")
    assert [made.prompts.index(row.prompt_id) for row in days(made, "1", "2")] == [0, 1]


def test_no_more_than_so_many_a_day(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 12, per_day=5)
    assert [len(days(made, *d)) for d in (["1"], ["1", "1"], ["1", "2"], ["1", "2", "2"], ["1", "2", "3", "4"])] == [5, 5, 10, 10, 12]


def test_a_task_of_an_adjudication_counts_for_its_day(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 12, per_day=5)
    there = Sent("x", "choice", "made-choice-adjudication", 1, "p", "c", ("a", "b"), "adjudication", day="1")
    assert len(choose(asked_of(made.run), [there], "1").new) == 4


@settings(max_examples=15)
@given(st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=60), st.integers(1, 9), st.floats(0, 1), st.integers(0, 5))
@pytest.mark.slow
def test_nothing_is_ever_asked_twice_and_everything_once(tmp_path_factory, kinds, per_day, share, seed):
    made = make_run(tmp_path_factory.mktemp("x") / "run", kinds, per_day=per_day, random_share=share, seed=seed)
    ledger = days(made, *map(str, range(-(-len(kinds) // per_day) + 1)))
    assert sorted(row.comparison_id or "" for row in ledger) == sorted(made.comparisons)
    assert len({row.id for row in ledger}) == len(ledger)


# --- the random share


def test_the_random_share_is_spread_over_categories_in_proportion(tmp_path):
    categories = ["big"] * 6 + ["middle"] * 3 + ["small"]
    made = make_run(tmp_path / "run", ["certain"] * 200, categories=categories, per_day=50, random_share=0.4)
    drawn = [row for row in days(made, "1") if row.probability is not None]
    assert Counter(row.category for row in drawn) == {"big": 12, "middle": 6, "small": 2}


@pytest.mark.slow
def test_over_days_the_sample_stays_in_proportion_also_where_a_days_share_is_small(tmp_path):
    categories = [f"c{n % 7}" for n in range(21)] + ["rare"]
    made = make_run(tmp_path / "run", ["certain"] * 220, categories=categories, per_day=10, random_share=0.3)
    drawn = [row for row in days(made, *map(str, range(10))) if row.probability is not None]
    counts = Counter(row.category for row in drawn)
    assert sum(counts.values()) == 30
    assert {counts[f"c{n}"] for n in range(7)} <= {4, 5}
    assert counts["rare"] in (1, 2)


def test_the_sample_does_not_know_what_the_judge_thinks(tmp_path):
    """The same draws whatever is uncertain: here everything, there nothing."""
    doubtful = make_run(tmp_path / "one", ["flipped"] * 100, per_day=20)
    sure = make_run(tmp_path / "two", ["certain"] * 100, per_day=20)
    one, two = ({row.comparison_id for row in days(m, "1", "2", "3") if row.probability is not None} for m in (doubtful, sure))
    assert one == two
    assert len(one) == 12


def test_the_share_of_doubtful_ones_in_the_sample_is_that_of_the_run_also_after_they_were_all_sent(tmp_path):
    kinds = (["flipped"] + ["certain"] * 3) * 100
    made = make_run(tmp_path / "run", kinds, per_day=60, random_share=0.5, shard=100)
    ledger = days(made, *map(str, range(5)))  # 300 of 400; all 100 flipped ones are among them
    assert sum(made.comparisons[row.comparison_id] == "flipped" for row in ledger) == 100
    sample = [row for row in ledger if row.probability is not None]
    assert len(sample) == 150
    # Drawn from what had not been sent alone, it would hold hardly any after the first days.
    assert 0.18 < sum(made.comparisons[row.comparison_id] == "flipped" for row in sample) / len(sample) < 0.32
    assert {row.why for row in sample} == {"random"}


@pytest.mark.parametrize("per_day", [3, 10, 40])
def test_the_chances_make_the_sample_stand_for_the_whole(tmp_path, per_day):
    categories = ["a", "a", "a", "b", None]
    made = make_run(tmp_path / "run", [*KINDS] * 20, categories=categories, per_day=per_day, random_share=0.5)
    sample = [row for row in days(made, "1", "2", "3") if row.probability is not None]
    sizes = Counter(made.categories.values())
    for category in {row.category for row in sample}:
        assert sum(1 / row.probability for row in sample if row.category == category) == pytest.approx(sizes[category])


def test_a_share_of_a_task_is_rounded_over_the_day_and_not_at_every_push(tmp_path):
    made = make_run(tmp_path / "run", ["certain"] * 40, per_day=1, random_share=0.25)
    ledger: list[Sent] = []
    for per_day in range(1, 21):
        asked = asked_of(made.run)
        object.__setattr__(asked, "settings", asked.settings.model_copy(update={"per_day": per_day}))
        choice = choose(asked, ledger, "1")
        ledger = choice.before + choice.new
    assert (len(ledger), sum(row.probability is not None for row in ledger)) == (20, 5)


@given(st.dictionaries(st.sampled_from([*"abcdefg", None]), st.integers(1, 50), min_size=1), st.data())
def test_largest_remainders(counts, data):
    total = data.draw(st.integers(0, sum(counts.values())))
    shares = proportional(counts, total)
    assert sum(shares.values()) == total
    for category, count in counts.items():
        assert shares[category] <= count
        assert abs(shares[category] - Fraction(count * total, sum(counts.values()))) < 1


# --- what is a candidate


def test_without_a_judge_everything_is_a_candidate_in_an_order_by_chance(tmp_path):
    made = make_run(tmp_path / "run", ["certain"] * 30, judged=False, answers=3, per_day=40)
    ledger = days(made, "1", "2")
    assert {(row.comparison_id) for row in ledger} == set(made.comparisons)
    assert why_of(ledger) == {"all": 60}
    assert {row.probability for row in ledger} == {None}
    assert [made.prompts.index(row.prompt_id) for row in ledger[:40]] != sorted(made.prompts.index(row.prompt_id) for row in ledger[:40])


def test_what_people_said_in_the_judges_own_table_is_not_asked_again(tmp_path):
    made = make_run(tmp_path / "run", ["certain", "tie"])
    comparison = next(iter(made.comparisons))
    file = made.run.shard(0) / "verdicts.parquet"
    write_table(to_table(Verdict, [Verdict(comparison, made.prompts[0], "anna", None, "A", "human")]), file, "made")
    assert days(made, "1") == []


def test_a_comparison_whose_answers_are_gone_is_no_candidate(tmp_path):
    made = make_run(tmp_path / "run", ["tie", "tie"])
    prompt = made.prompts[0]
    kept = [Answer(i, prompt, made.models[i], 0, t) for i, t in list(made.texts.items())[:2]]
    write_table(to_table(Answer, kept), made.run.shard(0) / "answers.parquet", "made")
    assert [row.prompt_id for row in days(made, "1")] == [prompt]


def test_a_comparison_nobody_judged_is_no_candidate(tmp_path):
    made = make_run(tmp_path / "run", ["tie", "tie"])
    judged, _ = made.comparisons
    verdicts = [Verdict(judged, made.prompts[0], "j", order, "tie", "llm") for order in ("AB", "BA")]
    write_table(to_table(Verdict, verdicts), made.run.shard(0) / "verdicts.parquet", "made")
    assert [row.comparison_id for row in days(made, "1")] == [judged]


def test_a_jurys_weights_count_by_the_names_in_its_verdicts(tmp_path):
    made = make_run(tmp_path / "run", ["tie"])
    raw = made.run.recipe()
    model = {"engine": "scripted", "model": "m"}
    jurors = [
        {"kind": "pairwise", "model": model, "name": "wise", "weight": 3.0},
        {"kind": "pairwise", "model": model, "prompt": "judge/short", "weight": 0.5},
        {"kind": "listwise", "model": {**model, "model": "n"}, "weight": 0.25},
    ]
    made.run.recipe_file.write_text(yaml.safe_dump({**raw, "judge": {"kind": "jury", "judges": jurors}}))
    assert asked_of(made.run).weights == {"wise": 3.0, "pairwise:m": 0.5, "listwise:n": 0.25}


# --- prompts as units


@pytest.mark.parametrize("kind", ["ranking", "rating"])
def test_a_prompt_is_worth_what_its_worst_comparison_is(tmp_path, kind):
    made = make_run(tmp_path / "run", ["certain", "tie", "flipped"], answers=3, task=kind, random_share=0, per_day=1)
    ledger = days(made, "1", "2", "3")
    assert [made.prompts.index(row.prompt_id) for row in ledger] == [2, 1, 0]
    assert [row.why for row in ledger] == ["flipped", "tie", "certain"]
    assert [len(row.answers) for row in ledger] == [3, 3, 3]
    assert {row.comparison_id for row in ledger} == {None}
    assert {row.dataset for row in ledger} == {f"made-{kind}-of-3"}


def answers_of(made, texts):
    prompt = made.prompts[0]
    many = [Answer(f"a{n}", prompt, SECRETS[n % 3], n, text) for n, text in enumerate(texts)]
    write_table(to_table(Answer, many), made.run.shard(0) / "answers.parquet", "made")


def test_a_ranking_shows_each_text_once_and_six_at_most(tmp_path):
    made = make_run(tmp_path / "run", ["certain"], judged=False, task="ranking")
    answers_of(made, [f"text {n // 2}" for n in range(20)])
    (row,) = days(made, "1")
    assert sorted(row.answers) == ["a0", "a10", "a12", "a16", "a2", "a6"]
    answers_of(made, ["the same", "the same"])
    assert days(made, "1") == []


def test_a_rewrite_starts_from_the_answer_that_won(tmp_path):
    kinds = ["certain", "flipped", "tie"]
    made = make_run(tmp_path / "run", kinds, task="rewrite", random_share=0)
    ledger = {made.prompts.index(row.prompt_id): row for row in days(made, "1")}
    assert {made.models[row.answers[0]] for row in ledger.values()} == {SECRETS[0]}  # it won, or nobody did: then the strong one
    verdicts = [Verdict(c, made.prompts[n], "j", o, "B", "llm") for n, c in enumerate(made.comparisons) for o in ("AB", "BA")]
    write_table(to_table(Verdict, verdicts), made.run.shard(0) / "verdicts.parquet", "made")
    assert {made.models[row.answers[0]] for row in days(made, "1")} == {SECRETS[1]}


def test_a_rewrite_begins_where_people_found_nothing_good(tmp_path):
    made = make_run(tmp_path / "run", ["flipped", "certain"], task="rewrite", random_share=0, per_day=1)
    comparison = list(made.comparisons)[1]
    write_people(made.run, People({comparison: PeopleSay(comparison, made.prompts[1], "a", "b", "both_bad", "majority", 2, 1.0)}))
    assert [(made.prompts.index(row.prompt_id), row.why) for row in days(made, "1", "2")] == [(1, "both_bad"), (0, "flipped")]


def test_without_a_judge_a_prompt_with_one_answer_can_be_rewritten(tmp_path):
    made = make_run(tmp_path / "run", ["certain"] * 3, judged=False, task="rewrite")
    answers_of(made, ["only"])
    assert [row.answers for row in days(made, "1")] == [("a0",)]


def test_another_task_of_the_same_prompts_is_asked_anew(tmp_path):
    made = make_run(tmp_path / "run", ["tie"] * 3)
    ledger = days(made, "1")
    asked = asked_of(made.run)
    object.__setattr__(asked, "settings", asked.settings.model_copy(update={"task": "rewrite"}))
    assert len(choose(asked, ledger, "2").new) == 3


# --- suggestions


def test_nothing_is_suggested_unless_the_recipe_says_so(tmp_path):
    ledger = days(make_run(tmp_path / "run", [*KINDS] * 3), "1")
    assert {(row.suggested, row.control) for row in ledger} == {(False, False)}


def test_a_share_of_what_could_have_a_suggestion_is_kept_without_one(tmp_path):
    made = make_run(tmp_path / "run", ["certain", "flipped"] * 200, suggestions=True, control_share=0.3, per_day=400, shard=100)
    ledger = days(made, "1")
    kinds = Counter((made.comparisons[row.comparison_id], row.suggested, row.control) for row in ledger)
    assert kinds["flipped", False, False] == 200
    assert 40 <= kinds["certain", False, True] <= 80
    assert kinds["certain", True, False] + kinds["certain", False, True] == 200


def test_a_ranking_that_the_judge_can_give_has_ties_where_it_ties(tmp_path):
    made = make_run(tmp_path / "run", ["certain", "flipped"], answers=3, task="ranking", suggestions=True)
    asked = asked_of(made.run)
    first, second = units_in(asked, made.run.shard(0))
    assert first.judged == ("1", "2=3")
    assert second.judged is None


# --- sentences


def test_a_recipe_that_asks_nothing_of_people_is_told_what_to_add(tmp_path):
    made = make_run(tmp_path / "run", ["tie"])
    raw = made.run.recipe()
    del raw["annotate"]
    Run(tmp_path / "other").begin(raw)
    with pytest.raises(RecipeError, match=r"annotate: \{backend: csv, task: choice, per_day: 100\}"):
        asked_of(Run(tmp_path / "other"))


@pytest.mark.parametrize(("judged", "what"), [(True, "verdicts"), (False, "answers")])
def test_a_run_that_has_nothing_to_show_yet_is_told_to_be_built(tmp_path, judged, what):
    made = make_run(tmp_path / "run", [], judged=judged)
    with pytest.raises(RunError, match=f"holds no {what} yet.*pairsmith build"):
        asked_of(made.run)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match="run folder"):
        asked_of(Run(tmp_path))


def test_every_reason_has_its_place_in_the_order():
    assert {*ORDER, "random", "adjudication"} == set(get_args(Why))
