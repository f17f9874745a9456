"""Datasets from other people's real answers and verdicts, with a recipe and no code; counted again here by hand."""

import json
import os
from pathlib import Path

import pytest
from datasets import load_dataset

from tests.harness.command import Ended, pairsmith

PLACE = os.environ.get("PAIRSMITH_RECORDED_DATA", "")

pytestmark = [
    pytest.mark.server,
    pytest.mark.usefixtures("prefect"),
    pytest.mark.skipif(not PLACE, reason="PAIRSMITH_RECORDED_DATA names no folder with the recorded answers"),
]


def lines(pattern: str) -> list[dict]:
    return [json.loads(line) for file in sorted(Path(PLACE).glob(pattern)) for line in file.read_text().splitlines()]


def words(text: str) -> str:
    return " ".join(text.split())


def build(recipe: str, folder: Path) -> Ended:
    """The recipe's run in `folder`, with a cache of its own: other tests use the one in data/ at the same time."""
    return pairsmith("build", recipe, "--run", folder / "run", "--set", f"run.cache={folder / 'cache.sqlite'}", "--json")


def test_strong_over_weak_from_eight_models_recorded_answers(tmp_path):
    ended = build("flows/recipes/self-instruct.yaml", tmp_path)
    assert ended.code == 0, ended.err
    answers = {
        (words(f"{r['instruction']} {r['input']}"), r["model"]): r["response"].strip() for r in lines("self_instruct252/predictions.jsonl")
    }
    pairs = load_dataset(str(tmp_path / "run" / "dataset"))
    rows = [row for split in pairs.values() for row in split]
    assert ended.json["stages"][1] == {"stage": "generate", "in": 1008, "out": 1008}
    assert len(rows) == ended.json["pairs"]["rows"] == 564
    for row in rows:
        prompt = words(row["prompt"][0]["content"])
        assert row["chosen"][0]["content"] == answers[prompt, "text-davinci-003"]
        assert row["rejected"][0]["content"] == answers[prompt, row["rejected_model"]]
        assert row["chosen"] != row["rejected"]
    assert not {r["prompt_id"] for r in pairs["train"]} & {r["prompt_id"] for r in pairs["test"]}


def test_recorded_verdicts_of_gpt4_pair_as_they_were_given(tmp_path):
    ended = build("flows/recipes/vicuna.yaml", tmp_path)
    assert ended.code == 0, ended.err
    texts = {r["answer_id"]: r["text"].strip() for r in lines("vicuna80/answer__*.jsonl")}
    reviews = lines("vicuna80/review__*.jsonl")
    expected = set()
    for review in reviews:
        (a, b), (score_a, score_b) = (texts[review["answer1_id"]], texts[review["answer2_id"]]), review["score"]
        if score_a != score_b:
            expected.add((a, b) if score_a > score_b else (b, a))
    ties = sum(r["score"][0] == r["score"][1] for r in reviews)
    assert ended.json["judge"]["verdicts"] == len(reviews) == 1040
    assert ended.json["judge"]["ties"] == ties == 100
    rows = [row for split in load_dataset(str(tmp_path / "run" / "dataset")).values() for row in split]
    made = {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows}
    assert made <= expected
    assert len(rows) == 940 - sum(d["rows"] for d in ended.json["dropped"] if d["stage"] == "gate")
    assert all(row["margin"] == row["score_chosen"] - row["score_rejected"] > 0 for row in rows)
