"""Which model is better, by one judge's labels: win rates, and Bradley-Terry strengths with ties and their intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import Estimate, Floats, Ints, between, share
from pipeline.settings import Anything

WEAK, WEAKER = 1e-3, 1e-6
"""Precisions of the prior on resamples. A strength that the outcomes limit is the same under both; another runs away."""

PRIOR = 0.25
"""Where some strength has no limit, all are held near 0 by a normal prior of this precision (a deviation of 2)."""

BATCH = 64
"""Resamples fitted at once: memory is batch x models²."""


@dataclass(frozen=True, slots=True)
class Meetings:
    """P pairs of models that met: `one_P` and `other_P` are models, `counts_P3` wins of the one, wins of the other, ties."""

    models: int
    one_P: Ints
    other_P: Ints
    counts_P3: Floats

    @staticmethod
    def of(model_I2: Ints, label_I: NDArray[np.int8], models: int) -> "Meetings":
        """From labels of items; those without a label, an unknown model or one model on both sides are left out."""
        kept = (label_I >= 0) & (model_I2 >= 0).all(axis=1) & (model_I2[:, 0] != model_I2[:, 1])
        sides, label = model_I2[kept], label_I[kept].astype(np.int64)
        turned = sides[:, 0] > sides[:, 1]
        label = np.where(turned & (label < 2), 1 - label, label)
        keys, pair = np.unique(sides.min(axis=1) * models + sides.max(axis=1), return_inverse=True)
        counts = np.bincount(pair * 3 + label, minlength=len(keys) * 3).astype(np.float64).reshape(-1, 3)
        return Meetings(models, keys // models, keys % models, counts)


def standings(m: Meetings, names: list[str], rng: np.random.Generator, resamples: int) -> Anything:
    """Of each model that met another: its win rate (win 1, tie 0.5, loss 0), and its strength as log-odds against the
    average model; best first. `unlimited` names models whose strength the outcomes limit on one side only."""
    games_M, points_M = _points(m)
    met = np.flatnonzero(games_M)
    strengths, tie, unlimited = _strengths(m, met, rng, resamples)
    rows = [
        {"model": names[i], "win_rate": share(float(points_M[i]), int(games_M[i])), "strength": strengths[n]} for n, i in enumerate(met)
    ]
    rows.sort(key=lambda r: (-(r["strength"].value or 0.0), -(r["win_rate"].value or 0.0), r["model"]))  # type: ignore[attr-defined]
    meetings = [
        {"models": [names[a], names[b]], "wins": int(w), "losses": int(x), "ties": int(t)}
        for a, b, (w, x, t) in zip(m.one_P, m.other_P, m.counts_P3, strict=True)
    ]
    return {"models": rows, "tie": tie, "unlimited": sorted(names[met[n]] for n in unlimited), "meetings": meetings}


def strengths_of_few(side_I2: Ints, label_I: NDArray[np.int8], size: int) -> Floats:
    """Strengths of the `size` answers to one prompt (or models) from the few verdicts on them, as log-odds around 0.

    `side_I2` are the answers on sides a and b of each labelled item. The prior keeps every strength finite and, where little
    is known, near 0: many verdicts move it more than one. nan for an answer that met nobody.
    """
    m = Meetings.of(side_I2, label_I, size)
    games, _ = _points(m)
    found = fit(m, m.counts_P3[None], PRIOR)[0, :-1] if len(m.one_P) else np.zeros(size)
    return np.where(games > 0, found, np.nan)


def _points(m: Meetings) -> tuple[Floats, Floats]:
    wins, losses, ties = m.counts_P3.T
    n = m.counts_P3.sum(axis=1)
    games = np.bincount(m.one_P, n, m.models) + np.bincount(m.other_P, n, m.models)
    points = np.bincount(m.one_P, wins + ties / 2, m.models) + np.bincount(m.other_P, losses + ties / 2, m.models)
    return np.asarray(games, np.float64), np.asarray(points, np.float64)


def _strengths(m: Meetings, met: Ints, rng: np.random.Generator, resamples: int) -> tuple[list[Estimate], Estimate, list[int]]:
    """The strengths of the models that met, the tie parameter, and which strengths have no limit."""
    n = int(m.counts_P3.sum())
    one, other = np.searchsorted(met, m.one_P), np.searchsorted(met, m.other_P)
    nothing = Estimate(None, None, None, n)
    if n == 0 or not m.counts_P3[:, :2].any():  # only ties: nobody is ahead, by whatever the strengths were
        return [nothing] * len(met), nothing, []
    local = Meetings(len(met), one, other, m.counts_P3)
    unlimited = without_limit(local)
    prior = PRIOR if unlimited else 0.0
    value = fit(local, m.counts_P3[None], prior)[0]
    drawn = rng.multinomial(n, m.counts_P3.ravel() / n, size=resamples).reshape(resamples, len(m.one_P), 3).astype(np.float64)
    draws = np.concatenate([np.empty((0, len(value))), *(_draws(local, drawn[i : i + BATCH]) for i in range(0, resamples, BATCH))])
    games, _ = _points(m)
    found = [_open(value[i], draws[:, i], int(games[met[i]]), unlimited=i in unlimited) for i in range(len(met))]
    ties = float(m.counts_P3[:, 2].sum())
    tie = between(float(np.exp(value[-1])), np.exp(draws[:, -1]), n) if ties else Estimate(0.0, None, None, n)
    return found, tie, unlimited


def _draws(m: Meetings, counts_RP3: Floats) -> Floats:
    """R x (M + 1): strengths of resamples; infinite where a resample's outcomes do not limit them."""
    near, far = fit(m, counts_RP3, WEAK), fit(m, counts_RP3, WEAKER)
    away = np.subtract(far, near, out=np.zeros_like(far), where=np.isfinite(far))
    return np.where(np.abs(away) > 0.5, np.copysign(np.inf, away), far)


