"""Rewritten: a text that a person wrote is chosen, the answer that it was made from is rejected."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.annotate.people import PEOPLE, Rewrite, texts_key
from pipeline.records import Pair
from pipeline.tables import SCHEMAS, Dropped, to_table


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Pairs, and the rewrites that make none: `unchanged` ones, and those of an answer that is there no longer."""

    pairs: pa.Table
    dropped: pa.Table

    @property
    def prompts(self) -> set[str]:
        """For which the pairs stand instead of what the strategy proposes."""
        return set(self.pairs["prompt_id"].to_pylist())


def rewritten(prompts: pa.Table, answers: pa.Table, rewrites: Sequence[Rewrite], labels: Mapping[str, str]) -> Rewritten:
    """In the order of the prompts. The same text by two people is one pair."""
    asked = {row["id"]: row for row in prompts.to_pylist()} if rewrites else {}
    known = {row["id"]: row for row in answers.to_pylist()} if rewrites else {}
    place = {prompt: n for n, prompt in enumerate(asked)}
    pairs: dict[tuple[str, str], Any] = {}
    dropped = []
    for r in sorted((r for r in rewrites if r.prompt_id in asked), key=lambda r: (place[r.prompt_id], r.answer_id, r.text, r.annotator)):
        edited = known.get(r.answer_id)
        if edited is None or texts_key(edited["text"]) != r.texts:
            dropped.append(Dropped("pair", "answer_gone", r.id, f"by {r.annotator}", r.prompt_id))
        elif edited["text"].strip() == r.text.strip():
            dropped.append(Dropped("pair", "unchanged", r.id, f"by {r.annotator}", r.prompt_id))
        else:
            pairs.setdefault((r.answer_id, r.text.strip()), _pair(asked[r.prompt_id], edited, r.text.strip(), labels))
    return Rewritten(pa.Table.from_pylist(list(pairs.values()), SCHEMAS[Pair]), to_table(Dropped, dropped))


def without(table: pa.Table, column: str, prompts: Collection[str]) -> pa.Table:
    """The rows of a table that are about other prompts."""

    return table.filter(pc.invert(pc.is_in(table[column], value_set=pa.array(sorted(prompts), pa.string())))) if prompts else table


def in_order(prompts: pa.Table, table: pa.Table) -> pa.Table:
    """Rows in the order of the prompts; rows of one prompt keep theirs."""

    place = pc.index_in(table["prompt_id"], value_set=prompts["id"].combine_chunks()).to_numpy()
    return table.take(pa.array(np.argsort(place, kind="stable")))


def _pair(prompt: Any, edited: Any, text: str, labels: Mapping[str, str]) -> Any:
    return {
        **dict.fromkeys(("score_chosen", "score_rejected", "margin")),
        "prompt_id": prompt["id"],
        "prompt": prompt["messages"],
        "chosen": text,
        "rejected": edited["text"],
        "chosen_model": PEOPLE,
        "rejected_model": labels.get(edited["model"], edited["model"]),
        "source": "human",
        "category": prompt["category"],
        "split": prompt["split"],
        "plain": prompt["plain"],
        "finish_chosen": "stop",
        "finish_rejected": edited["finish_reason"],
    }
