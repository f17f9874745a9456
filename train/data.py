"""Read what a recipe trains on, and keep apart what it is measured on: no prompt is on both sides, no row leaves uncounted."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

import orjson

from pipeline.errors import InputError
from pipeline.records import split_of
from pipeline.settings import TableSettings
from pipeline.sources import at_hand, read_rows
from train.methods import Form, load_method
from train.rows import COLUMNS, Row, cluster_of, is_conversational, last_words, rows_of
from train.settings import DataSettings, TrainRecipe

_FOLDERS: dict[Form, tuple[str, ...]] = {"pairs": ("data",), "unpaired": ("kto", "data"), "demonstrations": ("sft", "data")}
"""Where a dataset folder that we published holds a form's rows; pairs serve where it does not."""


@dataclass(frozen=True, slots=True)
class Data:
    """Rows to train on and rows to measure on, in a method's form."""

    train: list[Row]
    test: list[Row]
    dropped: dict[str, int]
    """Rows that were left out, by reason."""
    split: str
    """Where the test rows come from, in words."""

    @property
    def conversational(self) -> bool:
        return is_conversational(self.train[0])

    @property
    def digest(self) -> str:
        """A hash of all rows: two trainings on equal data have the same."""
        state = hashlib.sha256()
        for row in (*self.train, None, *self.test):
            state.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) + b"\n")
        return state.hexdigest()

    def without(self, train: set[int], test: set[int], reason: str) -> "Data":
        """The data without the rows at these places, counted under a reason."""
        kept = [[row for n, row in enumerate(rows) if n not in out] for rows, out in ((self.train, train), (self.test, test))]
        counted = {**self.dropped, reason: self.dropped.get(reason, 0) + len(train) + len(test)} if train or test else self.dropped
        return replace(self, train=kept[0], test=kept[1], dropped=counted)


def read_data(recipe: TrainRecipe) -> Data:
    """The rows of a recipe. Raises InputError where nothing can be learned from them."""
    form = load_method(recipe.method).FORM
    dropped: Counter[str] = Counter()
    train = list(islice(_kept(recipe, form, recipe.data.split, dropped), recipe.data.max_rows))
    held = _held_out(recipe, form, dropped)
    if not train:
        said = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise InputError(f"{recipe.data.path}: no row to train on{f' ({said})' if said else ''}; build the dataset again or mend data.path")
    data = _by_prompt(train, recipe, dropped) if held is None else _not_in_test(train, held, dropped)
    _check(data, recipe, form)
    return replace(data, train=_in_order(data.train, form, recipe.seed), test=_in_order(data.test, form, recipe.seed))


def _held_out(recipe: TrainRecipe, form: Form, dropped: "Counter[str]") -> list[Row] | None:
    """The dataset's own test split; None where it has none."""
    if recipe.data.test_split:
        return list(_kept(recipe, form, recipe.data.test_split, dropped))
    if at_hand(recipe.data.path).is_file():
        return None
    try:
        return list(_kept(recipe, form, "test", dropped)) or None
    except InputError as error:
        if "(split test)" in str(error) or "no file fits" in str(error):
            return None
        raise


def _kept(recipe: TrainRecipe, form: Form, split: str, dropped: "Counter[str]") -> Iterator[Row]:
    for where, values in _read(recipe.data, form, split):
        rows = rows_of(form, recipe.method, where, values)
        if not rows:
            dropped["empty"] += 1
        for row in rows:
            if form == "pairs" and len({*last_words(row)}) == 1:
                dropped["equal_texts"] += 1
            else:
                yield row


def _read(data: DataSettings, form: Form, split: str) -> Iterator[tuple[str, Row]]:
    if data.config is not None:
        yield from _of_config(data, split)
        return
    published = (f for f in _FOLDERS[form] if any((at_hand(data.path) / f).glob("train-*.parquet")))
    folder = next(published, None)
    path = str(at_hand(data.path) / folder / f"{split}-*.parquet") if folder else data.path
    table = TableSettings(path=path, columns=data.columns, hub_split=split, hub_revision=data.revision)
    for row in read_rows(table, needed=(), understood=COLUMNS[form]):
        yield row.place, row.values


