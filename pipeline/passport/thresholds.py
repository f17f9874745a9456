"""The sentences on the thresholds that a passport misses."""

from pipeline.check import Anything
from pipeline.passport.estimate import in_words
from pipeline.thresholds import Thresholds


def missed(figures: Anything, thresholds: Thresholds, rest: Anything | None = None) -> list[str]:
    """The thresholds that a passport, or a run's own figures, does not meet: a sentence each, with the numbers; none if all
    are met. A threshold on a figure that could not be measured is not met.

    With `rest`, the figures over what people have not decided, a figure of a judge's own that is missed is taken from there:
    it is met where nothing is left.
    """
    found = []
    left = None if rest is None else {judge["name"]: judge for judge in rest["judges"]}
    for judge in figures["judges"]:
        if not judge.get("person"):
            found += _own(judge, thresholds, None if left is None else left.get(judge["name"], {}))
    return found + _agreement(figures, thresholds)


_MOST = {
    "max_flip": ("flip", "of its comparisons change the winner with the order"),
    "max_invalid": ("invalid", "of its verdicts are invalid"),
    "max_ties": ("ties", "of its valid verdicts are ties"),
}


def _own(judge: Anything, thresholds: Thresholds, rest: Anything | None) -> list[str]:
    sentences = []
    of_the_rest = "" if rest is None else ", where no person decided"
    for name, (figure, words) in _MOST.items():
        limit = getattr(thresholds, name)
        if limit is not None:
            e = _held(judge, figure, rest, 0, limit)
            if e and e["value"] is None:
                sentences.append(f"{judge['name']}: {_unknown(name, limit)} no row tells what share {words}")
            elif e:
                sentences.append(f"{judge['name']}: {in_words(e)} {words}{of_the_rest}, at most {limit:.1%} were wanted ({name})")
    limit = thresholds.max_first_position_bias
    if limit is not None:
        e = _held(judge, "first_position", rest, 0.5, limit)
        if e and e["value"] is None:
            sentences.append(f"{judge['name']}: {_unknown('max_first_position_bias', limit)} nothing was judged in both orders")
        elif e:
            sentences.append(
                f"{judge['name']}: the answer shown first won {in_words(e)} of the decided verdicts{of_the_rest}, "
                f"{0.5 - limit:.1%} to {0.5 + limit:.1%} were wanted (max_first_position_bias)"
            )
    return sentences


def _held(judge: Anything, figure: str, rest: Anything | None, middle: float, limit: float) -> Anything | None:
    """The estimate that misses its limit, or tells nothing; None where the limit is met."""

    def misses(e: Anything) -> bool:
        return bool(abs(e["value"] - middle) > limit)

    e: Anything = judge[figure]
    if e["value"] is None:
        return e
    if not misses(e):
        return None
    left: Anything = e if rest is None else rest.get(figure, {"value": None})
    return left if left["value"] is not None and misses(left) else None


def _agreement(figures: Anything, thresholds: Thresholds) -> list[str]:
    wanted = {"min_agreement": ("raw", "agreement"), "min_kappa": ("kappa", "kappa")}
    against = [
        (f"{j['name']} and {j['against']['reference']}", j["against"])
        for j in figures["judges"]
        if figures.get("people") and not j["person"] and j["against"]
    ]
    compared = against or [(" and ".join(p["judges"]), p) for p in figures.get("pairs", [])]
    sentences = []
    for name, (figure, words) in wanted.items():
        limit = getattr(thresholds, name)
        if limit is None:
            continue
        if not compared:
            sentences.append(f"{_unknown(name, limit)} nobody else judged the same comparisons")
        for who, table in compared:
            e = table[figure]
            if e["value"] is None:
                sentences.append(f"{who}: {_unknown(name, limit)} {e['n']} items that both labelled do not tell it")
            elif e["value"] < limit:
                value = f"{e['value']:.2f}, {e['low']:.2f} to {e['high']:.2f} at n={e['n']}"
                sentences.append(f"{who}: the {words} is {value}; at least {limit:.2f} was wanted ({name})")
    return sentences


def _unknown(name: str, limit: float) -> str:
    return f"{name} {limit:g} was wanted and cannot be measured:"
