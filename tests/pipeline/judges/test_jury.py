"""The jury: every juror's verdicts stand under its own name, the weight of the majority decides, and disagreement is a number."""

import asyncio
from itertools import combinations, product

import pytest

from flows.recipe import run_of
from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.judge import resolve
from pipeline.judges import make_judge
from pipeline.model import Model
from pipeline.recipe import load_recipe
from pipeline.records import Comparison, Verdict
from pipeline.report import figures_of, markdown, usage_of
from pipeline.session import Session
from pipeline.settings import digest, judge_models
from pipeline.stages import collect_shards, run_stage
from pipeline.tables import read_table
from tests.harness.command import write_recipe
from tests.harness.judging import SCRIPTED, compare_fairly, judge_answers, quality, shown
from tests.harness.shards import answer, prompt, verdict
from tests.harness.stub_server import stub_server


def juror(model, **fields):
    return {"kind": "pairwise", "model": {**SCRIPTED, "model": model}, **fields}


def jury(*jurors):
    return {"kind": "jury", "judges": list(jurors)}


def for_text(wanted):
    return lambda r: f"Verdict: {[wanted in text for text in shown(r)].index(True) + 1}"


def test_every_juror_is_heard_in_its_own_way_under_its_own_name():
    rubric = {"kind": "rubric", "name": "strict", "model": {**SCRIPTED, "sampling": {"temperature": 0}}, "criteria": {"good": ""}}
    raw = jury(juror("small"), juror("other", name="again"), rubric)
    say = {"judge.1": compare_fairly, "judge.again": for_text("q=1"), "judge.strict": lambda r: f"good: {quality(shown(r)[0]):g}"}
    judged = judge_answers(raw, say, ["q=1", "q=2", "q=3"], pairs=[(0, 1), (2, 0)])
    assert [(v.judge, v.order, v.choice) for v in judged.verdicts[:5]] == [
        ("pairwise:small", "AB", "B"),
        ("pairwise:small", "BA", "B"),
        ("again", "AB", "A"),
        ("again", "BA", "A"),
        ("strict", None, "B"),
    ]
    assert len({v.comparison_id for v in judged.verdicts[:5]}) == 1 == len({v.comparison_id for v in judged.verdicts[5:]})
    assert sorted(judged.budget.usage) == ["judge.1", "judge.again", "judge.strict"]
    assert {name: used.requests for name, used in judged.budget.usage.items()} == {"judge.1": 4, "judge.again": 4, "judge.strict": 3}


def voted(*votes: tuple[str, str], **weights):
    return resolve([verdict("c", choice, order, judge=j) for j, choice in votes for order in ("AB", "BA")], weights=weights or None)


def test_the_majority_of_the_weight_decides():
    votes = [("x", "A"), ("y", "B"), ("z", "B")]
    assert voted(*votes, x=1, y=1, z=1).result == "B"
    assert voted(*votes, x=0.9, y=0.4, z=0.4).result == "A"
    assert voted(*votes, x=0.8, y=0.4, z=0.4).result == "tie"
    assert voted(*votes, x=1, y=0, z=0).result == "A"


@pytest.mark.parametrize("choices", list(product(("A", "B", "tie", "invalid"), repeat=3)))
def test_swapping_the_sides_swaps_the_jury(choices):
    swap = {"A": "B", "B": "A"}
    weights = {"0": 0.5, "1": 0.7, "2": 0.6}
    one = voted(*((str(i), c) for i, c in enumerate(choices)), **weights)
    other = voted(*((str(i), swap.get(c, c)) for i, c in enumerate(choices)), **weights)
    assert other.result == swap.get(one.result, one.result)
    assert (other.score_a, other.score_b) == (pytest.approx(one.score_b), pytest.approx(one.score_a))
    assert other.disagreement == one.disagreement


def test_disagreement_is_the_weight_that_is_not_with_the_most_of_it():
    assert voted(("x", "A"), ("y", "A"), ("z", "A")).disagreement == 0
    assert voted(("x", "A"), ("y", "B"), ("z", "A")).disagreement == pytest.approx(1 / 3)
    assert voted(("x", "A"), ("y", "B"), ("z", "tie")).disagreement == pytest.approx(2 / 3)
    assert voted(("x", "A"), ("y", "B"), x=3, y=1).disagreement == 0.25
    assert voted(("x", "A"), ("y", "invalid")).disagreement is None
    assert voted(("x", "A")).disagreement is None


def test_the_scores_of_a_jury_are_its_votes_since_jurors_score_on_scales_of_their_own():
    given = [verdict("c", "A", judge="x", source="human", a=5.0, b=1.0), verdict("c", "B", judge="y", source="human", a=0.1, b=90.0)]
    alone, weighed = resolve(given[:1], weights={"x": 3, "y": 1}), resolve(given, weights={"x": 3, "y": 1})
    assert (alone.score_a, alone.score_b) == (5.0, 1.0)
    assert (weighed.result, weighed.score_a, weighed.score_b) == ("A", 0.75, 0.25)


def test_jurors_that_all_flip_have_flipped():
    given = [verdict("c", choice, order, judge=j) for j in "xy" for order, choice in (("AB", "A"), ("BA", "B"))]
    assert resolve(given).result == "flipped"


