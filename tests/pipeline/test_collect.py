"""Rows become prompts: what is read, what is dropped and counted, what stops the run, and which side a prompt is on."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.collect import collect
from pipeline.errors import InputError
from pipeline.records import Prompt, prompt_cluster, split_of
from pipeline.settings import PromptsSettings, SplitSettings
from pipeline.tables import Dropped

fixed = settings(derandomize=True, max_examples=60, deadline=None)

Turns = list[dict[str, Any]]


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def gather(path: Path, test: float = 0.1, **given: Any) -> list[Prompt | Dropped]:
    return list(collect(PromptsSettings(path=str(path), **given), SplitSettings(test=test)))


def prompts(came: Sequence[Prompt | Dropped]) -> list[Prompt]:
    return [p for p in came if isinstance(p, Prompt)]


def dropped(came: Sequence[Prompt | Dropped]) -> list[Dropped]:
    return [d for d in came if isinstance(d, Dropped)]


def one(folder: Path, row: Mapping[str, Any], **given: Any) -> Prompt:
    (prompt,) = prompts(gather(write(folder, [row]), **given))
    return prompt


def complaint(folder: Path, row: Mapping[str, Any], **given: Any) -> str:
    with pytest.raises(InputError) as refused:
        gather(write(folder, [{"prompt": "fine"}, row]), **given)
    text = str(refused.value)
    assert text.startswith("prompts.jsonl line 2: ")
    assert ";" in text
    assert "\n" not in text
    return text


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_a_text_becomes_one_user_turn(tmp_path: Path) -> None:
    prompt = one(tmp_path, {"prompt": "  Say hi\n"})
    assert prompt.messages == (user("Say hi"),)
    assert prompt.plain


def test_a_list_of_messages_stays_a_conversation(tmp_path: Path) -> None:
    turns = [system("Be brief."), user("Hi"), assistant("Hello!"), user("Say more")]
    prompt = one(tmp_path, {"prompt": [{**turn, "name": "not ours"} for turn in turns]})
    assert prompt.messages == tuple(turns)
    assert not prompt.plain


def test_a_text_and_the_same_text_as_a_message_are_one_prompt(tmp_path: Path) -> None:
    came = gather(write(tmp_path, [{"prompt": "Say hi"}, {"prompt": [user("Say hi")]}]))
    assert [d.reason for d in dropped(came)] == ["duplicate"]


@pytest.mark.parametrize("recipes", [None, "recipe's"])
@pytest.mark.parametrize("rows", [None, "", "row's"])
@pytest.mark.parametrize("own", [None, "prompt's"])
def test_the_nearest_system_prompt_counts(recipes: str | None, rows: str | None, own: str | None, tmp_path: Path) -> None:
    turns = [*([system(own)] if own else []), user("Hi")]
    prompt = one(tmp_path, {"prompt": turns, "system": rows}, system=recipes)
    wanted = own or rows or recipes
    assert prompt.messages == (*([system(wanted)] if wanted else []), user("Hi"))


def test_columns_that_mean_something_are_kept_as_text(tmp_path: Path) -> None:
    prompt = one(tmp_path, {"prompt": "2 + 2?", "id": 17, "category": "maths", "reference": 4, "language": "en"})
    assert (prompt.key, prompt.category, prompt.reference, prompt.language) == ("17", "maths", "4", "en")


def test_an_empty_field_is_no_value(tmp_path: Path) -> None:
    prompt = one(tmp_path, {"prompt": "2 + 2?", "id": "", "category": "", "reference": None, "language": ""})
    assert (prompt.key, prompt.category, prompt.reference, prompt.language) == (None, None, None, None)


def test_unknown_columns_ride_along_as_metadata_in_one_order(tmp_path: Path) -> None:
    row = {"z": [1, {"b": None}], "prompt": "Hi", "a": "ä", "id": "x"}
    turned = dict(reversed(row.items()))
    assert one(tmp_path, row).metadata == one(tmp_path, turned).metadata == '{"a":"ä","z":[1,{"b":null}]}'
    assert one(tmp_path, {"prompt": "Hi"}).metadata == "{}"


def test_metadata_takes_whatever_parquet_holds(tmp_path: Path) -> None:
    odd = {"prompt": "Hi", "when": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"\xff", "gone": float("nan")}
    pq.write_table(pa.Table.from_pylist([odd]), tmp_path / "t.parquet")
    (prompt,) = prompts(gather(tmp_path / "t.parquet"))
    assert json.loads(prompt.metadata) == {"when": "2026-01-02T00:00:00+00:00", "price": "1.50", "raw": "b'\\xff'", "gone": None}


def test_messages_come_from_parquet_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [[system("Be brief."), user("Hi")]]}), tmp_path / "t.parquet")
    (prompt,) = prompts(gather(tmp_path / "t.parquet"))
    assert prompt.messages == (system("Be brief."), user("Hi"))


def test_duplicates_are_dropped_and_named_by_their_line(tmp_path: Path) -> None:
    came = gather(write(tmp_path, [{"prompt": "a"}, {"prompt": "b"}, {"prompt": " a "}, {"prompt": "A"}]))
    assert [p.question for p in prompts(came)] == ["a", "b", "A"]
    assert dropped(came) == [Dropped("collect", "duplicate", prompts(came)[0].id, "prompts.jsonl line 3")]


def test_the_same_words_under_another_system_prompt_are_no_duplicate_and_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}", "system": s} for n in range(40) for s in ("Be brief.", "Be kind.")]
    came = prompts(gather(write(tmp_path, rows), test=0.5))
    assert len(came) == 80
    assert all(a.split == b.split for a, b in zip(came[::2], came[1::2], strict=True))


@pytest.mark.parametrize("empty", ["", "  \n", None, [user(" ")], [system("Be brief."), user("")]])
def test_an_empty_prompt_stops_the_run_or_is_dropped_by_name(empty: object, tmp_path: Path) -> None:
    text = complaint(tmp_path, {"prompt": empty})
    assert "the prompt is empty" in text
    assert "prompts.bad_rows: drop" in text
    came = gather(write(tmp_path, [{"prompt": empty}, {"prompt": "fine"}]), bad_rows="drop")
    assert [(d.reason, d.detail) for d in dropped(came)] == [("empty_prompt", "prompts.jsonl line 1")]
    assert [p.question for p in prompts(came)] == ["fine"]


BAD_PROMPTS: dict[str, tuple[object, tuple[str, ...]]] = {
    "a number": (7, ("int", "wanted a text")),
    "an object": ({"role": "user", "content": "Hi"}, ("dict", "wanted a text")),
    "no messages": ([], ("wanted", "not empty")),
    "unknown role": ([{"role": "human", "content": "Hi"}], ("human", "system, user, assistant")),
    "no role": ([{"content": "Hi"}], ("'Hi'", "system, user, assistant")),
    "no content": ([{"role": "user"}], ("'user'", "text content")),
    "content in parts": ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], ("'user'", "text content")),
    "texts in a list": (["Hi"], ("'Hi'", "role")),
    "ends with the assistant": ([user("Hi"), assistant("Hello!")], ("assistant", "ends with the user's turn")),
    "a system turn alone": ([system("Be brief.")], ("system", "ends with the user's turn")),
    "a system turn in the middle": ([user("Hi"), system("Be brief."), user("Hi")], ("system", "first")),
    "two system turns": ([system("Be brief."), system("Be kind."), user("Hi")], ("system", "first")),
}


@pytest.mark.parametrize("case", BAD_PROMPTS)
def test_a_prompt_that_cannot_be_asked_stops_the_run_in_a_sentence(case: str, tmp_path: Path) -> None:
    prompt, words = BAD_PROMPTS[case]
    text = complaint(tmp_path, {"prompt": prompt})
    assert [word for word in words if word not in text] == []


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    file = write(tmp_path, [{"prompt": "a"}, {"prompt": "b"}])
    file.write_text(file.read_text() + "this line is never reached\n")
    assert [p.question for p in prompts(gather(file, limit=2))] == ["a", "b"]
    assert len(gather(file, limit=1)) == 1


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_an_empty_table_has_no_prompts(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert gather(tmp_path / name) == []


texts = st.lists(st.sampled_from(["", " ", "a", "A", "a ", "b", "c?", "c"]), max_size=12)


@fixed
@given(texts)
def test_every_row_is_a_prompt_or_dropped_by_name(rows: list[str]) -> None:
    with TemporaryDirectory() as folder:
        came = gather(write(Path(folder), [{"prompt": text} for text in rows]), bad_rows="drop")
    distinct = {text.strip() for text in rows} - {""}
    reasons = [d.reason for d in dropped(came)]
    assert len(came) == len(rows)
    assert len(prompts(came)) == len(distinct)
    assert reasons.count("empty_prompt") == sum(not text.strip() for text in rows)


@fixed
@given(st.permutations([f"Question {n}" for n in range(8)]), st.integers(1, 8))
def test_a_prompt_never_changes_sides_whatever_else_is_in_the_table(rows: list[str], count: int) -> None:
    with TemporaryDirectory() as folder:
        came = prompts(gather(write(Path(folder), [{"prompt": text} for text in rows[:count]]), test=0.5))
    assert [p.split for p in came] == [split_of(prompt_cluster([{"role": "user", "content": text}]), 0.5) for text in rows[:count]]