def _of_config(data: DataSettings, split: str) -> Iterator[tuple[str, Row]]:
    """A hub dataset that has several configurations."""
    import datasets

    try:
        rows = datasets.load_dataset(data.path, data.config, split=split, revision=data.revision, streaming=True)
        for number, row in enumerate(rows, 1):
            renamed = {ours: row.get(theirs) for ours, theirs in data.columns.items()}
            yield f"{data.path} ({data.config}, {split}) row {number}", {**row, **renamed}
    except (OSError, ValueError, KeyError, ImportError, datasets.exceptions.DatasetsError) as error:
        what = " ".join(str(error).split())[:300]
        raise InputError(
            f"cannot read {data.path}, configuration {data.config} (split {split}): {what}; mend data.path or data.config"
        ) from error


def _by_prompt(rows: Sequence[Row], recipe: TrainRecipe, dropped: "Counter[str]") -> Data:
    sides: dict[str, list[Row]] = {"train": [], "test": []}
    for row in rows:
        sides[split_of(cluster_of(row), recipe.data.test_share)].append(row)
    how = f"{recipe.data.test_share:.0%} of the prompts, chosen by a hash of their words" if sides["test"] else "none"
    return Data(sides["train"], sides["test"], dict(dropped), how)


def _not_in_test(train: Sequence[Row], test: list[Row], dropped: "Counter[str]") -> Data:
    """The dataset's own split, less the training rows whose prompt is also held out: those would be measured on what was learned."""
    held = {cluster_of(row) for row in test}
    kept = [row for row in train if cluster_of(row) not in held]
    if len(kept) < len(train):
        dropped["prompt_is_held_out"] += len(train) - len(kept)
    return Data(kept, test, dict(dropped), "the dataset's own")


def _check(data: Data, recipe: TrainRecipe, form: Form) -> None:
    path = recipe.data.path
    if not data.train:
        raise InputError(
            f"{path}: every prompt is held out for testing, and none is left to train on; lower data.test_share, or add prompts"
        )
    kinds = {is_conversational(row) for row in (*data.train, *data.test)}
    if len(kinds) > 1:
        raise InputError(f"{path}: some prompts are texts and some are messages; wanted one form for all rows: mend the table")
    labels = {row["label"] for row in data.train} if form == "unpaired" else set()
    if len(labels) == 1:
        found, other = ("liked", "disliked") if labels == {True} else ("disliked", "liked")
        raise InputError(
            f"{path}: all {len(data.train)} answers are {found}; KTO learns from the difference: add {other} answers, or use method sft"
        )


def _in_order(rows: list[Row], form: Form, seed: int) -> list[Row]:
    """Thumbs so that good and bad ones take turns and no two neighbours answer one prompt: TRL reads KTO's rows in their order, and
    estimates its KL term from an answer and its neighbour's prompt. Other rows stay as they are; the trainer draws their order."""
    if form != "unpaired":
        return rows
    rng, sides = Random(seed), ([r for r in rows if r["label"]], [r for r in rows if not r["label"]])  # noqa: S311 - an order, no secret
    for side in sides:
        rng.shuffle(side)
    # Each row's place is its share of the way through its own side, so that both are spent evenly.
    placed = [((n + 0.5) / len(side), i, row) for i, side in enumerate(sides) for n, row in enumerate(side)]
    return _apart([row for _, _, row in sorted(placed, key=lambda item: item[:2])])


def _apart(rows: list[Row]) -> list[Row]:
    clusters = [cluster_of(row) for row in rows]
    for at in range(1, len(rows)):
        if clusters[at] == clusters[at - 1]:
            other = next((n for n in range(at + 1, len(rows)) if clusters[n] != clusters[at]), at)
            rows[at], rows[other] = rows[other], rows[at]
            clusters[at], clusters[other] = clusters[other], clusters[at]
    return rows
