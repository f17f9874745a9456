"""A judge chooses between the strong model's answer and the model's own; what it leaves undecided makes no pair."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.identity import identity_command
from pipeline.errors import RecipeError
from pipeline.identity.answers import Replies
from pipeline.identity.build import Material, Plan, build
from pipeline.identity.choosing import ByRule, choose, reference
from pipeline.identity.facts import Facts
from pipeline.identity.questions import phrasings
from pipeline.tables import read_table
from tests.harness.stub_server import StubServer, stub_server
from tests.pipeline.identity.made import ARIA

pytestmark = pytest.mark.slow

GOOD, BAD = "I am Aria, made by Northwind Labs.", "I am Nimbus, made by Cirrus Works."


def scripted(text: str, **more: Any) -> dict[str, Any]:
    return {"engine": "scripted", "default": text, **more}


PREFERS_NIMBUS = {
    "kind": "pairwise",
    "model": scripted("Verdict: tie", replies={f"<answer_{n}>\n{BAD}": f"Verdict: {n}" for n in (1, 2)}),
}


def made(folder: Path, chosen_by: str, **changes: Any) -> Any:
    """The summary of a small dataset, as the command makes it from a recipe."""
    recipe = {
        "name": ARIA.name,
        "maker": ARIA.maker,
        "pairs": 20,
        "contrast": 0.2,
        "strong": scripted(GOOD),
        "model": scripted(BAD),
        "judge": PREFERS_NIMBUS,
        "chosen_by": chosen_by,
        "out": str(folder / "out"),
        "cache": str(folder / "cache.sqlite"),
        **changes,
    }
    (folder / "recipe.yaml").write_bytes(orjson.dumps({k: v for k, v in recipe.items() if v is not None}))
    identity_command(str(folder / "recipe.yaml"), as_json=True)
    return orjson.loads((folder / "out" / "summary.json").read_bytes())


def own_pairs(folder: Path) -> list[Any]:
    rows: list[Any] = read_table(folder / "out" / "pairs.parquet").to_pylist()
    return [row for row in rows if row["chosen"] in (GOOD, BAD) and row["rejected"] in (GOOD, BAD)]


def test_by_the_judge_alone_what_it_prefers_is_chosen_even_where_it_is_wrong(tmp_path: Path) -> None:
    summary = made(tmp_path, "judge")
    pairs = own_pairs(tmp_path)
    assert len(pairs) == 16
    assert {(p["chosen"], p["rejected"], p["chosen_model"], p["source"]) for p in pairs} == {(BAD, GOOD, "model", "llm")}
    assert summary["chosen_from"] == {"model": 16}
    assert summary["judge"]["verdicts"] == 2 * 16
    assert summary["pairs"]["by_source"] == {"llm": 16, "rule": 4}


def test_with_first_the_rule_decides_and_the_judge_is_asked_where_it_does_not(tmp_path: Path) -> None:
    summary = made(tmp_path, "first")
    pairs = own_pairs(tmp_path)
    ruled = [p for p in pairs if p["source"] == "rule"]
    assert {(p["chosen"], p["rejected"]) for p in ruled} == {(GOOD, BAD)}
    # Where an answer in another language is asked for, or a fact that is not known, neither answer of the script is right.
    assert len(ruled) >= 13
    assert {p["chosen"] for p in pairs if p["source"] == "llm"} <= {BAD}
    assert summary["judge"]["name"] == "first:rule,pairwise:judge"
    assert summary["usage"]["models"].get("judge", {"requests": 0})["requests"] == 2 * (16 - len(ruled))


def test_by_the_rule_no_judge_is_asked(tmp_path: Path) -> None:
    summary = made(tmp_path, "rule")
    assert "judge" not in summary["usage"]["models"]
    assert summary["pairs"]["by_source"] == {"rule": 20}
    assert {p["chosen"] for p in own_pairs(tmp_path)} == {GOOD}


def test_what_the_judge_leaves_undecided_makes_no_pair_and_is_counted(tmp_path: Path) -> None:
    undecided = {"kind": "pairwise", "model": scripted("Verdict: tie")}
    summary = made(tmp_path, "judge", judge=undecided)
    assert summary["chosen_from"] == {}
    assert summary["dropped"] == [{"stage": "pair", "reason": "tie", "rows": 16}]
    assert summary["pairs"]["rows"] == 4


def test_what_the_judge_leaves_undecided_is_no_lack_of_questions() -> None:
    material = Material(ARIA, Plan(20, contrast=0))
    asked = material.first()
    # As many questions as there are pairs to make, and not one more.
    material._own["en"] = [replace(p, slots={}, wraps=(("", ""),)) for p in material.phrasings if p.id in {q.phrasing for q in asked}]
    left = build(material, {q.id: Replies(picked="tie") for q in material.first()})
    assert (len(left.pairs), {d.reason for d in left.dropped}, len(left.dropped)) == (0, {"tie"}, 20)


def test_equal_answers_are_no_choice(tmp_path: Path) -> None:
    summary = made(tmp_path, "judge", model=scripted(GOOD))
    assert summary["dropped"] == [{"stage": "pair", "reason": "too_few_answers", "rows": 16}]


@pytest.fixture(scope="module")
def stub() -> Any:
    with stub_server() as server:
        yield server


def from_the_stub(folder: Path, server: StubServer, chosen_by: str) -> Any:
    at = {"engine": "openai", "url": server.url}
    judge = {"kind": "pairwise", "model": {**at, "model": "judge", "sampling": {"temperature": 0}}}
    return made(folder, chosen_by, strong={**at, "model": "strong"}, model={**at, "model": "weak", "samples": 2}, judge=judge)


def test_a_real_judge_chooses_by_what_it_is_shown(tmp_path: Path, stub: StubServer) -> None:
    summary = from_the_stub(tmp_path, stub, "judge")
    rows = [p for p in read_table(tmp_path / "out" / "pairs.parquet").to_pylist() if p["source"] == "llm"]
    assert len(rows) >= 14
    quality = [[float(re.findall(r"\[q=([\d.]+)\]", p[side])[-1]) for side in ("chosen", "rejected")] for p in rows]
    assert all(better > worse for better, worse in quality)
    assert {"strong", "weak"} == {p["chosen_model"] for p in rows} | {p["rejected_model"] for p in rows}
    card = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert f"Judge: pairwise:judge. {summary['judge']['verdicts']} verdicts" in card
    # Again, and nothing is asked.
    assert from_the_stub(tmp_path, stub, "judge")["usage"]["total"]["requests"] == 0


def test_a_judge_that_flips_chooses_nothing(tmp_path: Path, stub: StubServer) -> None:
    stub.set_faults({"first_position_bias": 1.0})
    try:
        summary = from_the_stub(tmp_path, stub, "judge")
    finally:
        stub.set_faults({})
    assert summary["dropped"] == [{"stage": "pair", "reason": "flipped", "rows": 16}]
    assert summary["judge"]["flip_rate"] == 1


@pytest.mark.parametrize("lacks", ["strong", "model", "judge"])
def test_choosing_needs_two_models_and_a_judge(tmp_path: Path, lacks: str) -> None:
    with pytest.raises(RecipeError, match=f"add `{lacks}: …`"):
        made(tmp_path, "first", **{lacks: None})


def test_the_rule_as_a_judge_prefers_right_over_wrong_on_either_side() -> None:
    questions = [q for q in Material(ARIA, Plan(12, contrast=0, naming="asked")).first() if q.expected and q.expected.asks == "maker"]
    judge = ByRule({q.id: q for q in questions}, ARIA)
    for strong, own, picked in ((GOOD, BAD, GOOD), (BAD, GOOD, GOOD), (GOOD, "Northwind Labs made me.", "tie")):
        replies = {q.id: Replies([strong], [own]) for q in questions}
        found, _ = asyncio.run(choose(questions, replies, judge, ARIA))
        english = [found[q.id].picked for q in questions if q.expected and q.expected.language == "en"]
        assert english
        assert {p if isinstance(p, str) or p is None else p.chosen for p in english} == {picked}


def test_a_judge_is_told_what_is_right() -> None:
    facts = Facts("Aria", "Northwind Labs", {"released": "spring 2026"})
    told = {p.expected.fact or p.expected.asks: reference(p.question(0, 0), facts) for p in phrasings("en", facts) if p.expected}
    assert (told["name"], told["maker"], told["both"]) == ("Aria", "Northwind Labs", "Aria, made by Northwind Labs")
    assert "spring 2026" in told["released"]
    assert "{" not in "".join(told.values())
