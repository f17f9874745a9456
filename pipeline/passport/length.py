"""How far a judge goes by length: the share of its choices for the longer answer, and its preferences at equal length."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import NOTHING, Floats, Ints, between, share
from pipeline.passport.verdicts import Verdicts
from pipeline.settings import Anything

LEAST = 30
"""Items below which no regression is tried."""


def length_figures(v: Verdicts, label_I: NDArray[np.int8], rng: np.random.Generator, resamples: int) -> Anything:
    """`longer_chosen`: of the decided items with answers of different length, those where the longer won. `sway`: what one
    standard deviation of the length difference adds to the log-odds of being chosen, all else equal. `controlled`: each
    model's win rate at equal length beside the raw one. None without lengths."""
    known = (label_I >= 0) & np.isfinite(v.length_I2).all(axis=1)
    label, lengths = label_I[known].astype(np.int64), v.length_I2[known]
    difference = lengths[:, 0] - lengths[:, 1]
    decided = (label < 2) & (difference != 0)
    longer = int(((label == 0) == (difference > 0))[decided].sum())
    figures: Anything = {"longer_chosen": share(longer, int(decided.sum())), "sway": NOTHING, "controlled": []}
    chosen = np.array([1.0, 0.0, 0.5])[label]
    fitted = _fit(_design(v.model_I2[known], len(v.models), difference), chosen)
    if fitted is not None:
        figures["sway"] = between(fitted.values[-1], fitted.draws(rng, resamples)[:, -1], len(chosen))
        figures["controlled"] = _controlled(fitted, v.model_I2[known], v.models, chosen, rng, resamples)
    return figures


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Parameters of the columns that vary, the last that of length, and their covariance; `used` are the models' columns."""

    values: Floats
    covariance: Floats
    used: Ints

    def draws(self, rng: np.random.Generator, size: int) -> Floats:
        return np.asarray(rng.multivariate_normal(self.values, self.covariance, size, method="eigh"))


@dataclass(frozen=True, slots=True)
class _Design:
    """One row an item: +1 for a's model, -1 for b's (or a constant where models are unknown), and the length."""

    columns: Floats
    used: Ints


def _design(model_I2: Ints, models: int, difference: Floats) -> _Design:
    """The length enters as tanh of the difference in standard deviations, as in AlpacaEval-LC (2404.04475, 3.2)."""
    spread = float(difference.std())
    length = np.tanh(difference / spread) if spread > 0 else np.zeros(len(difference))
    whom = np.zeros((len(difference), max(models, 1)))
    rows = np.flatnonzero((model_I2 >= 0).all(axis=1) & (model_I2[:, 0] != model_I2[:, 1]))
    np.add.at(whom, (rows, model_I2[rows, 0]), 1.0)
    np.add.at(whom, (rows, model_I2[rows, 1]), -1.0)
    met = np.flatnonzero(np.abs(whom).any(axis=0))
    if len(met) == 0:
        return _Design(np.column_stack([np.ones(len(difference)), length]), met)
    # Strengths are differences: the first model's is 0.
    return _Design(np.column_stack([whom[:, met[1:]], length]), met)


def _fit(design: _Design, chosen: Floats) -> _Fitted | None:
    """A logistic regression in which a tie is half a win, with a variance that does not rest on that (sandwich, HC0).

    None where the data do not determine it: too few items, all of one length, or a perfect separation.
    """
    import warnings

    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    x = design.columns
    if len(chosen) < LEAST or not x[:, -1].any() or np.linalg.matrix_rank(x) < x.shape[1] or chosen.min() == chosen.max():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a separation is found by what came out
        found = GLM(chosen, x, family=Binomial()).fit(maxiter=100, cov_type="HC0")
    values, covariance = np.asarray(found.params), np.asarray(found.cov_params())
    if not found.converged or not np.isfinite(covariance).all() or np.abs(values).max() > 15:
        return None
    return _Fitted(values, covariance, design.used)


def _controlled(
    fitted: _Fitted, model_I2: Ints, models: list[str], chosen: Floats, rng: np.random.Generator, resamples: int
) -> list[Anything]:
    """Win rates as they would be at equal length; the preference for side a where models are unknown."""
    if len(fitted.used) == 0:
        draws = 1 / (1 + np.exp(-fitted.draws(rng, resamples)[:, 0]))
        value = 1 / (1 + np.exp(-fitted.values[0]))
        return [{"model": "side a", "raw": share(float(chosen.sum()), len(chosen)), "controlled": between(value, draws, len(chosen))}]
    kept = (model_I2 >= 0).all(axis=1) & (model_I2[:, 0] != model_I2[:, 1])
    sides, won = model_I2[kept], chosen[kept]
    place = np.full(len(models), -1)
    place[fitted.used] = np.arange(len(fitted.used))
    keys, items = np.unique(np.sort(place[sides], axis=1), axis=0, return_counts=True)
    strengths = np.column_stack([np.zeros(resamples + 1), np.vstack([fitted.values, fitted.draws(rng, resamples)])[:, :-1]])
    first = 1 / (1 + np.exp(strengths[:, keys[:, 1]] - strengths[:, keys[:, 0]])) * items
    rows = []
    for n, model in enumerate(fitted.used):
        games = items[(keys == n).any(axis=1)].sum()
        points = first[:, keys[:, 0] == n].sum(axis=1) + (items - first)[:, keys[:, 1] == n].sum(axis=1)
        raw = won[sides[:, 0] == model].sum() + (1 - won)[sides[:, 1] == model].sum()
        rate = points / games
        rows.append({"model": models[model], "raw": share(float(raw), int(games)), "controlled": between(rate[0], rate[1:], int(games))})
    return sorted(rows, key=lambda r: -float(r["controlled"].value or 0.0))


def none_known(label_I: NDArray[np.int8], v: Verdicts) -> bool:
    """Whether no labelled item has the lengths of both its answers."""
    return not bool(((label_I >= 0) & np.isfinite(v.length_I2).all(axis=1)).any())
