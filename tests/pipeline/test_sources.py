"""Tables from outside: every format gives the same rows, and every complaint names the place and what to do."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ROOT
from pipeline.errors import InputError
from pipeline.settings import TableSettings
from pipeline.sources import Row, fingerprint, read_rows

fixed = settings(derandomize=True, max_examples=40, deadline=None)

Lines = Sequence[Mapping[str, Any]]


def read(path: Path | str, *, needed: Sequence[str] = ("prompt",), understood: Sequence[str] = ("id",), **table: Any) -> list[Row]:
    return list(read_rows(TableSettings(path=str(path), **table), needed=needed, understood=understood))


def complaint(path: Path | str, **table: Any) -> str:
    """The sentence with which a table is refused: one line, in which what is wrong and what to do are parted by `;`."""
    with pytest.raises(InputError) as refused:
        read(path, **table)
    text = str(refused.value)
    assert ";" in text
    assert "\n" not in text
    return text


def write_jsonl(path: Path, rows: Lines) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def write_csv(path: Path, rows: Lines) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Lines) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_saved(path: Path, rows: Lines) -> Path:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list([dict(row) for row in rows]).save_to_disk(path)
    return path


def write_saved_splits(path: Path, rows: Lines) -> Path:
    import datasets

    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_list([dict(row) for row in rows])
    datasets.DatasetDict({"test": whole.select([0]), "train": whole}).save_to_disk(path)
    return path


def write_folder(path: Path, rows: Lines) -> Path:
    (path / "data").mkdir(parents=True)
    write_parquet(path / "data" / "train-00000-of-00001.parquet", rows)
    return path


FORMATS: dict[str, Callable[[Path, Lines], Path]] = {
    "t.jsonl": write_jsonl,
    "t.ndjson": write_jsonl,
    "T.JSONL": write_jsonl,
    "t.csv": write_csv,
    "t.parquet": write_parquet,
    "saved": write_saved,
    "saved_splits": write_saved_splits,
    "folder": write_folder,
}

ROWS = [{"id": "1", "prompt": "Say hi", "mood": "kind"}, {"id": "2", "prompt": "Sagʼ „hallo“ 🙂,\n\nzweimal", "mood": "grim"}]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.slow
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = read(FORMATS[name](tmp_path / name, ROWS))
    assert [row.values for row in rows] == [{"id": r["id"], "prompt": r["prompt"]} for r in ROWS]
    assert [row.rest for row in rows] == [{"mood": "kind"}, {"mood": "grim"}]


@pytest.mark.parametrize("write", [write_jsonl, write_csv, write_parquet])
@fixed
@given(texts=st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_survives_any_file(write: Callable[[Path, Lines], Path], texts: list[str]) -> None:
    suffix = write.__name__.removeprefix("write_")
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / f"t.{suffix}", [{"id": "x", "prompt": text} for text in texts])
        assert [row.values["prompt"] for row in read(path)] == texts


def test_a_field_may_be_very_long(tmp_path: Path) -> None:
    text = "word " * 1_000_000
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        (row,) = read(FORMATS[name](tmp_path / name, [{"prompt": text}]))
        assert row.values["prompt"] == text


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    file = tmp_path / "excel.csv"
    file.write_text('prompt,id\r\n"Say ""hi""\nor bye",7\r\n', encoding="utf-8-sig")
    (row,) = read(file)
    assert row.values == {"prompt": 'Say "hi"\nor bye', "id": "7"}


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('\n{"prompt": "a"}\n   \n{"prompt": "b"}\n\n')
    (tmp_path / "t.csv").write_text("prompt\na\n\nb\n")
    assert [r.place for r in read(tmp_path / "t.jsonl")] == ["t.jsonl line 2", "t.jsonl line 4"]
    assert [r.values["prompt"] for r in read(tmp_path / "t.csv")] == ["a", "b"]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_an_empty_table_has_no_rows(name: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("prompt,id\n")
    (tmp_path / "t.jsonl").write_bytes(b"")
    assert read(tmp_path / name) == []


def test_a_pattern_reads_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.csv"):
        FORMATS[f"t{name[1:]}"](tmp_path / name, [{"prompt": name}])
    (tmp_path / "notes.txt").write_text("not a table")
    assert [r.values["prompt"] for r in read(tmp_path / "[abc].*")] == ["a.jsonl", "b.jsonl", "c.csv"]


def test_a_file_whose_name_looks_like_a_pattern_is_read_as_a_file(tmp_path: Path) -> None:
    assert len(read(write_jsonl(tmp_path / "part[1].jsonl", ROWS))) == 2


def test_paths_count_from_where_the_user_stands_and_then_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = ROOT / "data" / "seeds" / "prompts.jsonl"
    assert len(read("data/seeds/prompts.jsonl")) == len(ours.read_text().splitlines())
    (tmp_path / "data" / "seeds").mkdir(parents=True)
    write_jsonl(tmp_path / "data" / "seeds" / "prompts.jsonl", ROWS)
    assert len(read("data/seeds/prompts.jsonl")) == len(ROWS)


def test_the_split_of_a_saved_dataset_can_be_chosen(tmp_path: Path) -> None:
    saved = write_saved_splits(tmp_path / "saved", ROWS)
    assert len(read(saved, hub_split="test")) == 1
    assert "validation" in complaint(saved, hub_split="validation")


def test_columns_are_renamed_and_the_rest_rides_along(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "t.jsonl", [{"instruction": "Add 2 and 2", "key": 7, "level": "easy", "prompt": "theirs"}])
    (row,) = read(file, columns={"prompt": "instruction", "id": "key"})
    assert row == Row("t.jsonl line 1", {"prompt": "Add 2 and 2", "id": 7}, {"level": "easy", "prompt": "theirs"})


@pytest.mark.parametrize(
    ("expression", "row", "found"),
    [
        ("join('\n\n', [instruction, input])", {"instruction": "Translate", "input": "chat"}, "Translate\n\nchat"),
        ("score[0]", {"score": [8.5, 3]}, 8.5),
        ("score[1]", {"score": [8.5]}, None),
        ("turns[-1].content", {"turns": [{"content": "a"}, {"content": "b"}]}, "b"),
        ("instances[0].output", {"instances": [{"output": "x"}]}, "x"),
        ("given name", {"given name": "a column, not an expression"}, "a column, not an expression"),
    ],
)
def test_a_column_may_be_looked_up_by_an_expression(expression: str, row: dict[str, Any], found: object, tmp_path: Path) -> None:
    (read_row,) = read(write_jsonl(tmp_path / "t.jsonl", [row]), columns={"prompt": expression})
    assert read_row.values["prompt"] == found


@pytest.mark.parametrize("column", ["user.text", "What do you ask?", "score[0]"])
def test_a_column_that_is_there_is_meant_before_any_expression(column: str, tmp_path: Path) -> None:
    (row,) = read(write_jsonl(tmp_path / "t.jsonl", [{column: "Say hi"}]), columns={"prompt": column})
    assert row.values["prompt"] == "Say hi"


def test_an_expression_that_does_not_fit_a_row_is_named_with_the_row(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "t.jsonl", [{"instruction": "a", "input": "b"}, {"instruction": "a", "input": None}])
    text = complaint(file, columns={"prompt": "join(' ', [instruction, input])"})
    assert "t.jsonl line 2" in text
    assert "join(' ', [instruction, input])" in text


@pytest.mark.parametrize("expression", ["join(' ', [instruction", "nosuch(instruction)", "a ||"])
def test_a_text_that_is_no_expression_is_refused_in_a_sentence(expression: str, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "t.jsonl", [{"instruction": "a"}])
    text = complaint(file, columns={"prompt": expression})
    assert f"'{expression}'" in text


def test_a_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    text = complaint(write_jsonl(tmp_path / "t.jsonl", [{"promt": "hi", "x": 1}]))
    assert "t.jsonl line 1" in text
    assert "no column 'prompt'" in text
    assert "did you mean 'promt'" in text
    assert "columns: {prompt: …}" in text


def test_a_rename_of_a_missing_column_names_both(tmp_path: Path) -> None:
    text = complaint(write_jsonl(tmp_path / "t.jsonl", [{"instruction": "hi"}]), columns={"prompt": "instructions"})
    assert "no column 'instructions' (for 'prompt')" in text
    assert "did you mean 'instruction'" in text


def test_a_rename_of_an_unknown_column_of_ours_is_refused(tmp_path: Path) -> None:
    text = complaint(write_jsonl(tmp_path / "t.jsonl", ROWS), columns={"promt": "prompt"})
    assert "'promt' is no column of this table" in text
    assert "did you mean 'prompt'" in text


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    # Read as a mapping the first would vanish without a word.
    (tmp_path / "t.csv").write_text("prompt,prompt\na,b\n")
    assert "prompt" in complaint(tmp_path / "t.csv")


GARBAGE = b"PAR1 this is no Parquet file at all"

BAD_FILES: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "broken line": ("t.jsonl", b'{"prompt": "a"}\n\n{"prompt": \n', ("t.jsonl line 3", "not JSON", '{"prompt":', "mend or remove")),
    "JSON, not JSONL": ("t.jsonl", b'[\n {"prompt": "a"}\n]\n', ("t.jsonl line 1", "not JSON", "'['", "mend or remove")),
    "no object": ("t.jsonl", b'{"prompt": "a"}\n["b"]\n', ("t.jsonl line 2", "list", "object", "mend or remove")),
    "a number": ("t.jsonl", b"3\n", ("t.jsonl line 1", "int", "object")),
    "latin-1 JSON": ("t.jsonl", '{"prompt": "café"}\n'.encode("latin-1"), ("t.jsonl line 1", "UTF-8")),
    "too few fields": ("t.csv", b"prompt,id\na,1\nb\n", ("t.csv line 3", "number of fields", "2", "mend the line")),
    "too many fields": ("t.csv", b"prompt,id\na,1,2\n", ("t.csv line 2", "number of fields", "2", "mend the line")),
    "open quote": ("t.csv", b'prompt,id\n"a,1\n', ("t.csv", "not a CSV file", "mend it")),
    "latin-1 CSV": ("t.csv", "prompt\ncafé\n".encode("latin-1"), ("t.csv", "UTF-8", "mend it")),
    "no Parquet": ("t.parquet", GARBAGE, ("t.parquet", "not a Parquet file", "mend the path")),
    "empty Parquet": ("t.parquet", b"", ("t.parquet", "not a Parquet file", "mend the path")),
    "unknown type": ("t.xlsx", b"PK", ("t.xlsx", "'.xlsx'", ".csv", ".jsonl", ".parquet", "wanted")),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_a_sentence_with_its_place(case: str, tmp_path: Path) -> None:
    name, content, words = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    text = complaint(tmp_path / name)
    assert [word for word in words if word not in text] == []


def test_parquet_with_damaged_pages_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": [f"{n} " * 40 for n in range(2000)]}), file, compression="none", use_dictionary=False)
    raw = bytearray(file.read_bytes())
    raw[100:20_000] = bytes(19_900)
    file.write_bytes(raw)
    assert "t.parquet" in complaint(file)


def test_parquet_with_text_that_is_not_utf8_is_refused_in_a_sentence(tmp_path: Path) -> None:
    ends = pa.array([0, 2], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"prompt": broken}), tmp_path / "t.parquet")
    assert "t.parquet" in complaint(tmp_path / "t.parquet")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "no.jsonl") in complaint(tmp_path / "no.jsonl")
    assert str(tmp_path / "no*.jsonl") in complaint(tmp_path / "no*.jsonl")
    assert "no.jsonl" in complaint("no.jsonl")


def test_a_folder_without_data_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert str(tmp_path) in complaint(tmp_path)


def test_a_folder_with_a_broken_line_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    assert str(tmp_path) in complaint(tmp_path)


def test_a_fingerprint_follows_content_and_columns_and_nothing_else(tmp_path: Path) -> None:
    one, same = write_jsonl(tmp_path / "a.jsonl", ROWS), write_jsonl(tmp_path / "b.jsonl", ROWS)
    other = write_jsonl(tmp_path / "c.jsonl", ROWS[:1])
    folder = write_folder(tmp_path / "folder", ROWS)

    def of(path: Path, **table: Any) -> str:
        return fingerprint(TableSettings(path=str(path), **table))

    before = of(folder)
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", ROWS[:1])
    assert of(one) == of(same)
    assert len({of(one), of(other), of(one, columns={"prompt": "id"}), of(folder), before}) == 5


def test_a_dataset_folder_with_an_empty_file_is_one_sentence(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "train.jsonl").write_text("")
    with pytest.raises(InputError, match="a file in it is empty"):
        list(read_rows(TableSettings(path=str(tmp_path / "set")), needed=(), understood=("prompt",)))