def test_a_recipe_with_a_jury_is_judged_weighed_and_reported(tmp_path):
    # Two jurors of weight 1 are for whoever is called strong, one of weight 3 always for the first: it flips.
    fair = {"engine": "scripted", "structured": False, "replies": {"<answer_1>\na good": "Verdict: 1", "<answer_2>\na good": "Verdict: 2"}}
    first = {"engine": "scripted", "structured": False, "model": "biased", "default": "Verdict: 1"}
    judge = jury(
        {"kind": "pairwise", "model": {**fair, "model": "x"}},
        {"kind": "pairwise", "name": "second", "model": {**fair, "model": "y"}},
        {"kind": "pairwise", "name": "biased", "model": first, "weight": 1.5},
    )
    figures, verdicts, pairs, usage = built(tmp_path, judge)
    assert {v["judge"] for v in verdicts} == {"pairwise:x", "second", "biased"}
    assert [(p["source"], p["margin"]) for p in pairs] == [("llm", pytest.approx(2 / 3.5))] * 8
    assert figures["judge"]["disagreement"] == pytest.approx(1.5 / 3.5)
    assert (figures["judge"]["disagreed"], figures["judge"]["both_orders"], figures["judge"]["flipped"]) == (8, 24, 8)
    assert {name: usage[name].requests for name in ("judge.1", "judge.second", "judge.biased")} == {
        "judge.1": 16, "judge.second": 16, "judge.biased": 16,
    }  # fmt: skip
    assert "- Several judges: not of one mind on 8; in the mean 42.9% of their weight" in markdown(figures, usage_of(Budget()), False)
    heavy = {**judge, "judges": [*judge["judges"][:2], {**judge["judges"][2], "weight": 3}]}
    figures, _, pairs, usage = built(tmp_path, heavy)
    assert pairs == []
    assert sum(used.requests for used in usage.values()) == 0  # another weight asks nothing again


def built(folder, judge):
    """The figures, verdicts, pairs and usage of a run with this judge; all runs of a folder share their replies."""
    own = {"folder": str(folder / digest(judge)), "cache": str(folder / "replies.sqlite")}
    raw = load_recipe(write_recipe(folder, judge=judge, run=own))
    run = run_of(raw, None)
    run.begin(raw)
    with Session(run) as session:
        assert collect_shards(session) == 1
        for stage in ("answers", "verdicts", "pairs"):
            run_stage(session, stage, 0)
        tables = [read_table(run.shard(0) / f"{t}.parquet").to_pylist() for t in ("verdicts", "pairs")]
        return figures_of(session), *tables, session.budget.usage


def test_a_rubric_run_pairs_by_its_scores_without_an_order(tmp_path):
    model = {"engine": "scripted", "structured": False, "replies": {"a good answer": "good: 5"}, "default": "good: 2"}
    figures, verdicts, pairs, _ = built(tmp_path, {"kind": "rubric", "model": model, "criteria": {"good": ""}})
    assert {v["order"] for v in verdicts} == {None}
    assert [p["margin"] for p in pairs] == [3.0] * 8
    assert figures["judge"]["mean_scores"] == {"rubric:judge": 3.5}
    assert (figures["judge"]["both_orders"], figures["judge"]["first_position_share"]) == (0, None)


def test_a_verdict_of_a_jury_is_like_any_other():
    (first, *_) = judge_answers(jury(juror("x"), juror("y")), compare_fairly, ["q=1", "q=2"]).verdicts
    assert isinstance(first, Verdict)
    assert first.prompt_sha


@pytest.mark.slow
def test_jurors_on_a_server_that_fails_now_and_then_are_all_heard(tmp_path):
    # What one juror does not say is no vote against: it is invalid under that juror's name, and the others decide.
    with stub_server(faults={"unreadable_verdict": 0.3}) as server:
        model = {"engine": "openai", "model": "judge", "url": server.url}
        raw = jury(
            {"kind": "pairwise", "model": model, "name": "brief", "reason": False, "attempts": 1},
            {"kind": "pairwise", "model": {**model, "structured": False}, "name": "plain", "attempts": 2},
            {"kind": "pairwise", "model": {**model, "sampling": {"temperature": 0}}, "name": "cold", "attempts": 20},
        )
        verdicts = with_judge(raw, [f"Answer {n} [q=0.{n}0]" for n in range(1, 7)], tmp_path / "replies.sqlite")
    by_judge: dict[str, list[Verdict]] = {}
    for v in verdicts:
        by_judge.setdefault(v.judge, []).append(v)
    assert {name: len(of) for name, of in by_judge.items()} == {"brief": 30, "plain": 30, "cold": 30}
    assert {v.choice for v in by_judge["cold"]} == {"B"}
    assert {v.choice for v in by_judge["brief"]} == {"B", "invalid"}
    outcomes = [resolve([v for v in verdicts if v.comparison_id == c]) for c in {v.comparison_id for v in verdicts}]
    assert {o.result for o in outcomes} == {"B"}
    assert {o.disagreement for o in outcomes} <= {0, None}


def with_judge(raw, texts, cache):
    """The verdicts on all pairs of these texts, by models that are asked for real."""
    question = prompt("Which?")
    answers = [answer(question, str(n), text) for n, text in enumerate(texts)]
    comparisons = [Comparison.of(question.id, a.id, b.id) for a, b in combinations(answers, 2)]

    async def run():
        with ReplyCache(cache) as replies:
            models = {name: Model(name, settings, replies, Budget()) for name, settings in judge_models(raw).items()}
            try:
                return await make_judge(raw, models).judge(question, {a.id: a for a in answers}, comparisons)
            finally:
                for model in models.values():
                    await model.close()

    return asyncio.run(run())
