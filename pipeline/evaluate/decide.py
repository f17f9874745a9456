"""Promote or reject: stated rules on the figures, and the reasons in words. Reads no file, asks nobody."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.errors import RecipeError, choose_from
from pipeline.evaluation import PromoteSettings
from pipeline.identity.metrics import FIGURES
from pipeline.passport.estimate import in_words
from pipeline.settings import Anything

GUARDS = ("skills", "identity", "identity.skills", "identity.without_leak", "identity.without_overgeneral")
"""What may not fall where the recipe names nothing, as far as it was measured."""

_WORDS = {
    "identity": FIGURES["heldout"],
    "identity.skills": FIGURES["skills"],
    "identity.without_leak": "answers that do not speak of the model unasked",
    "identity.without_overgeneral": "others' things not credited to its maker",
}
"""Guards whose name does not say what it is."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric that may not fall: a share before and after, None where it could not be measured."""

    name: str
    before: float | None
    after: float | None
    kept: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a trained model, and why: a sentence for each rule."""

    verdict: Literal["promote", "reject"]
    reasons: list[str]
    guards: list[Guard]

    def plain(self) -> Anything:
        return asdict(self)


Metrics = Mapping[str, tuple[float | None, float | None]]
"""Name: the figure before and after; more is better."""


Learned = tuple[Anything, Anything]
"""The share right on the held-out phrasings of an identity, before training and after; value, low, high and n of each."""


def decide(win_rate: Anything | None, metrics: Metrics, settings: PromoteSettings, learned: Learned | None = None) -> Decision:
    """Promote where the model is better and no guard fell by more than `max_drop`.

    Better is one with the lower end of its win rate's interval above `min_win_rate`. Without a judge (`win_rate` None, else value,
    low, high and n) it is one whose interval of what it `learned` is wholly above that before. RecipeError for a guard that was not
    measured.
    """
    better, why = _knows_better(learned) if win_rate is None else _better(win_rate, settings.min_win_rate)
    guards = [_guard(name, metrics, settings.max_drop) for name in _names(metrics, settings)]
    reasons = [why, *(_on_guard(g, settings.max_drop) for g in guards)]
    return Decision("promote" if better and all(g.kept for g in guards) else "reject", reasons, guards)


def _better(win_rate: Anything, least: float) -> tuple[bool, str]:
    if win_rate["value"] is None:
        return False, "no comparison has a valid verdict, so nothing says that the model is better"
    low = win_rate["low"]
    said = f"the win rate {win_rate['value']:.1%} may be as low as {low:.1%} (95 % interval, n={win_rate['n']})"
    if low > least:
        return True, f"{said}, which is above {least:.1%}"
    return False, f"{said}, which is not above {least:.1%}"


def _knows_better(learned: Learned | None) -> tuple[bool, str]:
    if learned is None or any(share["value"] is None for share in learned):
        return False, "nothing was asked on held-out phrasings, so nothing says that the model is better"
    before, after = learned
    said = f"{FIGURES['heldout']} went from {in_words(before)} to {in_words(after)}, and the lower end of the 95 % interval after is"
    if after["low"] > before["high"]:
        return True, f"{said} above the upper end before"
    return False, f"{said} not above the upper end before"


def _names(metrics: Metrics, settings: PromoteSettings) -> list[str]:
    if settings.guards is None:
        return [name for name in GUARDS if metrics.get(name, (None, None)) != (None, None)]
    for name in settings.guards:
        if name not in metrics:
            raise RecipeError(f"evaluate.promote.guards: '{name}' was not measured; {choose_from(name, metrics)}")
    return settings.guards


def _guard(name: str, metrics: Metrics, most: float) -> Guard:
    before, after = metrics[name]
    # A hundredth of a point is rounding, and a drop of exactly the limit is allowed.
    kept = before is not None and after is not None and before - after <= most + 1e-9
    return Guard(name, before, after, kept)


def _on_guard(guard: Guard, most: float) -> str:
    named = f"{_WORDS[guard.name]} ({guard.name})" if guard.name in _WORDS else guard.name
    if guard.before is None or guard.after is None:
        return f"{named} could not be measured, so nothing says that it was kept"
    went = f"{named} went from {guard.before:.1%} to {guard.after:.1%}"
    if guard.after >= guard.before:
        return f"{went}, no loss"
    return f"{went}, a loss within {100 * most:g} points" if guard.kept else f"{went}, a loss of more than {100 * most:g} points"
