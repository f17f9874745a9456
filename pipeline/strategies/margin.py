"""The best answer over the worst one that lies inside a window of margins: neither too alike nor too easy to tell apart
(AIR, 2504.03612: a moderate margin and a high absolute score)."""

import numpy as np
from pydantic import Field

from pipeline.strategies import Candidates, Selection, StrategySettings, join, propose, rank, refuse, too_few


class Settings(StrategySettings):
    """Margins are differences of scores, in the judge's own unit."""

    strategy: str = "margin"
    """The name of this plug-in."""
    min_margin: float = Field(gt=0)
    """Smallest difference that makes a pair."""
    max_margin: float = Field(float("inf"), gt=0)
    """Largest one."""
    min_chosen: float = float("-inf")
    """Lowest score of a chosen answer."""


judged = True


def select(candidates: Candidates, settings: Settings) -> Selection:
    ranked = rank(candidates)
    prompts = np.flatnonzero(ranked.count_P >= 2)
    prompt_R = np.repeat(np.arange(candidates.n_prompts), ranked.count_P)
    best_P = np.full(candidates.n_prompts, -1, dtype=np.int64)
    best_P[prompt_R] = ranked.answer_R  # from worst to best: the last one written stays
    # Rounded, because 0.3 - 0.2 is not 0.1 and the window's edges are meant to be inside.
    margin_R = np.round(candidates.score_A[best_P[prompt_R]] - candidates.score_A[ranked.answer_R], 9)
    inside_R = (margin_R >= settings.min_margin) & (margin_R <= settings.max_margin)
    # Answers stand from worst to best, so the first one inside the window has the widest margin in it.
    found, at_R = np.unique(prompt_R[inside_R], return_index=True)
    worst = ranked.answer_R[inside_R][at_R]
    floor = candidates.score_A[best_P[found]] >= settings.min_chosen
    outside = np.setdiff1d(prompts, found)
    widest = candidates.score_A[best_P[outside]] - candidates.score_A[ranked.answer_R[ranked.start_P[outside]]]
    return join(
        propose(found[floor], best_P[found[floor]], worst[floor]),
        refuse(found[~floor], "chosen_below_floor"),
        refuse(outside[widest < settings.min_margin], "margin_too_small"),
        refuse(outside[widest >= settings.min_margin], "margin_too_large"),
        too_few(candidates, ranked),
    )
