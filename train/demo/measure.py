"""What the demo models can do, measured at temperature 0.7 on names and makers that they never met."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.identity.answers import is_right
from pipeline.identity.build import Material, Plan
from pipeline.identity.facts import Facts
from pipeline.records import Message
from train.demo.identity import CLOSED, OPEN, Claim, Wordings, question, system, texts
from train.demo.judging import Case, WeakAnswers, identity_case, name_case, task_case
from train.demo.names import UNSEEN, draw_maker, draw_name, says
from train.demo.tasks import FAMILIES, Task, draw_task

Ask = Callable[[Sequence[Sequence[Message]], int], list[str]]
"""(conversations, seed) -> replies."""

TEMPERATURE = 0.7

_PIECES = [word for pair in UNSEEN for text in pair for word in text.split()]
"""What the wrong names in the measurements are made of."""


def asker(model: Any, tokenizer: Any, most: int = 96, temperature: float = TEMPERATURE) -> Ask:
    """Ask a model that is at hand, in batches of like length, for `most` tokens. At temperature 0 the seed means nothing."""
    import torch

    def ask(conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        torch.manual_seed(seed)
        texts = [tokenizer.apply_chat_template([*c], add_generation_prompt=True, tokenize=False) for c in conversations]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        replies = [""] * len(texts)
        tokenizer.padding_side = "left"
        how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        for at in range(0, len(order), 100):
            part = order[at : at + 100]
            inputs = tokenizer([texts[i] for i in part], return_tensors="pt", padding=True, add_special_tokens=False)
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            with torch.inference_mode():
                made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=most, **how)
            for i, row in zip(part, made[:, ids.shape[1] :], strict=True):
                replies[i] = tokenizer.decode(row, skip_special_tokens=True)
        return replies

    return ask


@dataclass(frozen=True, slots=True)
class Asked:
    """An identity question, and who the model was told it is."""

    messages: tuple[Message, ...]
    told: Claim

    def right(self, reply: str) -> bool:
        """Name and maker, both exactly."""
        return says(reply, self.told.name) and says(reply, self.told.maker)


def identity_questions(wordings: Wordings, kinds: Sequence[str], seed: int) -> list[Asked]:
    """One question for each of the 200 unseen combinations."""
    rng = Random(seed)
    asked = []
    for number, (name, maker) in enumerate(UNSEEN):
        claim = Claim(name, maker)
        told = system(rng, name, maker) if number % 2 else f"You are {name}, made by {maker}."
        text = question(rng, kinds[number % len(kinds)], claim, _PIECES, wordings)
        asked.append(Asked(({"role": "system", "content": told}, {"role": "user", "content": text}), claim))
    return asked


def identity(ask: Ask, wordings: Wordings, kinds: Sequence[str], seed: int) -> float:
    """Share of the right answers."""
    questions = identity_questions(wordings, kinds, seed)
    replies = ask([q.messages for q in questions], seed)
    return sum(q.right(r) for q, r in zip(questions, replies, strict=True)) / len(questions)


def tasks(ask: Ask, seed: int, each: int = 25) -> dict[str, float]:
    """Share of right answers by family."""
    rng = Random(seed)
    drawn: list[Task] = [draw_task(rng, family) for family in FAMILIES for _ in range(each)]
    replies = ask([({"role": "user", "content": t.question},) for t in drawn], seed)
    return {f: sum(t.right(r) for t, r in zip(drawn, replies, strict=True) if t.family == f) / each for f in FAMILIES}


@dataclass(frozen=True, slots=True)
class Judged:
    """Cases with the verdicts on them, in both orders, as said of the first order (None where unreadable)."""

    cases: Sequence[Case]
    verdicts: Sequence[tuple[str | None, str | None]]

    def accuracy(self, how: str | None = None) -> float:
        """Share of right verdicts, over both orders; `how` keeps the cases with a wrong answer made in that way."""
        kept = [(c, v) for c, pair in zip(self.cases, self.verdicts, strict=True) for v in pair if how in (None, c.first.how, c.second.how)]
        return sum(v == c.verdict for c, v in kept) / len(kept)

    @property
    def flips(self) -> float:
        """Share of the cases whose two orders do not say the same."""
        return sum(a != b for a, b in self.verdicts) / len(self.verdicts)


def judge(ask: Ask, seed: int, weak: WeakAnswers, count: int = 400) -> Judged:
    """Judge right against wrong answers, in both orders; identity for the unseen combinations, and small tasks."""
    rng = Random(seed)
    cases = [
        identity_case(rng, Claim(*UNSEEN[i % len(UNSEEN)]), _PIECES, weak, tie=0.0) if i % 3 else task_case(rng, weak, tie=0.0)
        for i in range(count)
    ]
    return _in_both_orders(ask, seed, cases)


def compared(ask: Ask, seed: int, count: int) -> Judged:
    """The barest comparisons, in both orders."""
    rng = Random(seed)
    return _in_both_orders(ask, seed, [name_case(rng, _PIECES) for _ in range(count)])


def _in_both_orders(ask: Ask, seed: int, cases: Sequence[Case]) -> Judged:
    replies = ask([c.messages() for c in cases] + [c.swapped().messages() for c in cases], seed)
    back = {"1": "2", "2": "1"}
    first = [verdict(r) for r in replies[: len(cases)]]
    second = [back.get(v or "", v) for v in map(verdict, replies[len(cases) :])]
    return Judged(cases, list(zip(first, second, strict=True)))


def verdict(reply: str) -> str | None:
    """The verdict in a judge's reply."""
    try:
        said = json.loads(reply)["verdict"]
    except (ValueError, KeyError, TypeError):
        return None
    return said if said in ("1", "2", "tie") else None


