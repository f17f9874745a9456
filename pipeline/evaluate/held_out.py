"""The prompts of an evaluation: never trained on, whatever table they come from."""

from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import orjson

from pipeline.collect import collect
from pipeline.errors import InputError
from pipeline.records import Prompt, prompt_cluster
from pipeline.runs import write_text
from pipeline.settings import Anything, PromptsSettings, SplitSettings
from pipeline.tables import Dropped


def write_held_out(prompts: Iterable[Anything], file: Path, split: str) -> PromptsSettings:
    """A table of the training's own held-out prompts (texts or messages). InputError where it held none out."""
    lines = dict.fromkeys(orjson.dumps({"prompt": p}) + b"\n" for p in prompts)
    if not lines:
        raise InputError(
            f"the training held no prompts out (its test split: {split or 'none'}), so there is none to be asked that was never trained "
            "on; give a table of prompts with evaluate.prompts, or train with a data.test_share"
        )
    write_text(file, b"".join(lines))
    return PromptsSettings(path=str(file))


def never_trained_on(given: PromptsSettings, trained: Set[str], file: Path) -> tuple[PromptsSettings, int]:
    """A table of the prompts of another one whose cluster was not trained on; and how many were left out.

    Raises InputError where none is left.
    """
    kept, out = [], 0
    for prompt in _prompts(given):
        if prompt_cluster(prompt.messages) in trained:
            out += 1
        else:
            kept.append(_line(prompt))
    if not kept:
        raise InputError(
            f"all {out} prompts of {given.path} were trained on (as they stand, or but for case and punctuation); give prompts that the "
            "training has never seen"
        )
    write_text(file, b"".join(kept))
    return PromptsSettings(path=str(file), bad_rows=given.bad_rows), out


def _prompts(given: PromptsSettings) -> Iterator[Prompt]:
    return (row for row in collect(given, SplitSettings()) if not isinstance(row, Dropped))


def _line(prompt: Prompt) -> bytes:
    known = {"id": prompt.key, "category": prompt.category, "reference": prompt.reference, "language": prompt.language}
    row = {**orjson.loads(prompt.metadata), "prompt": prompt.messages, **{k: v for k, v in known.items() if v is not None}}
    return orjson.dumps(row) + b"\n"
