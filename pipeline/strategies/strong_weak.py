"""The strong model's answer is chosen, the weak one's rejected: without a judge (delta learning, 2507.06187), or only
where the judge agrees."""

import numpy as np

from pipeline.records import Meeting
from pipeline.strategies import Candidates, Selection, StrategySettings, join, propose, refuse


class Settings(StrategySettings):
    """Every strong answer over every weak one."""

    strategy: str = "strong_weak"
    """The name of this plug-in."""
    meeting: Meeting = "strong_weak"
    """Only strong against weak is worth judging here."""


judged = False


def select(candidates: Candidates, settings: Settings) -> Selection:
    strong = np.flatnonzero(candidates.strong_A)
    weak = np.flatnonzero(candidates.weak_A)
    prompt_W = candidates.prompt_A[weak]
    start = np.searchsorted(prompt_W, candidates.prompt_A[strong], side="left")
    count = np.searchsorted(prompt_W, candidates.prompt_A[strong], side="right") - start
    chosen = np.repeat(strong, count)
    offset = np.arange(len(chosen)) - np.repeat(np.cumsum(count) - count, count)
    rejected = weak[np.repeat(start, count) + offset]
    proposals = propose(candidates.prompt_A[chosen], chosen, rejected)
    alone = np.setdiff1d(np.arange(candidates.n_prompts), proposals.prompt_S)
    return join(proposals, refuse(alone, "too_few_answers"))
