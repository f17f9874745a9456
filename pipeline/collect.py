"""Collect: rows from outside become Prompts. Exact duplicates leave, counted; the split is decided here and for ever."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import orjson

from pipeline.errors import InputError
from pipeline.records import Message, Prompt, content_id, prompt_cluster, prompt_id, split_of
from pipeline.settings import PromptsSettings, SplitSettings
from pipeline.sources import Row, read_rows
from pipeline.tables import Dropped

UNDERSTOOD = ("id", "system", "category", "reference", "language")
"""Columns of a prompt table beside `prompt` that mean something to us; the others ride along as metadata."""

_ROLES = ("system", "user", "assistant")


def collect(settings: PromptsSettings, split: SplitSettings) -> Iterator[Prompt | Dropped]:
    """The prompts of a table in its order, and what was dropped between them (`duplicate`, `empty_prompt`).

    Raises InputError for a row that cannot be read; for an empty prompt only where `bad_rows` says stop.
    """
    seen: set[bytes] = set()
    rows = read_rows(settings, needed=("prompt",), understood=UNDERSTOOD)
    for row in islice(rows, settings.limit):
        messages = _messages(row, settings.system)
        if not messages[-1]["content"].strip():
            if settings.bad_rows == "stop":
                raise InputError(
                    f"{row.place}: the prompt is empty; fill or remove it, or set prompts.bad_rows: drop to leave such rows out"
                )
            yield Dropped("collect", "empty_prompt", content_id(row.place), row.place)
            continue
        prompt = _prompt(row, messages, split.test)
        digest = bytes.fromhex(prompt.id)
        if digest in seen:
            yield Dropped("collect", "duplicate", prompt.id, row.place)
            continue
        seen.add(digest)
        yield prompt


def _prompt(row: Row, messages: tuple[Message, ...], test_share: float) -> Prompt:
    values = row.values
    return Prompt(
        id=prompt_id(messages),
        messages=messages,
        plain=isinstance(values["prompt"], str),
        split=split_of(prompt_cluster(messages), test_share),
        key=_text(values.get("id")),
        category=_text(values.get("category")),
        reference=_text(values.get("reference")),
        language=_text(values.get("language")),
        metadata=orjson.dumps(row.rest, option=orjson.OPT_SORT_KEYS, default=str).decode(),
    )


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _messages(row: Row, system: str | None) -> tuple[Message, ...]:
    prompt = row.values["prompt"]
    turns = [{"role": "user", "content": (prompt or "").strip()}] if prompt is None or isinstance(prompt, str) else prompt
    _check_turns(row.place, turns)
    own = _text(row.values.get("system")) or system
    if own is not None and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": own}, *turns]
    return tuple(cast(Message, {"role": t["role"], "content": t["content"]}) for t in turns)


def _check_turns(place: str, turns: Any) -> None:
    if not isinstance(turns, list) or not turns:
        raise InputError(f"{place}: the prompt is a {type(turns).__name__}; wanted a text, or a list of messages that is not empty")
    for number, turn in enumerate(turns):
        if not (isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)):
            raise InputError(f"{place}: found the message {str(turn)[:80]!r}; wanted a role of {', '.join(_ROLES)} and a text content")
        if turn["role"] == "system" and number > 0:
            raise InputError(f"{place}: message {number + 1} is a system message; wanted at most one, and that first")
    if turns[-1]["role"] != "user":
        raise InputError(f"{place}: the last message is the {turns[-1]['role']}'s; wanted a prompt that ends with the user's turn")
