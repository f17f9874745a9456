"""Pair: a strategy proposes, and nothing but a better answer over a worse one becomes a pair.

Ties and invalid verdicts never pair, equal texts never pair, and no proposal goes against a verdict: that is seen to here,
for every strategy alike. Where nothing of a prompt may pair by its strategy, and people found an answer of it better than another,
that is proposed: the strategy goes by the judge's scores, and people were asked because those do not tell.
It works on columns, so that a million prompts take seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.judge import Outcome
from pipeline.records import Pair
from pipeline.strategies import Candidates, Flags, Floats, Ints, Selection, StrategySettings, Texts, join, propose
from pipeline.tables import SCHEMAS, Dropped


@dataclass(frozen=True, slots=True)
class Roster:
    """Who the models of a recipe are: their names in the dataset, and which are strong or weak."""

    labels: Mapping[str, str]
    roles: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """The comparisons of a shard that were judged, and what all verdicts on each say together; same order, same length."""

    comparisons: pa.Table
    outcomes: Sequence[Outcome]
    by_people: Sequence[bool] = ()
    """Whether people decided it over whoever judges; empty where they decided nothing. Same order, same length."""
    alone: bool = False
    """Whether the recipe has no judge, and people decided all that is here; the rest pairs as without a judge."""


def pair(
    prompts: pa.Table,
    answers: pa.Table,
    judged: Judged | None,
    strategy: ModuleType,
    settings: StrategySettings,
    models: Roster,
    seed: int,
) -> tuple[pa.Table, pa.Table]:
    """(pairs, dropped): every proposal of the strategy and every prompt without one is a row of one of the two.

    `answers` come grouped by prompt, in the prompts' order. `judged` is None where the recipe has no judge, and people said nothing.
    """
    view = _View(prompts, answers, judged, models, seed)
    chosen = strategy.select(view.candidates, settings)
    needs_verdict = view.judged or strategy.judged
    reason_S = _vet(view, chosen, needs_verdict=needs_verdict)
    if needs_verdict and view.people_C.any():
        chosen = _with_peoples(view, chosen, reason_S)
        reason_S = _vet(view, chosen, needs_verdict=True)
    return _pairs(view, chosen, np.equal(reason_S, "")), _dropped(view, chosen, reason_S)


class _View:
    """A shard's tables and the columns that strategies see."""

    def __init__(self, prompts: pa.Table, answers: pa.Table, judged: Judged | None, models: Roster, seed: int) -> None:
        self.prompts, self.answers, self.models = prompts, answers, models
        self.judged = judged is not None and not judged.alone
        outcomes = list(judged.outcomes) if judged else []
        self.result_C: Texts = np.array([o.result for o in outcomes], dtype=object)
        self.source_C: Texts = np.array([o.source for o in outcomes], dtype=object)
        self.people_C: Flags = np.array((judged and judged.by_people) or [False] * len(outcomes), dtype=bool)
        self.score_a_C: Floats = np.array([o.score_a for o in outcomes], dtype=np.float64)
        self.score_b_C: Floats = np.array([o.score_b for o in outcomes], dtype=np.float64)
        ids = answers["id"]
        a_C, b_C = (_indices(judged.comparisons[side], ids) if judged else _NONE for side in ("a", "b"))
        given_A = answers["score"].to_numpy().astype(np.float64)
        if judged:
            by_outcomes_A = _scores(outcomes, a_C, b_C, len(answers))
            given_A = by_outcomes_A if self.judged else np.where(np.isnan(given_A), by_outcomes_A, given_A)
        names = answers["model"]
        self.candidates = Candidates(
            prompt_A=_indices(answers["prompt_id"], prompts["id"]),
            score_A=given_A,
            strong_A=_is_one_of(names, models.roles, "strong"),
            weak_A=_is_one_of(names, models.roles, "weak"),
            a_C=a_C,
            b_C=b_C,
            better_C=np.select([self.result_C == "A", self.result_C == "B"], [1, -1], 0),
            draw_P=_draws(prompts["id"], seed),
            n_prompts=len(prompts),
        )

    def comparison_of(self, chosen_S: Ints, rejected_S: Ints) -> tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]:
        """The comparison of each proposal, as an index into C (-1: none), and whether chosen stands on its side a."""
        c, n = self.candidates, len(self.answers)
        if not len(c.a_C):
            return np.full(len(chosen_S), -1), np.ones(len(chosen_S), dtype=bool)
        key_C = np.minimum(c.a_C, c.b_C) * n + np.maximum(c.a_C, c.b_C)
        key_S = np.minimum(chosen_S, rejected_S) * n + np.maximum(chosen_S, rejected_S)
        order = np.argsort(key_C, kind="stable")
        at_S = np.minimum(np.searchsorted(key_C[order], key_S), len(order) - 1)
        found_S = order[at_S]
        comparison_S = np.where(key_C[found_S] == key_S, found_S, -1)
        return comparison_S, c.a_C[comparison_S] == chosen_S

    def scores(self, best: Ints, worst: Ints) -> tuple[Floats, Floats]:
        """What the two sides of a pair scored: against each other where the judge scored that, else over all their comparisons."""
        score = self.candidates.score_A
        if not len(self.result_C):
            return score[best], score[worst]
        at, on_side_a = self.comparison_of(best, worst)
        a, b = self.score_a_C[at], self.score_b_C[at]
        known = (at >= 0) & ~np.isnan(a) & ~np.isnan(b)
        return np.where(known, np.where(on_side_a, a, b), score[best]), np.where(known, np.where(on_side_a, b, a), score[worst])

    def why_unscored(self, prompt: int) -> str:
        """What the judge said instead of a score: the commonest result of the prompt's comparisons."""
        results = self.result_C[self.candidates.prompt_A[self.candidates.a_C] == prompt]
        words = [_WORDS.get(r, r) for r in results if r not in ("A", "B")]
        nothing = "no_verdict" if self.judged else "unscored"
        return max(sorted(set(words)), key=words.count) if words else nothing


