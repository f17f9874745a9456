"""What a strategy is: it proposes which answers of a prompt might make a pair.

A plug-in file defines `Settings` (with a `strategy` field, the plug-in's name, and `meeting`, who must meet whom when
there is a judge) and `select`. It works on columns, a shard at once, and only proposes: that ties, invalid verdicts and
equal texts never pair is seen to by pipeline/pair.py, for every strategy alike.

Array names carry their axes: P prompts, A answers (grouped by prompt), C comparisons, S proposals.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Meeting
from pipeline.settings import PluginSettings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Texts = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """One shard's answers and what is known of them."""

    prompt_A: Ints
    """Index of the prompt; ascending."""
    score_A: Floats
    """Quality: the judge's scores, or the share of won comparisons, or the recorded score; NaN where nothing is known."""
    strong_A: Flags
    weak_A: Flags
    a_C: Ints
    """The answer on side a, as an index into A."""
    b_C: Ints
    better_C: Ints
    """1 where side a won, -1 where side b did, 0 where neither (a tie, a flip, no verdict)."""
    draw_P: Ints
    """A number by chance for each prompt, the same in every run."""
    n_prompts: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Proposals; and for prompts without one, a row that says why. Every prompt has at least one row."""

    prompt_S: Ints
    chosen_S: Ints
    """Index into A, or -1 where `reason_S` says why there is none."""
    rejected_S: Ints
    reason_S: Texts
    """Empty for a proposal."""


class Strategy(Protocol):
    """The module of a strategy, as its plug-in loader sees it."""

    judged: bool
    """Whether a comparison's verdict is needed for a pair (False: what the strategy knows is reason enough)."""

    def select(self, candidates: Candidates, settings: Any) -> Selection: ...


class StrategySettings(PluginSettings):
    """What every strategy understands."""

    strategy: str
    """The plug-in in pipeline/strategies."""
    meeting: Meeting = "all"
    """Which answers meet before the judge."""
    accept_one_order: bool = False
    """Let a model's verdict pair that was given in one order only, as recorded verdicts often were; its order bias is
    then unseen."""


def propose(prompt_S: Ints, chosen_S: Ints, rejected_S: Ints) -> Selection:
    """Proposals without a refusal among them."""
    return Selection(prompt_S, chosen_S, rejected_S, np.full(len(prompt_S), "", dtype=object))


def refuse(prompt_S: Ints, reason: str) -> Selection:
    """Rows for prompts that get no pair."""
    none = np.full(len(prompt_S), -1, dtype=np.int64)
    return Selection(prompt_S, none, none, np.full(len(prompt_S), reason, dtype=object))


def join(*selections: Selection) -> Selection:
    """All rows, in the order of the prompts; rows of one prompt keep their order."""
    prompt_S = np.concatenate([s.prompt_S for s in selections])
    order = np.argsort(prompt_S, kind="stable")
    return Selection(
        prompt_S[order],
        np.concatenate([s.chosen_S for s in selections])[order],
        np.concatenate([s.rejected_S for s in selections])[order],
        np.concatenate([s.reason_S for s in selections])[order],
    )


@dataclass(frozen=True, slots=True)
class Ranked:
    """The scored answers of each prompt from worst to best, as one array with a slice a prompt."""

    answer_R: Ints
    """Index into A."""
    start_P: Ints
    """Of the prompt's slice in R."""
    count_P: Ints


def rank(candidates: Candidates) -> Ranked:
    """Sort by prompt, then score; equal scores keep the answers' order. Unscored answers are left out."""
    scored = np.flatnonzero(~np.isnan(candidates.score_A))
    order = np.lexsort((candidates.score_A[scored], candidates.prompt_A[scored]))
    answer_R = scored[order]
    count_P = np.bincount(candidates.prompt_A[scored], minlength=candidates.n_prompts)
    return Ranked(answer_R, np.cumsum(count_P) - count_P, count_P)


def too_few(candidates: Candidates, ranked: Ranked) -> Selection:
    """Refusals for prompts that cannot have a pair: fewer than two answers, or fewer than two with a score."""
    answers_P = np.bincount(candidates.prompt_A, minlength=candidates.n_prompts)
    few = np.flatnonzero(answers_P < 2)
    unscored = np.flatnonzero((answers_P >= 2) & (ranked.count_P < 2))
    return join(refuse(few, "too_few_answers"), refuse(unscored, "unscored"))
