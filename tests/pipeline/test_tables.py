"""Our own tables: records come back as they went in, and whoever finds a file finds all of it."""

from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Answer, Comparison
from pipeline.tables import SCHEMAS, content_digest, key_of, read_table, to_records, to_table, write_table

fixed = settings(derandomize=True, max_examples=40, deadline=None)

KINDS = list(SCHEMAS)

messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}), max_size=3)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        return messages.map(tuple)
    if pa.types.is_string(kind):
        return st.text(max_size=20)
    if pa.types.is_boolean(kind):
        return st.booleans()
    return st.integers(-(2**31), 2**31 - 1) if pa.types.is_integer(kind) else st.floats(allow_nan=False)


def records(kind: Any) -> st.SearchStrategy[list[Any]]:
    columns = {f.name: st.none() | values(f.type) if f.nullable else values(f.type) for f in SCHEMAS[kind]}
    return st.lists(st.builds(kind, **columns), max_size=5)


@pytest.mark.parametrize("kind", KINDS)
@fixed
@given(data=st.data())
def test_records_come_back_from_a_table_as_they_went_in(kind: Any, data: st.DataObject) -> None:
    rows = data.draw(records(kind))
    assert to_records(kind, to_table(kind, rows)) == rows


@pytest.mark.parametrize("kind", KINDS)
@settings(fixed, max_examples=10)
@given(data=st.data())
def test_records_come_back_from_a_file_as_they_went_in(kind: Any, data: st.DataObject) -> None:
    rows, key = data.draw(records(kind)), data.draw(st.text(min_size=1))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "t.parquet"
        write_table(to_table(kind, rows), path, key)
        assert to_records(kind, read_table(path)) == rows
        assert key_of(path) == key


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_has_the_columns_of_its_records_in_their_order(kind: Any) -> None:
    # Rows are built by position: a field in another place would fill the wrong column.
    hints = get_type_hints(kind)
    nullable = {f.name: NoneType in get_args(hints[f.name]) for f in fields(kind)}
    assert {f.name: f.nullable for f in SCHEMAS[kind]} == nullable
    assert SCHEMAS[kind].names == [f.name for f in fields(kind)]


ROWS = [Answer(f"a{n}", "p", "m", n, "some text " * n) for n in range(40)]


def test_a_file_that_ends_anywhere_too_early_is_no_table(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    write_table(to_table(Answer, ROWS), whole, "key")
    raw = whole.read_bytes()
    cut = tmp_path / "cut.parquet"
    found = set()
    for length in [*range(0, len(raw), 41), len(raw) - 1]:
        cut.write_bytes(raw[:length])
        found.add(key_of(cut))
    assert found == {None}
    assert key_of(whole) == "key"


def test_what_is_no_table_of_ours_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("hello")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "theirs.parquet")
    names = ("missing.parquet", "no/such/folder.parquet", "text.parquet", "theirs.parquet", ".")
    assert [key_of(tmp_path / name) for name in names] == [None] * len(names)


def test_a_write_that_fails_leaves_the_former_table_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(to_table(Answer, ROWS), path, "before")
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(pa.ArrowNotImplementedError):  # Parquet has no unions
        write_table(pa.table({"a": union}), path, "after")
    assert key_of(path) == "before"
    assert to_records(Answer, read_table(path)) == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    taken = tmp_path / "t.parquet"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_table(to_table(Answer, ROWS), taken, "key")
    assert list(tmp_path.iterdir()) == [taken]


def test_a_table_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for count, key in ((3, "three"), (1, "one"), (0, "none")):
        write_table(to_table(Answer, ROWS[:count]), path, key)
        assert (len(read_table(path)), key_of(path)) == (count, key)
    assert list(tmp_path.iterdir()) == [path]


def test_some_columns_can_be_read_alone(tmp_path: Path) -> None:
    write_table(to_table(Comparison, [Comparison.of("p", "a", "b")]), tmp_path / "t.parquet", "k")
    assert read_table(tmp_path / "t.parquet", ["b", "a"]).to_pydict() == {"a": ["a"], "b": ["b"]}


def test_a_content_digest_follows_the_rows_and_nothing_else(tmp_path: Path) -> None:
    def digest(name: str, rows: list[Answer], key: str = "k", **layout: Any) -> str:
        path = tmp_path / name
        write_table(to_table(Answer, rows), path, key)
        if layout:
            pq.write_table(pq.read_table(path), path, **layout)
        return content_digest(path)

    same = {digest("a", ROWS), digest("b", ROWS, "other key"), digest("c", ROWS, row_group_size=7, compression="none")}
    assert len(same) == 1
    others = {digest("d", ROWS[:-1]), digest("e", ROWS[::-1]), digest("f", []), digest("g", [*ROWS, ROWS[0]])}
    assert len(others | same) == 5
