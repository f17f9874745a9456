"""Agreement of judges with each other and with people, on the items that both labelled.

Every figure here is a function of a few counts, so resampling the items is one multinomial draw of those counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import NOTHING, Estimate, Floats, between, share, wilson
from pipeline.passport.labels import MISSING, NAMES
from pipeline.settings import Anything

Labels = NDArray[np.int8]


def confusion(one_I: Labels, other_I: Labels) -> Floats:
    """3 x 3: how often one said the row's choice and the other the column's."""
    both = (one_I != MISSING) & (other_I != MISSING)
    cells = one_I[both].astype(np.int64) * 3 + other_I[both]
    return np.bincount(cells, minlength=9).astype(np.float64).reshape(3, 3)


def agreement(counts: Floats) -> Anything:
    """`raw`, `without_ties` (where neither called one) and Cohen's `kappa`, from a confusion table."""
    decided = counts[:2, :2]
    return {
        "raw": share(float(np.trace(counts)), int(counts.sum())),
        "without_ties": share(float(np.trace(decided)), int(decided.sum())),
        "kappa": kappa(counts),
        "confusion": {a: {b: int(counts[i, j]) for j, b in enumerate(NAMES)} for i, a in enumerate(NAMES)},
    }


def kappa(counts: Floats) -> Estimate:
    """Cohen's kappa; its interval from the asymptotic variance (Fleiss, Cohen and Everitt 1969), by statsmodels.

    Where that variance is 0, such as where all agree, it promises too much: the interval is then that of the raw agreement
    (Wilson), with the agreement by chance held. No value where chance alone would agree always: both said one thing only.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    n = int(counts.sum())
    if n == 0:
        return NOTHING
    chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / n**2
    if chance >= 1:
        return Estimate(None, None, None, n)
    raw = float(np.trace(counts)) / n
    value = (raw - chance) / (1 - chance)
    used = counts.sum(axis=0) + counts.sum(axis=1) > 0
    with np.errstate(all="ignore"):  # of rounding, a variance of 0 may be a little below
        found = cohens_kappa(counts[np.ix_(used, used)])
    if 0 < raw < 1 and found.var_kappa > 1e-12:
        return Estimate(value, max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp)), n)
    low, high = ((end - chance) / (1 - chance) for end in wilson(raw * n, n))
    return Estimate(value, max(-1.0, low), min(1.0, high), n)


def accuracy(label_I: Labels, right_I: Labels, rng: np.random.Generator, resamples: int) -> Anything:
    """Accuracy and macro-F1 of a judge against the labels that count as right."""
    counts = confusion(right_I, label_I)
    return {**agreement(counts), "accuracy": share(float(np.trace(counts)), int(counts.sum())), "macro_f1": _f1(counts, rng, resamples)}


def _f1(counts: Floats, rng: np.random.Generator, resamples: int) -> Estimate:
    from sklearn.metrics import f1_score

    n = int(counts.sum())
    if n == 0:
        return NOTHING
    right, said = np.divmod(np.arange(9), 3)
    used = counts.ravel() > 0
    value = f1_score(right[used], said[used], sample_weight=counts.ravel()[used], average="macro", zero_division=0)
    if np.trace(counts) == n:
        return Estimate(float(value), wilson(n, n)[0], 1.0, n)
    return between(float(value), macro_f1(_resampled(counts.ravel(), n, rng, resamples).reshape(resamples, 3, 3)), n)


def macro_f1(counts_R33: Floats) -> Floats:
    """R: the mean F1 of the choices that either side used; rows are right, columns were said."""
    hits = np.diagonal(counts_R33, axis1=1, axis2=2)
    used = counts_R33.sum(axis=1) + counts_R33.sum(axis=2)
    f1 = np.divide(2 * hits, used, out=np.zeros_like(hits), where=used > 0)
    return np.asarray(f1.sum(axis=1) / np.maximum(1, (used > 0).sum(axis=1)))


def together(labels_IJ: Labels, rng: np.random.Generator, resamples: int) -> Anything:
    """Krippendorff's `alpha` (nominal, missing labels allowed) and Fleiss' `kappa` (of items that all labelled) of several
    judges; None where they said one thing only."""
    patterns, of_items = _patterns(labels_IJ)
    full = patterns.sum(axis=1) == labels_IJ.shape[1]
    return {
        "judges": labels_IJ.shape[1],
        "alpha": _alpha(patterns, of_items, rng, resamples),
        "fleiss": _fleiss(patterns[full], of_items[full], rng, resamples),
    }


def _patterns(labels_IJ: Labels) -> tuple[Floats, Floats]:
    """The different ways in which items were labelled (how many judges said A, B, tie), and how many items have each.
    Items with fewer than two labels say nothing of agreement."""
    counts_IK = np.stack([(labels_IJ == k).sum(axis=1) for k in range(3)], axis=1)
    kept = counts_IK[counts_IK.sum(axis=1) >= 2]
    patterns, items = np.unique(kept, axis=0, return_counts=True)
    return patterns.astype(np.float64).reshape(-1, 3), items.astype(np.float64)


def _alpha(patterns: Floats, of_items: Floats, rng: np.random.Generator, resamples: int) -> Estimate:
    import krippendorff

    n = int(of_items.sum())
    if n == 0 or np.count_nonzero(of_items @ patterns) < 2:
        return Estimate(None, None, None, n)
    counts_IK = np.repeat(patterns, of_items.astype(np.int64), axis=0)
    value = krippendorff.alpha(value_counts=counts_IK, level_of_measurement="nominal")
    return _coefficient(float(value), alphas(patterns, _resampled(of_items, n, rng, resamples)), patterns, of_items)


def alphas(patterns: Floats, of_items_R: Floats) -> Floats:
    """R: Krippendorff's nominal alpha (2011, "Computing Krippendorff's alpha-reliability", C) of resampled items."""
    m = patterns.sum(axis=1)
    apart = (m**2 - (patterns**2).sum(axis=1)) / (m - 1)
    totals_RK = of_items_R @ patterns
    n = totals_RK.sum(axis=1)
    expected = (n**2 - (totals_RK**2).sum(axis=1)) / (n - 1)
    return _one_minus(of_items_R @ apart, expected)


