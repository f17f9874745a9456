"""The best answer over the worst: one pair a prompt, with the widest margin there is."""

import numpy as np

from pipeline.strategies import Candidates, Selection, StrategySettings, join, propose, rank, too_few


class Settings(StrategySettings):
    """Best over worst, by score."""

    strategy: str = "best_worst"
    """The name of this plug-in."""


judged = True


def select(candidates: Candidates, settings: Settings) -> Selection:
    ranked = rank(candidates)
    prompts = np.flatnonzero(ranked.count_P >= 2)
    first = ranked.start_P[prompts]
    worst, best = ranked.answer_R[first], ranked.answer_R[first + ranked.count_P[prompts] - 1]
    return join(propose(prompts, best, worst), too_few(candidates, ranked))
