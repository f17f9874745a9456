"""Whether a judge prefers its own relatives: answers of models of its family, beside what others say of the same items."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import NOTHING, Estimate, share
from pipeline.passport.verdicts import Verdicts
from pipeline.settings import Anything

MAKERS = {
    "openai": ("gpt-", "chatgpt", "gpt3", "gpt4", "gpt5", "o1", "o3", "o4", "text-davinci", "davinci"),
    "anthropic": ("claude",),
    "google": ("gemini", "gemma", "bard", "palm"),
    "meta": ("llama", "meta-llama"),
    "mistral": ("mistral", "mixtral", "ministral", "codestral"),
    "deepseek": ("deepseek",),
    "qwen": ("qwen", "qwq"),
}
"""Beginnings of names by which a maker's models are known. Other names are of one family where their first words are equal."""

_OPEN = ("gpt-2", "gpt-j", "gpt-neo")
"""Not of the family whose name they begin with."""


def family_of(model: str) -> str | None:
    """The family of a model by its name; None where the name holds no word."""
    name = model.lower().rpartition("/")[2].strip()
    if not name.startswith(_OPEN):
        for maker, starts in MAKERS.items():
            if name.startswith(starts):
                return maker
    word = re.match(r"[a-z]+", name)
    return word[0] if word else None


def family_figures(v: Verdicts, judge: int, labels_IJ: NDArray[np.int8], people_I: NDArray[np.int8] | None) -> Anything | None:
    """`own`: the share (ties half) that the judge gives its family where it meets another; `others`: what people give it on
    the same items, or the other judges where there are no people; `excess`: the difference. None where no such item is."""
    family = family_of(v.judges[judge])
    relatives = [i for i, model in enumerate(v.models) if family_of(model) == family]
    if family is None or not relatives or v.person_J[judge]:
        return None
    own = np.isin(v.model_I2, relatives)
    label_I = labels_IJ[:, judge]
    met = (own.sum(axis=1) == 1) & (v.model_I2 >= 0).all(axis=1) & (label_I >= 0)
    if not met.any():
        return None
    points = _points(label_I, own)
    figures: Anything = {
        "family": family,
        "models": [v.models[i] for i in relatives],
        "own": share(float(points[met].sum()), int(met.sum())),
        "others": NOTHING,
        "excess": NOTHING,
    }
    against = [people_I] if people_I is not None else [labels_IJ[:, j] for j in range(len(v.judges)) if j != judge]
    if not against:
        return figures
    known = np.stack([label >= 0 for label in against])
    theirs = np.stack([_points(label, own) for label in against])
    shared = met & known.any(axis=0)
    if not shared.any():
        return figures
    mean = (theirs * known).sum(axis=0)[shared] / known.sum(axis=0)[shared]
    figures["others"] = share(float(mean.sum()), int(shared.sum()))
    figures["excess"] = _mean(points[shared] - mean)
    return figures


def _points(label_I: NDArray[np.int8], own_I2: NDArray[np.bool_]) -> NDArray[np.float64]:
    won = np.array([1.0, 0.0, 0.5])[label_I]
    return np.where(own_I2[:, 0], won, 1 - won)


def _mean(values: NDArray[np.float64]) -> Estimate:
    """A mean with its interval by Student's t; open for one value."""
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Estimate(mean, None, None, n)
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / n**0.5
    return Estimate(mean, mean - half, mean + half, n)