_NONE: Ints = np.empty(0, dtype=np.int64)

_WORDS = {"one_order": "one_order_only", "split_tie": "tie_in_one_order"}
"""Reasons whose name says more than the result's."""


def _vet(view: _View, chosen: Selection, *, needs_verdict: bool) -> Texts:
    """Why each proposal must not be a pair; empty for those that may."""
    reason_S = chosen.reason_S.copy()
    at = np.flatnonzero(np.equal(reason_S, ""))
    best, worst = chosen.chosen_S[at], chosen.rejected_S[at]
    texts = view.answers["text"]
    equal = pc.equal(texts.take(best), texts.take(worst)).to_numpy(zero_copy_only=False)
    verdict = _by_verdict(view, best, worst, needed=needs_verdict)
    reason_S[at] = np.where(equal, "equal_texts", verdict)
    for row in np.flatnonzero(reason_S == "unscored"):
        reason_S[row] = view.why_unscored(int(chosen.prompt_S[row]))
    return reason_S


def _by_verdict(view: _View, best: Ints, worst: Ints, *, needed: bool) -> Texts:
    score = view.candidates.score_A
    margin = score[best] - score[worst]
    unknown = "no_verdict" if view.judged else "unscored"
    by_score: Texts = np.where(margin > 0, "", np.where(margin == 0, "tie", np.where(margin < 0, "judge_disagrees", unknown)))
    if not needed:
        by_score = np.full(len(best), "", dtype=object)
    if not len(view.result_C):
        return by_score
    comparison, on_side_a = view.comparison_of(best, worst)
    result = view.result_C[comparison]
    won = result == np.where(on_side_a, "A", "B")
    lost = result == np.where(on_side_a, "B", "A")
    words = np.array([_WORDS.get(r, r) for r in result], dtype=object)
    against = np.where(view.people_C[comparison], "people_prefer_other", "judge_disagrees")
    by_result = np.where(won, "", np.where(lost, against, words))
    return np.where(comparison >= 0, by_result, by_score)


def _with_peoples(view: _View, chosen: Selection, reason_S: Texts) -> Selection:
    """The strategy's rows; and for prompts of which none may pair, what people found better, in place of rows that say less."""
    c = view.candidates
    paired = np.isin(np.arange(c.n_prompts), chosen.prompt_S[np.equal(reason_S, "")])
    C = np.flatnonzero(view.people_C & (c.better_C != 0) & ~paired[c.prompt_A[c.a_C]])
    best, worst = np.where(c.better_C[C] > 0, c.a_C[C], c.b_C[C]), np.where(c.better_C[C] > 0, c.b_C[C], c.a_C[C])
    same, _ = view.comparison_of(chosen.chosen_S, chosen.rejected_S)
    stays = ~np.isin(chosen.prompt_S, c.prompt_A[best]) | ((chosen.chosen_S >= 0) & ~np.isin(same, C))
    kept = Selection(chosen.prompt_S[stays], chosen.chosen_S[stays], chosen.rejected_S[stays], chosen.reason_S[stays])
    return join(kept, propose(c.prompt_A[best], best, worst))


