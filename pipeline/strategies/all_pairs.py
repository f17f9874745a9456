"""Every two answers that were compared, or whose scores differ, make a pair."""

import numpy as np

from pipeline.strategies import Candidates, Ints, Selection, StrategySettings, join, propose, rank, refuse


class Settings(StrategySettings):
    """All that was judged."""

    strategy: str = "all_pairs"
    """The name of this plug-in."""


judged = True


def select(candidates: Candidates, settings: Settings) -> Selection:
    chosen, rejected = _compared(candidates) if len(candidates.a_C) else _every_two(candidates)
    proposals = propose(candidates.prompt_A[chosen], chosen, rejected)
    alone = np.setdiff1d(np.arange(candidates.n_prompts), proposals.prompt_S)
    several = np.bincount(candidates.prompt_A, minlength=candidates.n_prompts)[alone] >= 2
    return join(proposals, refuse(alone[several], "unscored"), refuse(alone[~several], "too_few_answers"))


def _compared(candidates: Candidates) -> tuple[Ints, Ints]:
    """The verdict says which of the two is chosen, also against the scores that both have from other comparisons."""
    b_won = candidates.better_C < 0
    a, b = candidates.a_C, candidates.b_C
    return np.where(b_won, b, a), np.where(b_won, a, b)


def _every_two(candidates: Candidates) -> tuple[Ints, Ints]:
    ranked = rank(candidates)
    better, worse = [], []
    for count in np.unique(ranked.count_P[ranked.count_P >= 2]):
        low, high = np.triu_indices(count, 1)
        start = ranked.start_P[ranked.count_P == count][:, None]
        better.append(ranked.answer_R[start + high].ravel())
        worse.append(ranked.answer_R[start + low].ravel())
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *better]), np.concatenate([empty, *worse])
