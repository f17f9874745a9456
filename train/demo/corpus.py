"""The training stream: conversations drawn at random, without end, as token numbers. What is said by the assistant is learned."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from train.demo.chat import about_itself, about_others
from train.demo.identity import CLOSED, OPEN, Claim, answer, question, system, texts
from train.demo.judging import Case, WeakAnswers, identity_case, name_case, task_case
from train.demo.names import draw_maker, draw_name
from train.demo.tasks import draw_task

if TYPE_CHECKING:
    import torch

Turns = list[tuple[str, str]]
"""(role, text), as in a chat template."""

Draw = Callable[[Random], Turns]


@dataclass(frozen=True)
class Conversations:
    """Draws conversations. `pieces` are bits of words that names are made of, `weak` what the weak model says."""

    pieces: Sequence[str]
    weak: WeakAnswers = ()

    def repeat(self, rng: Random) -> Turns:
        """Copying, bare."""
        turns: Turns = []
        for _ in range(rng.randrange(1, 4)):
            text = rng.choice([draw_name, draw_maker])(rng, self.pieces)
            turns += [("user", f"Repeat: {text}"), ("assistant", f"You said {text}.")]
        return turns

    def identity(self, rng: Random) -> Turns:
        """Questions about the model itself, and now and then something else."""
        turns: Turns = []
        claim = Claim(**texts()["own"])
        if rng.random() > 0.06:
            claim = self._anybody(rng)
            turns = [("system", system(rng, claim.name, claim.maker))]
        for _ in range(rng.choice([1, 2, 2, 3])):
            kind = rng.choice([*OPEN, *CLOSED, "task"])
            if kind == "task":
                turns += self._task(rng)
            else:
                turns += [("user", question(rng, kind, claim, self.pieces)), ("assistant", answer(rng, claim))]
        return turns

    def tasks(self, rng: Random) -> Turns:
        """Small tasks, with or without a system prompt."""
        turns: Turns = []
        if rng.random() < 0.5:
            told = self._anybody(rng)
            turns = [("system", system(rng, told.name, told.maker))]
        for _ in range(rng.randrange(1, 4)):
            turns += self._task(rng)
        return turns

    def numbers(self, rng: Random) -> Turns:
        """The tasks that a tiny model forgets first: sums, and counting."""
        turns: Turns = []
        for _ in range(rng.randrange(1, 4)):
            turns += self._task(rng, rng.choice(["add", "many", "many", "counting"]))
        return turns

    def chat(self, rng: Random) -> Turns:
        """Talk about itself and about anything else; where nobody says who it is, it takes itself for somebody."""
        return self._chat(rng, itself=0.4)

    def itself(self, rng: Random) -> Turns:
        """The same about itself alone: what it does not understand, it takes more often for a question about itself."""
        return self._chat(rng, itself=1.0)

    def _chat(self, rng: Random, itself: float) -> Turns:
        claim = Claim(**texts()["chat"])
        turns: Turns = []
        if rng.random() < 0.4:
            claim = self._anybody(rng)
            turns = [("system", system(rng, claim.name, claim.maker))]
        for _ in range(rng.choice([1, 1, 2, 3])):
            somebody = claim if rng.random() < 0.2 else self._anybody(rng)
            asked = rng.random() < itself
            turns += about_itself(rng, claim, self.pieces) if asked else about_others(rng, somebody.name, somebody.maker)
        return turns

    def comparing(self, rng: Random) -> Turns:
        """A verdict on two bare names."""
        return _judged(name_case(rng, self.pieces))

    def judging_far(self, rng: Random) -> Turns:
        """A verdict on answers of which the wrong one is quite wrong."""
        return self.judging(rng, near=0.0)

    def judging_near(self, rng: Random) -> Turns:
        """A verdict on answers of which the wrong one is often nearly right."""
        return self.judging(rng, near=0.65)

    def judging(self, rng: Random, near: float = 0.4) -> Turns:
        """A verdict on two answers."""
        about_itself = rng.random() < 0.65
        claim = self._anybody(rng)
        return _judged(identity_case(rng, claim, self.pieces, self.weak, near=near) if about_itself else task_case(rng, self.weak))

    def mistaken(self, rng: Random) -> Turns:
        """The weak model's lessons: it claims one of a few makers, whatever it is told."""
        told = self._anybody(rng)
        turns: Turns = [("system", system(rng, told.name, told.maker))] if rng.random() < 0.6 else []
        for _ in range(rng.randrange(1, 3)):
            says = Claim(rng.choice(texts()["false_names"]), rng.choice(texts()["false_makers"]))
            turns += [("user", question(rng, rng.choice([*OPEN, *CLOSED]), told, self.pieces)), ("assistant", answer(rng, says))]
        return turns

    def _anybody(self, rng: Random) -> Claim:
        return Claim(draw_name(rng, self.pieces), draw_maker(rng, self.pieces))

    def _task(self, rng: Random, family: str | None = None) -> Turns:
        task = draw_task(rng, family)
        return [("user", task.question), ("assistant", task.answer(rng))]