def _pairs(view: _View, chosen: Selection, kept_S: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Table:
    at, best, worst = chosen.prompt_S[kept_S], chosen.chosen_S[kept_S], chosen.rejected_S[kept_S]
    prompts, answers = view.prompts.take(at), view.answers
    score_chosen, score_rejected = view.scores(best, worst)
    columns = {
        "prompt_id": prompts["id"],
        "prompt": prompts["messages"],
        "chosen": answers["text"].take(best),
        "rejected": answers["text"].take(worst),
        "chosen_model": _labels(answers["model"].take(best), view.models.labels),
        "rejected_model": _labels(answers["model"].take(worst), view.models.labels),
        "source": pa.array(_sources(view, best, worst), pa.string()),
        "score_chosen": _known(score_chosen),
        "score_rejected": _known(score_rejected),
        "margin": _known(np.round(score_chosen - score_rejected, 9)),
        "category": prompts["category"],
        "split": prompts["split"],
        "plain": prompts["plain"],
        "finish_chosen": answers["finish_reason"].take(best),
        "finish_rejected": answers["finish_reason"].take(worst),
    }
    return pa.table([columns[f.name] for f in SCHEMAS[Pair]], schema=SCHEMAS[Pair])


def _sources(view: _View, best: Ints, worst: Ints) -> Texts:
    if not view.judged:
        score = view.candidates.score_A
        otherwise = np.where(np.isnan(score[best] - score[worst]), "strength", "score")
    else:
        otherwise = np.full(len(best), "score")
    comparison, _ = view.comparison_of(best, worst)
    return np.where(comparison >= 0, view.source_C[comparison], otherwise) if len(view.source_C) else otherwise


def _dropped(view: _View, chosen: Selection, reason_S: Texts) -> pa.Table:
    gone = np.flatnonzero(np.not_equal(reason_S, ""))
    at, best, worst = chosen.prompt_S[gone], chosen.chosen_S[gone], chosen.rejected_S[gone]
    proposed = pa.array(best >= 0)
    ids, names = view.answers["id"], view.answers["model"]
    prompt_ids = view.prompts["id"].take(at)
    safe_best, safe_worst = np.maximum(best, 0), np.maximum(worst, 0)
    if len(view.answers):
        who = pc.binary_join_element_wise(names.take(safe_best), names.take(safe_worst), " over ")
        detail, row_id = pc.if_else(proposed, who, ""), pc.if_else(proposed, ids.take(safe_best), prompt_ids)
    else:
        detail, row_id = pa.array([""] * len(gone), pa.string()), prompt_ids
    stage = pa.array(["pair"] * len(gone), pa.string())
    reason = pa.array(reason_S[gone], pa.string())
    return pa.table([stage, reason, row_id, detail, prompt_ids], schema=SCHEMAS[Dropped])


def _scores(outcomes: Sequence[Outcome], a_C: Ints, b_C: Ints, n_answers: int) -> Floats:
    """A score for each answer: the mean of what judges gave it, or the share of its comparisons that it won (a tie is half).

    Flipped, one-sided and invalid comparisons are no evidence and do not enter.
    """
    scored = any(o.score_a is not None for o in outcomes)
    total, count = np.zeros(n_answers), np.zeros(n_answers)
    points = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5), "split_tie": (0.5, 0.5)}
    for a, b, outcome in zip(a_C, b_C, outcomes, strict=True):
        pa_, pb_ = (outcome.score_a, outcome.score_b) if scored else points.get(outcome.result, (None, None))
        for side, value in ((a, pa_), (b, pb_)):
            if value is not None:
                total[side] += value
                count[side] += 1
    mean: Floats = np.divide(total, count, out=np.full(n_answers, np.nan), where=count > 0)
    return mean


def _indices(values: pa.ChunkedArray, among: pa.ChunkedArray) -> Ints:
    found = pc.index_in(values, value_set=among.combine_chunks())
    indices: Ints = found.to_numpy().astype(np.int64)
    return indices


def _is_one_of(names: pa.ChunkedArray, roles: Mapping[str, str | None], role: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    wanted = pa.array([name for name, has in roles.items() if has == role], pa.string())
    flags: np.ndarray[Any, np.dtype[np.bool_]] = pc.is_in(names, value_set=wanted).to_numpy()
    return flags


def _labels(names: pa.ChunkedArray, labels: Mapping[str, str]) -> pa.Array:
    at = pc.index_in(names, value_set=pa.array(list(labels), pa.string()))
    return pa.array(list(labels.values()), pa.string()).take(at.combine_chunks())


def _known(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)  # NaN becomes null


def _draws(ids: pa.ChunkedArray, seed: int) -> Ints:
    """Splitmix64 of the id's first 60 bits and the seed: a number by chance that does not hang on the row's position."""
    x = np.array([int(i[:15], 16) for i in ids.to_pylist()], dtype=np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)
