"""Scores in a judge's reply: as it wrote them, and as the mean of what it might have written (Wang et al. 2025, 2503.03064)."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.judges._asking import json_in
from pipeline.records import Reply, TokenChoice

TOP = 20
"""Likeliest tokens to ask for at each place; servers give no more."""

Scores = Mapping[str, float]
"""By criterion."""


class Scale(NamedTuple):
    """Whole numbers from the worst to the best."""

    low: int
    high: int

    @property
    def is_digits(self) -> bool:
        """Whether each score is one token with any tokenizer, so that its likelihood can be read."""
        return self.high <= 9

    def holds(self, score: float) -> bool:
        return self.low <= score <= self.high


def read_scores(reply: Reply, names: Sequence[str], scale: Scale) -> Scores | None:
    """The score of every criterion as it was written, on the scale; None where one is missing."""
    found = [next(_written(reply.text, name), None) for name in names]
    body = json_in(reply.text)
    values = [_number(body[name]) if name in body else int(f[1]) if f else None for name, f in zip(names, found, strict=True)]
    scores = {name: float(v) for name, v in zip(names, values, strict=True) if v is not None and scale.holds(v)}
    return scores if len(scores) == len(names) else None


def read_distribution(reply: Reply, names: Sequence[str], scale: Scale) -> Scores | None:
    """The mean of the scores that might have stood where each was written, by their likelihood; None where that cannot be read."""
    tokens = reply.logprobs or ()
    text = "".join(t.token for t in tokens)
    ends = list(accumulate(len(t.token) for t in tokens))
    scores: dict[str, float] = {}
    for name in names:
        found = next(_written(text, name), None)
        at = next(i for i, end in enumerate(ends) if end > found.start(1)) if found else None
        mean = _mean(tokens[at], scale) if at is not None else None
        if mean is None:
            return None
        scores[name] = mean
    return scores


def _mean(token: TokenChoice, scale: Scale) -> float | None:
    likely = [(int(word.strip()), math.exp(p)) for word, p in token.top if word.strip().isdecimal()]
    held = [(score, p) for score, p in likely if scale.holds(score)]
    total = sum(p for _, p in held)
    return sum(score * p for score, p in held) / total if total else None


def _written(text: str, name: str) -> Iterator[re.Match[str]]:
    """Where a criterion's score stands, the last first: the words before it may quote the form."""
    form = rf"(?:^[^\w\n]*|\"){re.escape(name)}[^\w\n]{{0,6}}(\d+)(?![.,]?\d)"
    yield from reversed(list(re.finditer(form, text, re.IGNORECASE | re.MULTILINE)))


def _number(said: object) -> float | None:
    if isinstance(said, str) and said.strip().isdecimal():
        said = int(said)
    return said if isinstance(said, int | float) and not isinstance(said, bool) and said == int(said) else None
