"""Every two answers that were compared, or whose scores differ, make a pair."""

import numpy as np

from pipeline.strategies import Candidates, Selection, StrategySettings, join, propose, rank, refuse


class Settings(StrategySettings):
    """All that was judged."""

    strategy: str = "all_pairs"


judged = True


def select(candidates: Candidates, settings: Settings) -> Selection:
    a, b = (candidates.a_C, candidates.b_C) if len(candidates.a_C) else _every_two(candidates)
    # A verdict decides which of the two is chosen; where scores say it, they are put in their order here.
    swapped = candidates.score_A[b] > candidates.score_A[a]
    proposals = propose(candidates.prompt_A[a], np.where(swapped, b, a), np.where(swapped, a, b))
    alone = np.setdiff1d(np.arange(candidates.n_prompts), proposals.prompt_S)
    return join(proposals, refuse(alone, "too_few_answers"))


def _every_two(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    ranked = rank(candidates)
    left, right = [], []
    for count in np.unique(ranked.count_P[ranked.count_P >= 2]):
        low, high = np.triu_indices(count, 1)
        start = ranked.start_P[ranked.count_P == count][:, None]
        left.append(ranked.answer_R[start + high].ravel())
        right.append(ranked.answer_R[start + low].ravel())
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *left]), np.concatenate([empty, *right])
