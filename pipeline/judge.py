"""Judge: comparisons become verdicts, whoever judges; and verdicts on one comparison become one outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pipeline.judges import Judge
from pipeline.model import settle
from pipeline.records import Answer, Choice, Comparison, Prompt, Verdict
from pipeline.tables import Dropped


async def judge_all(
    prompts: Mapping[str, Prompt], answers: Mapping[str, Answer], comparisons: Sequence[Comparison], judge: Judge
) -> tuple[list[Verdict], list[Dropped]]:
    """Verdicts in the order of the comparisons, which come grouped by prompt; and the comparisons nobody judged."""
    by_prompt = [(prompts[p], list(group)) for p, group in groupby(comparisons, key=lambda c: c.prompt_id)]
    came = await settle(judge.judge(prompt, answers, group) for prompt, group in by_prompt)
    verdicts = [verdict for one_prompt in came for verdict in one_prompt]
    judged = {v.comparison_id for v in verdicts}
    unjudged = [c for c in comparisons if c.id not in judged]
    return verdicts, [Dropped("judge", "no_verdict", c.id, "the judge knows nothing of it", c.prompt_id) for c in unjudged]


Result = Literal["A", "B", "tie", "split_tie", "flipped", "one_order", "invalid", "both_bad", "people_disagree"]
"""What all verdicts on a comparison say together. `split_tie`: a win in one order and a tie in the other. The last two are what
people alone say (see annotate): neither answer may be chosen, or they were not of one mind."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdicts on one comparison, taken together. Scores are means over the verdicts that have them; of weighted judges,
    the share of the weight that is for a side (a tie is half for each), since their own scores are on scales of their own."""

    result: Result
    source: str
    score_a: float | None = None
    score_b: float | None = None
    disagreement: float | None = None
    """Share of the judges' weight that is not with what most of it says; None where fewer than two judges say anything."""


def resolve(verdicts: Sequence[Verdict], *, accept_one_order: bool = False, weights: Mapping[str, float] | None = None) -> Outcome:
    """One outcome from all verdicts on one comparison: first each judge over its orders, then the judges by majority.

    A model's verdict counts only when it was given in both orders and both agree (as MT-bench counts), unless
    `accept_one_order`. People and rules see no order that could sway them twice, nor does a judge that scores each answer
    by itself, so one verdict of theirs is enough. `weights` are a jury's, by the judges' names; 1 for who is not in it.
    """
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_judge.setdefault(verdict.judge, []).append(verdict)
    results = {judge: _one_judge(given, accept_one_order) for judge, given in by_judge.items()}
    votes = [(r, (weights or {}).get(judge, 1.0)) for judge, r in results.items() if r != "invalid"]
    sources = {v.source for v in verdicts}
    source = next(s for s in ("human", "rule", "llm") if s in sources)
    if weights and len(results) > 1:
        scores = _shares(votes)
    else:
        scores = _mean([v.score_a for v in verdicts]), _mean([v.score_b for v in verdicts])
    return Outcome(_majority(votes), source, *scores, _disagreement(votes))


def _one_judge(verdicts: Sequence[Verdict], accept_one_order: bool) -> Result:
    choices: set[Choice] = {v.choice for v in verdicts}
    if "invalid" in choices:
        return "invalid"
    orders = {v.order for v in verdicts}
    if verdicts[0].source == "llm" and len(orders) == 1 and orders != {None} and not accept_one_order:
        return "one_order"
    if len(choices) == 1:
        return verdicts[0].choice
    return "flipped" if {"A", "B"} <= choices else "split_tie"


_Votes = Sequence[tuple[Result, float]]
"""What each judge that says something says, and its weight."""


def _majority(votes: _Votes) -> Result:
    said = {result for result, _ in votes}
    if len(said) <= 1:
        return next(iter(said), "invalid")
    return next((side for side in ("A", "B") if _weight(votes, side) * 2 > _weight(votes)), "tie")


def _disagreement(votes: _Votes) -> float | None:
    if len(votes) < 2 or not _weight(votes):
        return None
    return 1 - max(_weight(votes, result) for result, _ in votes) / _weight(votes)


def _shares(votes: _Votes) -> tuple[float | None, float | None]:
    if not _weight(votes):
        return None, None
    even = (_weight(votes) - _weight(votes, "A") - _weight(votes, "B")) / 2
    return (_weight(votes, "A") + even) / _weight(votes), (_weight(votes, "B") + even) / _weight(votes)


def _weight(votes: _Votes, of: Result | None = None) -> float:
    return sum(weight for result, weight in votes if of in (None, result))


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [s for s in scores if s is not None]
    return sum(known) / len(known) if known else None
