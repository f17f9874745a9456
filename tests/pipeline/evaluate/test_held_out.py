"""No prompt of an evaluation was trained on."""

import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.held_out import never_trained_on, write_held_out
from pipeline.records import prompt_cluster
from pipeline.settings import PromptsSettings
from tests.pipeline.evaluate.made import lines


def read(table):
    return [json.loads(line) for line in Path(table.path).read_text().splitlines()]


def clusters(*texts):
    return {prompt_cluster([{"role": "user", "content": t}]) for t in texts}


def test_prompts_that_were_trained_on_are_left_out_whatever_their_case_and_punctuation(tmp_path):
    given = lines(tmp_path / "given.jsonl", [{"prompt": p} for p in ("Who are you?", "who are you", "What is 2 + 2?")])
    table, left_out = never_trained_on(PromptsSettings(path=str(given)), clusters("WHO ARE YOU!"), tmp_path / "kept.jsonl")
    assert left_out == 2
    assert [row["prompt"][-1]["content"] for row in read(table)] == ["What is 2 + 2?"]


def test_a_system_message_makes_no_trained_prompt_unseen(tmp_path):
    given = lines(tmp_path / "given.jsonl", [{"prompt": "Who are you?", "system": "Be brief."}, {"prompt": "new"}])
    _, left_out = never_trained_on(PromptsSettings(path=str(given)), clusters("Who are you?"), tmp_path / "kept.jsonl")
    assert left_out == 1


def test_what_judges_and_rules_need_of_a_row_comes_along(tmp_path):
    row = {"prompt": "2 + 2?", "reference": "4", "category": "maths", "id": "q1", "pattern": "4|four"}
    given = lines(tmp_path / "given.jsonl", [row])
    table, _ = never_trained_on(PromptsSettings(path=str(given)), set(), tmp_path / "kept.jsonl")
    [kept] = read(table)
    assert {k: v for k, v in kept.items() if k != "prompt"} == {k: v for k, v in row.items() if k != "prompt"}


def test_a_table_that_was_all_trained_on_is_refused(tmp_path):
    given = lines(tmp_path / "given.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    with pytest.raises(InputError, match=r"all 2 prompts of .* were trained on"):
        never_trained_on(PromptsSettings(path=str(given)), clusters("a", "b"), tmp_path / "kept.jsonl")


def test_a_training_that_held_nothing_out_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"held no prompts out .*evaluate\.prompts"):
        write_held_out([], tmp_path / "p.jsonl", "none")


def test_each_held_out_prompt_is_asked_once_however_many_pairs_it_has(tmp_path):
    turns = [{"role": "user", "content": "a"}]
    assert len(read(write_held_out([turns, turns, "b"], tmp_path / "p.jsonl", ""))) == 2
