"""The rows that a method trains on, in one form whatever table they came from.

    pairs            prompt, chosen, rejected
    unpaired         prompt, completion, label
    demonstrations   prompt, completion

A prompt is a text, or the messages before the answer; an answer is then a text, or a list with the assistant's one message.
Pairs serve every form: their answers become thumbs, or the chosen one becomes the demonstration.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.records import Message, prompt_cluster
from train.methods import Form
from train.settings import Method

Row = dict[str, Any]

COLUMNS: Mapping[Form, tuple[str, ...]] = {
    "pairs": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion", "label", "chosen", "rejected"),
    "demonstrations": ("messages", "prompt", "completion", "chosen"),
}
"""The columns that are looked for; not all must be there."""

ROLES = ("system", "user", "assistant")

_LABELS: Mapping[Any, bool] = {
    **dict.fromkeys((1, "1", "true", "up", "like", "good"), True),
    **dict.fromkeys((0, -1, "0", "-1", "false", "down", "dislike", "bad"), False),
}
"""What a thumb may be written as; True equals 1 and False 0."""

WANTED: Mapping[Form, str] = {
    "pairs": "prompt, chosen and rejected",
    "unpaired": "prompt, completion and label, or prompt, chosen and rejected",
    "demonstrations": "messages, or prompt and completion, or prompt and chosen",
}


def rows_of(form: Form, method: Method, place: str, values: Row) -> list[Row]:
    """What one row of a table holds for training; none where an answer or a prompt is empty.

    Raises InputError where columns are missing or hold something else than texts and messages.
    """
    given = {name: value for name, value in values.items() if value is not None}
    made = next((make(place, given) for needed, make in _MAKERS[form] if needed <= given.keys()), None)
    if made is None:
        raise InputError(
            f"{place}: found {', '.join(sorted(given)) or 'none'} of the columns; method {method} wants {WANTED[form]}; rename them with "
            "data.columns, or choose another method"
        )
    return [row for row in made if all(map(_is_full, row.values()))]


def cluster_of(row: Row) -> str:
    """What near-copies of a row's prompt have in common; see `prompt_cluster`."""
    prompt = row["prompt"]
    turns: Sequence[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return prompt_cluster(turns)


def last_words(row: Row) -> list[str]:
    """The texts of a row's answers."""
    answers = [row[name] for name in ("chosen", "rejected", "completion") if name in row]
    return [a if isinstance(a, str) else a[-1]["content"] for a in answers]


def is_conversational(row: Row) -> bool:
    return not isinstance(row["prompt"], str)


def _pair(place: str, values: Row) -> list[Row]:
    prompt, chosen = _split(place, values.get("prompt"), values["chosen"])
    same, rejected = _split(place, values.get("prompt"), values["rejected"])
    if prompt != same:
        raise InputError(f"{place}: chosen and rejected answer different prompts; wanted two answers to one: mend or remove the row")
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected}]


def _thumb(place: str, values: Row) -> list[Row]:
    label = values["label"]
    key = label.strip().lower() if isinstance(label, str) else label
    if not isinstance(key, str | int | float) or key not in _LABELS:
        raise InputError(f"{place}: label {label!r} is no thumb; wanted true or false (1/0, 1/-1, up/down): mend it or see data.columns")
    prompt, answer = _split(place, values["prompt"], values["completion"])
    return [{"prompt": prompt, "completion": answer, "label": _LABELS[key]}]


def _thumbs_of_pair(place: str, values: Row) -> list[Row]:
    [pair] = _pair(place, values)
    return [{"prompt": pair["prompt"], "completion": pair[name], "label": name == "chosen"} for name in ("chosen", "rejected")]


def _demonstration(place: str, values: Row) -> list[Row]:
    prompt, answer = _split(place, values["prompt"], values.get("completion", values.get("chosen")))
    return [{"prompt": prompt, "completion": answer}]


def _conversation(place: str, values: Row) -> list[Row]:
    prompt, answer = _split(place, None, values["messages"])
    return [{"prompt": prompt, "completion": answer}]


def _split(place: str, prompt: Any, answer: Any) -> tuple[Any, Any]:
    """Prompt and answer in one form: both texts, or both messages. An answer may bring its prompt along, as many tables have it."""
    if isinstance(prompt, str) and isinstance(answer, str):
        return prompt, answer
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(place, prompt or [])
    turns = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else _messages(place, answer)
    if len(turns) > 1:
        before, turns = turns[:-1], turns[-1:]
    if not turns or turns[-1]["role"] != "assistant":
        raise InputError(f"{place}: the answer does not end with the assistant's turn; wanted one: mend or remove the row")
    if not before:
        raise InputError(
            f"{place}: an answer without a prompt; wanted a column prompt, or messages that begin with the user's: mend the row"
        )
    return before, turns


def _messages(place: str, value: Any) -> list[Row]:
    good = isinstance(value, list) and all(
        isinstance(m, dict) and m.get("role") in ROLES and isinstance(m.get("content"), str) for m in value
    )
    if not good:
        raise InputError(
            f"{place}: found {str(value)[:60]!r}; wanted a text, or a list of messages with a role ({', '.join(ROLES)}) and a content that "
            "is text: mend or remove the row"
        )
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _is_full(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, bool) or bool(value[-1]["content"].strip())


_Maker = Callable[[str, Row], list[Row]]

_MAKERS: Mapping[Form, tuple[tuple[set[str], _Maker], ...]] = {
    "pairs": (({"chosen", "rejected"}, _pair),),
    "unpaired": (({"prompt", "completion", "label"}, _thumb), ({"chosen", "rejected"}, _thumbs_of_pair)),
    "demonstrations": (
        ({"messages"}, _conversation),
        ({"prompt", "completion"}, _demonstration),
        ({"prompt", "chosen"}, _demonstration),
        ({"chosen"}, lambda place, values: _conversation(place, {"messages": values["chosen"]})),
    ),
}
"""Form: the columns a row must have, and what makes the form's rows of them; the first that fits."""