def _open(value: float, draws: Floats, n: int, *, unlimited: bool) -> Estimate:
    """The middle 95 % of the resamples, open where it ends in resamples without a limit."""
    if unlimited or not len(draws):
        return Estimate(float(value), None, None, n)
    low, high = np.percentile(draws, [2.5, 97.5], method="inverted_cdf")
    return Estimate(float(value), float(low) if np.isfinite(low) else None, float(high) if np.isfinite(high) else None, n)


def fit(m: Meetings, counts_RP3: Floats, prior: float) -> Floats:
    """R x (M + 1): strengths of Davidson's model (1970, JASA 65:317), centred on 0, and log t, of its tie parameter.

    P(i wins) : P(j wins) : P(tie) = π_i : π_j : t √(π_i π_j). In log π and log t this is an exponential family, so the
    likelihood has one maximum, found by damped Newton steps for all R tables of counts at once. `prior` is the precision
    of a normal prior on every parameter. Where nobody ever tied, log t is -inf and the model is plain Bradley-Terry.
    """
    features = _features(m)
    P, K = len(m.one_P), m.models + 1
    tied = bool(counts_RP3[:, :, 2].any())
    base = np.array([0.0, 0.0, 0.0 if tied else -np.inf])
    scatter = (np.arange(P)[:, None], features[0])
    n_RP = counts_RP3.sum(axis=2)
    seen = np.einsum("rpo,pok->rk", counts_RP3, features[1])
    # A little on the diagonal takes care of the direction in which all strengths rise alike.
    ridge = np.eye(K) * max(prior, 1e-9)
    x = np.zeros((len(counts_RP3), K))
    for _ in range(60):
        local = x[:, scatter[1]]  # R P 3: the two strengths and log t of each pair
        logits = np.einsum("rpk,ok->rpo", local, _OUTCOMES) + base
        chance = np.exp(logits - logits.max(axis=2, keepdims=True))
        chance /= chance.sum(axis=2, keepdims=True)
        gradient = seen - np.einsum("rpo,pok->rk", chance * n_RP[:, :, None], features[1]) - prior * x
        step = np.linalg.solve(_information(chance, n_RP, features[0], K) + ridge, gradient[..., None])[..., 0]
        x += step * np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    x[:, :-1] -= x[:, :-1].mean(axis=1, keepdims=True)
    if not tied:
        x[:, -1] = -np.inf
    return np.asarray(x)


_OUTCOMES = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 1.0]])
"""The log-weight of each outcome (rows) in the two strengths and log t (columns)."""


def _features(m: Meetings) -> tuple[Ints, Floats]:
    """P x 3: which parameters a pair has; P x 3 x K: the log-weight of each outcome in all of them."""
    which = np.stack([m.one_P, m.other_P, np.full(len(m.one_P), m.models)], axis=1).astype(np.int64)
    full = np.zeros((len(which), 3, m.models + 1))
    for k in range(3):
        full[np.arange(len(which)), :, which[:, k]] += _OUTCOMES[:, k]
    return which, full


def _information(chance_RPO: Floats, n_RP: Floats, which_P3: Ints, K: int) -> Floats:
    """R x K x K: the Fisher information, each pair's 3 x 3 covariance added where its parameters stand."""
    mean = chance_RPO @ _OUTCOMES
    second = np.einsum("rpo,oi,oj->rpij", chance_RPO, _OUTCOMES, _OUTCOMES)
    local = (second - mean[..., :, None] * mean[..., None, :]) * n_RP[..., None, None]
    place = (which_P3[:, :, None] * K + which_P3[:, None, :]).ravel()
    out = np.zeros((len(chance_RPO), K * K))
    for r, values in enumerate(local.reshape(len(local), -1)):
        out[r] = np.bincount(place, values, K * K)
    return out.reshape(-1, K, K)


def without_limit(m: Meetings) -> list[int]:
    """The models whose strength the outcomes do not limit, such as one that never lost; empty where the maximum exists.

    The likelihood has no maximum if and only if some direction of the parameters makes no observed outcome less likely and
    one more so (Albert and Anderson 1984, Biometrika 71:1); a linear programme finds it.
    """
    from scipy.optimize import linprog

    _, features = _features(m)
    pairs, outcome = np.nonzero(m.counts_P3)
    ties = bool(m.counts_P3[:, 2].any())
    better = [features[p, o] - features[p, q] for p, o in zip(pairs, outcome, strict=True) for q in range(3) if q != o and (ties or q != 2)]
    gain = np.array(better)
    found = linprog(-gain.sum(axis=0), A_ub=np.vstack([-gain, gain]), b_ub=np.r_[np.zeros(len(gain)), np.ones(len(gain))], bounds=(-9, 9))
    if not found.success or -found.fun < 1e-7:
        return _apart(m)
    direction = found.x[:-1]
    middle = np.median(direction)
    far = np.flatnonzero(np.abs(direction - middle) > 1e-7)
    return sorted({*far.tolist(), *_apart(m)})


def _apart(m: Meetings) -> list[int]:
    """Models that no chain of meetings joins to the largest group: their strengths cannot be compared."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(m.one_P))
    _, group = connected_components(coo_array((ones, (m.one_P, m.other_P)), shape=(m.models, m.models)), directed=False)
    sizes = np.bincount(group)
    return [int(i) for i in np.flatnonzero(group != sizes.argmax())]
