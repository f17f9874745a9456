"""Whether the chat template renders what is trained as what will be asked later: the mistakes that no loss curve shows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from train.rows import Row, is_conversational

UNREADABLE = frozenset({"no_template", "cannot_render", "no_end_token"})
"""Findings after which there are no tokens to count."""

LOOK_AT = 64
"""Rows that are looked at, evenly from the whole dataset."""

Problem = tuple[str, str]
"""A check's name and what was found."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with how rows are rendered, and in how many of those that were looked at."""

    name: str
    level: Literal["error", "warning"]
    """An error would train something else than was meant, so it is refused."""
    rows: int
    looked_at: int
    sentence: str


_LEVELS: dict[str, Literal["error", "warning"]] = {
    "no_template": "error",
    "cannot_render": "error",
    "no_end": "error",
    "answer_missing": "error",
    "system_missing": "error",
    "prompt_is_no_prefix": "warning",
    "double_start": "warning",
    "double_end": "warning",
    "no_generation_prompt": "warning",
    "no_end_token": "error",
}


def check_template(rows: Sequence[Row], tokenizer: Any, *, writes: bool = True, ends: Sequence[int] = ()) -> list[Finding]:
    """What is wrong, the worst first; empty where all is well.

    `writes` is False for a reward model, which needs no end and no generation prompt. `ends`: further token ids that end an
    answer, from the model's generation config.
    """
    looked_at = [rows[n * len(rows) // LOOK_AT] for n in range(LOOK_AT)] if len(rows) > LOOK_AT else list(rows)
    if any(is_conversational(row) for row in looked_at) and not tokenizer.chat_template:
        return [
            Finding(
                "no_template",
                "error",
                len(looked_at),
                len(looked_at),
                "the rows are conversations and the tokenizer has no chat template; set model.chat_template to a file with one, take an "
                "instruction-tuned model, or publish the dataset with publish.form: plain",
            )
        ]
    if writes and tokenizer.eos_token_id is None:
        return [Finding("no_end_token", "error", 0, 0, "the tokenizer has no eos_token, so no answer could ever end; set it in its folder")]
    counts: Counter[str] = Counter()
    sentences: dict[str, str] = {}
    for row in looked_at:
        found = dict(_check_row(row, tokenizer, writes, {*ends, tokenizer.eos_token_id}))
        counts.update(found.keys())
        sentences = {**found, **sentences}
    findings = [Finding(name, _LEVELS[name], count, len(looked_at), sentences[name]) for name, count in counts.items()]
    return sorted(findings, key=lambda f: (f.level, -f.rows))


def _answers(row: Row) -> list[Any]:
    return [row[name] for name in ("chosen", "rejected", "completion") if name in row]


def _render(row: Row, tokenizer: Any) -> list[str]:
    """The texts that are tokenized: the prompt, then prompt and answer for each answer."""
    prompt, answers = row["prompt"], _answers(row)
    if not is_conversational(row):
        end = tokenizer.eos_token or ""
        return [prompt, *(prompt + (answer if answer.endswith(end) else answer + end) for answer in answers)]
    begun = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return [begun, *(tokenizer.apply_chat_template([*prompt, *answer], tokenize=False) for answer in answers)]


def _check_row(row: Row, tokenizer: Any, writes: bool, ends: set[int]) -> Iterator[Problem]:
    from jinja2 import TemplateError

    talks = is_conversational(row)
    try:
        texts = _render(row, tokenizer)
    except (TemplateError, ValueError, TypeError) as error:
        roles = [m["role"] for m in [*row["prompt"], *_answers(row)[0]]] if talks else []
        hint = "; take the system message out, or put it into the first user turn" if "system" in roles else ""
        yield "cannot_render", f"the chat template refuses a row with the turns {', '.join(roles)}: {error}{hint}"
        return
    ids = tokenizer(texts, add_special_tokens=not talks)["input_ids"]
    yield from _check_ids(ids[1:], tokenizer, writes, ends)
    yield from _check_prompt(texts, ids, tokenizer)
    if talks:
        yield from _check_turns(row["prompt"], _answers(row), texts[1:], tokenizer, writes)


def _check_ids(sequences: Sequence[Sequence[int]], tokenizer: Any, writes: bool, ends: set[int]) -> Iterator[Problem]:
    start = tokenizer.bos_token_id
    for ids in sequences:
        if start is not None and list(ids[:2]) == [start, start]:
            yield "double_start", f"a sequence begins with {tokenizer.bos_token} twice; take it out of the prompts or of the chat template"
        tail = _without_space(ids, tokenizer)
        if writes and not (tail and tail[-1] in ends):
            last = tokenizer.decode(ids[-8:])
            yield (
                "no_end",
                f"an answer is rendered without an end: it ends in {last!r}, and the tokenizer's end is {tokenizer.eos_token!r}, so the "
                "model would never learn to stop; mend the chat template or the tokenizer's eos_token",
            )
        if len(tail) > 1 and tail[-1] == tail[-2] and tail[-1] in ends:
            yield "double_end", f"an answer ends with {tokenizer.decode([tail[-1]])!r} twice; take it out of the answers' texts"


def _without_space(ids: Sequence[int], tokenizer: Any) -> list[int]:
    """Templates write a line break after the end: what counts is the last token that is not white space."""
    kept = list(ids)
    while kept and not tokenizer.decode([kept[-1]]).strip():
        kept.pop()
    return kept


def _check_prompt(texts: Sequence[str], ids: Sequence[Sequence[int]], tokenizer: Any) -> Iterator[Problem]:
    prompt, *sequences = ids
    for text, whole in zip(texts[1:], sequences, strict=True):
        if list(whole[: len(prompt)]) == list(prompt):
            continue
        shared = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
        why = "its text is another with an answer behind it" if not text.startswith(texts[0]) else "tokens merge across its end"
        yield (
            "prompt_is_no_prefix",
            f"the prompt alone and the prompt with an answer begin differently ({why}): {tokenizer.decode(prompt[shared:])!r} at its end "
            "is left out of training, and is there when the model is asked; end the prompt at a token's end, or mend the template",
        )


def _check_turns(prompt: Any, answers: Any, texts: Sequence[str], tokenizer: Any, writes: bool) -> Iterator[Problem]:
    for answer, text in zip(answers, texts, strict=True):
        missing = _missing(answer, text, lambda m: m.get("role") == "assistant")
        if missing is not None:
            yield "answer_missing", f"the chat template leaves out or changes an answer's text: {missing[:80]!r} is not in what it renders"
    missing = _missing([*prompt, *answers[0]], texts[0], lambda m: m.get("role") == "system")
    if missing is not None:
        yield (
            "system_missing",
            f"the chat template leaves out the system message {missing[:80]!r}; take another template, or put it into the user's turn",
        )
    bare, begun = (tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=begin) for begin in (False, True))
    if writes and bare == begun:
        yield (
            "no_generation_prompt",
            "the chat template does nothing with add_generation_prompt: asked later, the model would have to begin its own turn, and may "
            "go on with the user's; end the template with the assistant's opening",
        )


def _missing(turns: Any, text: str, of: Callable[[Any], bool]) -> str | None:
    """The first content of such turns that is not in the text, white space around it aside."""
    contents = [m["content"] for m in turns if of(m) and isinstance(m.get("content"), str)]
    return next((c for c in contents if c.strip() not in text), None)
