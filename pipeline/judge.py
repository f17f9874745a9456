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


Result = Literal["A", "B", "tie", "split_tie", "flipped", "one_order", "invalid"]
"""What all verdicts on a comparison say together. `split_tie`: a win in one order and a tie in the other."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdicts on one comparison, taken together. Scores are means over the verdicts that have them."""

    result: Result
    source: str
    score_a: float | None = None
    score_b: float | None = None


def resolve(verdicts: Sequence[Verdict], *, accept_one_order: bool = False) -> Outcome:
    """One outcome from all verdicts on one comparison: first each judge over its orders, then the judges by majority.

    A model's verdict counts only when it was given in both orders and both agree (as MT-bench counts), unless
    `accept_one_order`. People and rules see no order that could sway them twice, so one verdict of theirs is enough.
    """
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_judge.setdefault(verdict.judge, []).append(verdict)
    results = [_one_judge(given, accept_one_order) for given in by_judge.values()]
    sources = {v.source for v in verdicts}
    source = next(s for s in ("human", "rule", "llm") if s in sources)
    return Outcome(_majority(results), source, _mean([v.score_a for v in verdicts]), _mean([v.score_b for v in verdicts]))


def _one_judge(verdicts: Sequence[Verdict], accept_one_order: bool) -> Result:
    choices: set[Choice] = {v.choice for v in verdicts}
    if "invalid" in choices:
        return "invalid"
    if verdicts[0].source == "llm" and len({v.order for v in verdicts}) == 1 and not accept_one_order:
        return "one_order"
    if len(choices) == 1:
        return verdicts[0].choice
    return "flipped" if {"A", "B"} <= choices else "split_tie"


def _majority(results: Sequence[Result]) -> Result:
    if len(results) == 1:
        return results[0]
    valid = [r for r in results if r != "invalid"]
    if not valid:
        return "invalid"
    for side in ("A", "B"):
        if valid.count(side) * 2 > len(valid):
            return side
    return "tie"


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [s for s in scores if s is not None]
    return sum(known) / len(known) if known else None