def _fleiss(patterns: Floats, of_items: Floats, rng: np.random.Generator, resamples: int) -> Estimate:
    from statsmodels.stats.inter_rater import fleiss_kappa

    n = int(of_items.sum())
    if n == 0 or np.count_nonzero(of_items @ patterns) < 2:
        return Estimate(None, None, None, n)
    value = fleiss_kappa(np.repeat(patterns, of_items.astype(np.int64), axis=0))
    return _coefficient(float(value), fleiss_kappas(patterns, _resampled(of_items, n, rng, resamples)), patterns, of_items)


def fleiss_kappas(patterns: Floats, of_items_R: Floats) -> Floats:
    """R: Fleiss' kappa (1971) of resampled items."""
    m = patterns[0].sum()
    apart = 1 - ((patterns**2).sum(axis=1) - m) / (m * (m - 1))
    n = of_items_R.sum(axis=1)
    shares_RK = (of_items_R @ patterns) / (n * m)[:, None]
    return _one_minus(of_items_R @ apart / n, 1 - (shares_RK**2).sum(axis=1))


def _coefficient(value: float, draws: Floats, patterns: Floats, of_items: Floats) -> Estimate:
    """Where all agree on everything, so do all resamples: the interval is then that of so many agreements (Wilson)."""
    n = int(of_items.sum())
    if (patterns.max(axis=1) < patterns.sum(axis=1)).any():
        return between(value, draws, n)
    shares = of_items @ patterns
    chance = float(((shares / shares.sum()) ** 2).sum())
    return Estimate(value, max(-1.0, (wilson(n, n)[0] - chance) / (1 - chance)), 1.0, n)


def _one_minus(observed: Floats, expected: Floats) -> Floats:
    ratio = np.divide(observed, expected, out=np.full_like(observed, np.nan), where=expected > 1e-12)
    return np.asarray(1 - ratio)


def _resampled(counts: Floats, n: int, rng: np.random.Generator, resamples: int) -> Floats:
    drawn: Any = rng.multinomial(n, counts / counts.sum(), size=resamples)
    return np.asarray(drawn, dtype=np.float64)
