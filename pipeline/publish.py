"""Publish: pairs become a dataset folder that `datasets.load_dataset(folder)` reads and TRL trains on without renaming.

Three forms of the same data, as three configurations of the folder: `default` (prompt, chosen, rejected), `kto` (prompt,
completion, label) and `sft` (messages). The folder is made beside its place and moved there whole.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.card import FOLDERS, write_card
from pipeline.errors import InputError
from pipeline.records import Pair, Split
from pipeline.runs import explained
from pipeline.settings import Anything, PublishSettings
from pipeline.tables import read_table, to_records

SPLITS: tuple[Split, ...] = ("train", "test")

_TURNS = pa.list_(pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)]))

_EXTRA = ("prompt_id", "chosen_model", "rejected_model", "score_chosen", "score_rejected", "margin", "source", "category")

Row = dict[str, Any]


def publish(pair_files: Sequence[Path], folder: Path, settings: PublishSettings, name: str, figures: Anything) -> dict[str, Any]:
    """Write the dataset of these pair tables to `folder`, replacing the one that is there; rows by configuration and split.

    `figures` are the run's, for the dataset card. Raises InputError where the prompts do not fit the form asked for.
    """
    making, old = folder.with_name(f".{folder.name}.making"), folder.with_name(f".{folder.name}.old")
    with explained(folder):
        recover(folder)
        making.mkdir(parents=True)
        rows = {config: _write_config(config, pair_files, making, settings) for config in _FORMS}
        write_card(making, settings, name, rows, figures)
        if folder.exists():
            folder.rename(old)
        making.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return rows


def recover(folder: Path) -> None:
    """Clear what an interrupted publication left: a half-made folder goes, and the former one returns to its place."""
    making, old = folder.with_name(f".{folder.name}.making"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(making, ignore_errors=True)
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_config(config: str, pair_files: Sequence[Path], folder: Path, settings: PublishSettings) -> dict[str, int]:
    plain = settings.form == "plain"
    schema = _schema(config, plain)
    rows = {split: _Writer(folder / FOLDERS[config], split, schema, settings.rows_per_file) for split in SPLITS}
    for form in _FORMS[config]:
        for file in pair_files:
            pairs = to_records(Pair, read_table(file))
            for split in SPLITS:
                rows[split].add(form([p for p in pairs if p.split == split], plain))
    return {split: writer.finish() for split, writer in rows.items()}


_ROW_GROUP = 1000
"""Rows written at once. Fixed, so that the files do not show how the run was cut into shards."""


class _Writer:
    """The files of one split: written under numbers, named `train-00000-of-00003` when their count is known."""

    def __init__(self, place: Path, split: str, schema: pa.Schema, rows_per_file: int) -> None:
        self._place, self._split, self._schema, self._limit = place, split, schema, rows_per_file
        self._files: list[Path] = []
        self._open: pq.ParquetWriter | None = None
        self._waiting: list[Row] = []
        self._in_file = 0
        self._rows = 0

    def add(self, rows: Iterable[Row]) -> None:
        self._waiting.extend(rows)
        while len(self._waiting) >= self._next_group():
            self._write(self._next_group())

    def finish(self) -> int:
        """Write what waits, name the files; the number of rows."""
        self._write(len(self._waiting))
        self._close()
        for number, file in enumerate(self._files):
            file.rename(self._place / f"{self._split}-{number:05d}-of-{len(self._files):05d}.parquet")
        return self._rows

    def _next_group(self) -> int:
        return min(_ROW_GROUP, self._limit - self._in_file)

    def _write(self, count: int) -> None:
        if not count:
            return
        if self._open is None:
            self._place.mkdir(parents=True, exist_ok=True)
            self._files.append(self._place / f"{self._split}-{len(self._files):05d}.part")
            self._open = pq.ParquetWriter(self._files[-1], self._schema, compression="zstd")
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        self._open.write_table(pa.Table.from_pylist(now, schema=self._schema))
        self._in_file += count
        self._rows += count
        if self._in_file == self._limit:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._in_file = None, 0


def _preference(pairs: Sequence[Pair], plain: bool) -> Iterator[Row]:
    for pair in pairs:
        prompt = _prompt(pair, plain)
        row = {"prompt": prompt, "chosen": _answer(pair.chosen, plain), "rejected": _answer(pair.rejected, plain)}
        yield {**row, **{name: getattr(pair, name) for name in _EXTRA}}


def _unpaired(pairs: Sequence[Pair], plain: bool, wanted: bool) -> Iterator[Row]:
    for pair, text, label in _labelled(pairs):
        if label != wanted:
            continue
        row = {"prompt": _prompt(pair, plain), "completion": _answer(text, plain), "label": label}
        yield {**row, "prompt_id": pair.prompt_id, "model": pair.chosen_model if label else pair.rejected_model, "category": pair.category}


def _demonstrations(pairs: Sequence[Pair], plain: bool) -> Iterator[Row]:
    for pair, text, label in _labelled(pairs):
        if label:
            turns = [*pair.prompt, {"role": "assistant", "content": text}]
            yield {"messages": turns, "prompt_id": pair.prompt_id, "model": pair.chosen_model, "category": pair.category}


def _labelled(pairs: Iterable[Pair]) -> Iterator[tuple[Pair, str, bool]]:
    """Every answer once, with its label. One that is chosen in one pair and rejected in another is neither good nor bad."""
    labels: dict[tuple[str, str], set[bool]] = {}
    pairs = list(pairs)
    for pair in pairs:
        for text, label in ((pair.chosen, True), (pair.rejected, False)):
            labels.setdefault((pair.prompt_id, text), set()).add(label)
    for pair in pairs:
        for text, label in ((pair.chosen, True), (pair.rejected, False)):
            if labels.pop((pair.prompt_id, text), None) == {label}:
                yield pair, text, label


def _prompt(pair: Pair, plain: bool) -> Any:
    if not plain:
        return list(pair.prompt)
    if len(pair.prompt) != 1:
        raise InputError(
            f"prompt {pair.prompt_id} has {len(pair.prompt)} messages, and publish.form is plain, which holds one text; "
            "set publish.form: conversational"
        )
    return pair.prompt[0]["content"]


def _answer(text: str, plain: bool) -> Any:
    return text if plain else [{"role": "assistant", "content": text}]


def _schema(config: str, plain: bool) -> pa.Schema:
    text = pa.string() if plain else _TURNS
    kinds: dict[str, pa.DataType] = {
        **dict.fromkeys(("prompt", "chosen", "rejected", "completion"), text),
        **dict.fromkeys(("score_chosen", "score_rejected", "margin"), pa.float64()),
        "messages": _TURNS,
        "label": pa.bool_(),
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS[config]])


COLUMNS = {
    "default": ("prompt", "chosen", "rejected", *_EXTRA),
    "kto": ("prompt", "completion", "label", "prompt_id", "model", "category"),
    "sft": ("messages", "prompt_id", "model", "category"),
}
"""The columns of each configuration, in their order."""

_FORMS: dict[str, tuple[Callable[[Sequence[Pair], bool], Iterator[Row]], ...]] = {
    "default": (_preference,),
    # All good answers, then all bad ones: TRL's KTO estimates its KL term from neighbouring rows, which must not be answers
    # to the same prompt.
    "kto": (partial(_unpaired, wanted=True), partial(_unpaired, wanted=False)),
    "sft": (_demonstrations,),
}
"""Configuration: how its rows are made, in one pass over the pairs each."""
