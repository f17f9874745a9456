"""The best answer over another one drawn by chance: rejected answers are then as good as answers usually are."""

import numpy as np

from pipeline.strategies import Candidates, Selection, StrategySettings, join, propose, rank, too_few


class Settings(StrategySettings):
    """Best over random, by score and the recipe's seed."""

    strategy: str = "best_random"
    """The name of this plug-in."""


judged = True


def select(candidates: Candidates, settings: Settings) -> Selection:
    ranked = rank(candidates)
    prompts = np.flatnonzero(ranked.count_P >= 2)
    first, count = ranked.start_P[prompts], ranked.count_P[prompts]
    best = ranked.answer_R[first + count - 1]
    other = ranked.answer_R[first + candidates.draw_P[prompts] % (count - 1)]
    return join(propose(prompts, best, other), too_few(candidates, ranked))