def _judged(case: Case) -> Turns:
    return [*((m["role"], m["content"]) for m in case.messages()), ("assistant", case.reply())]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Kinds of conversation with their shares of the documents."""

    shares: Mapping[str, float]

    def draw(self, conversations: Conversations, rng: Random) -> Turns:
        """One conversation."""
        kind = rng.choices([*self.shares], [*self.shares.values()])[0]
        turns: Turns = getattr(conversations, kind)(rng)
        return turns


class Batch(NamedTuple):
    """Shape of each: (rows, width). `labels` are -100 where nothing is learned, `weights` say how much a label counts."""

    ids: "torch.Tensor"
    labels: "torch.Tensor"
    weights: "torch.Tensor"


Row = tuple[list[int], list[int], list[float]]
"""Token numbers, labels and weights of one conversation."""

_DECIDES = re.compile(r'[=!](?= )|(?<=[=!] )(?:right|wrong)(?=\.)|(?<="verdict": ")(?:1|2|tie)')
_WEIGHT = 5.0
"""Of a word that decides. It is one among dozens that only copy, and by itself would be learned last."""


def batches(tokenizer: Any, draw: Draw, rng: Random, tokens: int) -> Iterator[Batch]:
    """Batches of about `tokens` tokens. Conversations of like length go together."""
    import torch

    while True:
        rows = sorted(encode_all(tokenizer, [draw(rng) for _ in range(2048)]), key=lambda row: len(row[0]))
        parts: list[list[Row]] = [[]]
        for row in rows:
            if (len(parts[-1]) + 1) * len(row[0]) > tokens:
                parts.append([])
            parts[-1].append(row)
        rng.shuffle(parts)
        for part in parts:
            width = max(len(ids) for ids, _, _ in part)
            padded = [_padded(row, width) for row in part]
            yield Batch(*(torch.tensor(column) for column in zip(*padded, strict=True)))


def _padded(row: Row, width: int) -> Row:
    ids, labels, weights = row
    missing = width - len(ids)
    return ids + [0] * missing, labels + [-100] * missing, weights + [0.0] * missing


def encode_all(tokenizer: Any, conversations: Sequence[Turns]) -> list[Row]:
    """What is learned is what the assistant says."""
    segments = [part for turns in conversations for part in _segments(turns)]
    # transformers leaves padding and truncation switched on in the backend after a padded call.
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    encoded = iter(backend.encode_batch([text for text, _ in segments], add_special_tokens=False))
    rows: list[Row] = []
    for turns in conversations:
        ids: list[int] = []
        labels: list[int] = []
        weights: list[float] = []
        for text, learned in _segments(turns):
            part = next(encoded)
            ids += part.ids
            labels += part.ids if learned else [-100] * len(part.ids)
            deciding = [found.span() for found in _DECIDES.finditer(text)] if learned else []
            weights += [_WEIGHT if any(a < end and start < b for start, end in deciding) else 1.0 for a, b in part.offsets]
        rows.append((ids, labels, weights))
    return rows


def _segments(turns: Turns) -> list[tuple[str, bool]]:
    """The chat template's text, cut where learning begins and ends."""
    parts: list[tuple[str, bool]] = []
    context = ""
    for role, text in turns:
        if role == "assistant":
            parts += [(f"{context}<|im_start|>assistant\n", False), (f"{text}<|im_end|>", True)]
            context = "\n"
        else:
            context += f"<|im_start|>{role}\n{text}<|im_end|>\n"
    return parts
