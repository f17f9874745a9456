"""How many tokens the rows have, as TRL will count them, and what max_length does to them: nothing is cut or dropped in silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.errors import InputError
from train.data import Data
from train.methods import load_method
from train.rows import Row, is_conversational
from train.settings import TrainRecipe

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of one row."""

    prompt: int
    answers: tuple[int, ...]
    """Of each answer, after the prompt: chosen, rejected; or the one."""

    @property
    def longest(self) -> int:
        return self.prompt + max(self.answers)


@dataclass(frozen=True, slots=True)
class Fitting:
    """The data that fits into max_length, and what it cost."""

    data: Data
    lengths: tuple[Length, ...]
    """Of the rows to train on, in their order."""
    cut: int
    """Rows to train on whose answer loses its end."""

    @property
    def tokens(self) -> float:
        """Of a chosen answer, on average."""
        return sum(n.answers[0] for n in self.lengths) / len(self.lengths)


def lengths_of(rows: Sequence[Row], tokenizer: Any) -> list[Length]:
    """The tokens of each row, through the chat template where prompts are messages."""
    found: list[Length] = []
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        texts, spans = list[str](), list[int]()
        for row in some:
            ours = texts_of(row, tokenizer)
            texts += ours
            spans.append(len(ours))
        special = not is_conversational(some[0])
        counts = iter([len(ids) for ids in tokenizer(texts, add_special_tokens=special)["input_ids"]])
        for span in spans:
            prompt, *whole = islice(counts, span)
            found.append(Length(prompt, tuple(max(0, n - prompt) for n in whole)))
    return found


def texts_of(row: Row, tokenizer: Any) -> list[str]:
    answers = [row[name] for name in ("chosen", "rejected", "completion") if name in row]
    if not is_conversational(row):
        end = tokenizer.eos_token or ""
        return [row["prompt"], *(row["prompt"] + a.removesuffix(end) + end for a in answers)]
    whole = [tokenizer.apply_chat_template([*row["prompt"], *a], tokenize=False) for a in answers]
    return [tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True), *whole]


def fit(data: Data, recipe: TrainRecipe, tokenizer: Any, longest: int | None) -> Fitting:
    """The rows that max_length leaves something of. Raises InputError where it does not, unless the recipe drops such rows."""
    train, test = lengths_of(data.train, tokenizer), lengths_of(data.test, tokenizer)
    if longest is None:
        return Fitting(data, tuple(train), 0)
    full = [{n for n, length in enumerate(side) if length.prompt >= longest} for side in (train, test)]
    if full[0] | full[1] and recipe.data.too_long == "stop":
        most = max(length.prompt for length in (*train, *test))
        raise InputError(
            f"{recipe.data.path}: {len(full[0]) + len(full[1])} of {len(train) + len(test)} prompts fill trainer.max_length "
            f"({longest} tokens) by themselves, the longest with {most}, and leave no room for answers; raise max_length, or set "
            "data.too_long: drop"
        )
    data = data.without(full[0], full[1], "prompt_too_long")
    train, test = ([n for i, n in enumerate(side) if i not in out] for side, out in zip((train, test), full, strict=True))
    over = [{n for n, length in enumerate(side) if length.longest > longest} for side in (train, test)]
    if load_method(recipe.method).LONG == "drop":
        data = data.without(over[0], over[1], "longer_than_max_length")
        train, over = [n for i, n in enumerate(train) if i not in over[0]], [set(), set()]
    if not data.train:
        raise InputError(f"{recipe.data.path}: no row fits into trainer.max_length ({longest} tokens); raise it, or shorten the prompts")
    return Fitting(data, tuple(train), len(over[0]))