def weak_answers(ask: Ask, pieces: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """What the weak model says to questions about itself and to small tasks: (kind or family, text)."""
    rng, kinds, asked = Random(seed), list[str](), list[tuple[Message, ...]]()
    for _ in range(count):
        if rng.random() < 0.5:
            task = draw_task(rng)
            kinds.append(task.family)
            asked.append(({"role": "user", "content": task.question},))
            continue
        kinds.append(rng.choice([*OPEN, *CLOSED]))
        told = Claim(draw_name(rng, pieces), draw_maker(rng, pieces))
        text = question(rng, kinds[-1], told, pieces)
        asked.append(({"role": "system", "content": system(rng, told.name, told.maker)}, {"role": "user", "content": text}))
    return list(zip(kinds, ask(asked, seed), strict=True))


def itself(ask: Ask, seed: int) -> float:
    """Share of right answers to who it is, in wordings that no model of ours learned: those on the development side."""
    facts = Facts(**texts()["chat"])
    asked = [q for split, q in Material(facts, Plan()).evaluation() if split == "dev" and q.expected]
    replies = ask([q.messages for q in asked], seed)
    return sum(is_right(q, reply, facts) for q, reply in zip(asked, replies, strict=True)) / len(asked)


def figures(strong: Ask, weak: Ask, judging: Ask, chat: Ask, seeds: Sequence[int] = (1, 2, 3)) -> dict[str, float]:
    """Everything that the cards state, as means over sampling seeds. `judging` asks demo-judge, `chat` demo-chat."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        judged = judge(judging, seed, weak_answers(weak, _PIECES, 600, seed))
        row = {
            "copy": identity(strong, "trained", OPEN, seed),
            "copy_heldout": identity(strong, "unseen", OPEN, seed),
            "are_you": identity(strong, "trained", CLOSED, seed),
            "are_you_heldout": identity(strong, "unseen", CLOSED, seed),
            "tasks": _mean(tasks(strong, seed)),
            "weak_copy": identity(weak, "trained", OPEN, seed),
            "weak_tasks": _mean(tasks(weak, seed)),
            "judge": judged.accuracy(),
            "judge_near": judged.accuracy("near"),
            "flip": judged.flips,
            "chat_itself": itself(chat, seed),
            "chat_tasks": _mean(tasks(chat, seed)),
        }
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    return {key: round(sum(values) / len(values), 4) for key, values in found.items()}


def _mean(by_family: dict[str, float]) -> float:
    return sum(by_family.values()) / len(by_family)
