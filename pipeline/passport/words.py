"""What a passport means, in sentences: the headline first, then what to know before the judge is trusted."""

from collections.abc import Iterator

from pipeline.passport.estimate import FEW, in_words
from pipeline.settings import Anything

_KAPPA = ((0.8, "almost perfect"), (0.6, "substantial"), (0.4, "moderate"), (0.2, "fair"), (0.0, "slight"))
"""The words of Landis and Koch (1977) for a kappa above each number."""


def in_sentences(figures: Anything) -> list[str]:
    """The headline, then a sentence on each thing that matters. Every number has its interval and its rows."""
    rest = [*_on_people(figures), *_on_judges(figures), *_on_rows(figures)]
    return [headline(figures), *rest]


def headline(figures: Anything) -> str:
    """The one sentence that stands above a passport."""
    models = [j for j in figures["judges"] if not j["person"]]
    measured = [j for j in models if figures["people"] and j["against"] and j["against"]["raw"]["n"]]
    if measured:
        return " ".join(_with_people(j) for j in measured[:3])
    best = max(figures["pairs"], key=lambda p: p["raw"]["n"], default=None)
    if best and best["raw"]["n"]:
        one, other = best["judges"]
        return f"{one} and {other} agree on {_agreed(best)}."
    if figures["pairs"]:
        return f"The {len(figures['judges'])} judges share no item, so nothing can be said of their agreement: do the ids mean the same?"
    judge = figures["judges"][0]
    return (
        f"{judge['name']} judged {judge['items']} {_items(judge['items'])} alone: nobody else's verdicts are here to agree with; "
        "add another judge's table, or people's with --humans."
    )


def _with_people(judge: Anything) -> str:
    return f"{judge['name']} agrees with people on {_agreed(judge['against'])}."


def _agreed(table: Anything) -> str:
    e = table["raw"]
    return f"{_percent(e)} of {e['n']} {_items(e['n'])} {_kappa(table['kappa'])}: {_range(e)}"


def _range(e: Anything) -> str:
    few = f", and {e['n']} {_items(e['n'])} are too few to tell" if e["n"] < FEW else ""
    digits = 3 if e["low"] > 0.99 else 2
    return f"at n={e['n']} this agreement is {e['low']:.{digits}f} to {e['high']:.{digits}f}{few}"


def _on_people(figures: Anything) -> Iterator[str]:
    people = figures["people"]
    if not people:
        return
    if people["people"] == 1:
        yield f"There is one person's label of {people['items']} items: how far people agree among themselves is not known."
    else:
        split = f"; on {people['without_majority']} they have no majority, and those count nowhere" if people["without_majority"] else ""
        yield f"{people['people']} people labelled {people['items']} {_items(people['items'])}{split}."
    own = [j["against"]["raw"] for j in figures["judges"] if j["person"] and j["against"] and j["against"]["raw"]["n"]]
    if own:
        low, high = min(e["value"] for e in own), max(e["value"] for e in own)
        span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
        yield f"A person agrees with what the other people say in {span} of the cases: more is not to be expected of a judge."
    for judge in figures["judges"]:
        if not judge["person"] and not (judge["against"] and judge["against"]["raw"]["n"]):
            yield f"{judge['name']} and people share no item: nothing can be said of their agreement."


def _on_judges(figures: Anything) -> Iterator[str]:
    for judge in figures["judges"]:
        if judge["person"]:
            continue
        name = judge["name"]
        yield from _on_position(name, judge)
        length, family = judge["length"], judge["family"]
        if length and length["longer_chosen"]["n"]:
            theirs = figures["people"] and figures["people"]["length"]
            beside = f", people in {_percent(theirs['longer_chosen'])}" if theirs and theirs["longer_chosen"]["n"] else ""
            yield f"{name} chooses the longer answer in {in_words(length['longer_chosen'])}{beside}{_sway(length['sway'])}."
        if family:
            beside = f", {_percent(family['others'])} by the others' verdicts on those they share" if family["others"]["n"] else ""
            yield f"{name} is of the family '{family['family']}' and gives its relatives {in_words(family['own'])}{beside}."
        yield from _on_standings(name, judge["standings"])


def _on_position(name: str, judge: Anything) -> Iterator[str]:
    flip, first, repeated = judge["flip"], judge["first_position"], judge["repeat_disagreement"]
    if flip["n"]:
        yield f"Shown the other way round, {name} takes the other side in {in_words(flip)}; the answer shown first wins {in_words(first)}."
    else:
        yield f"{name} was asked in one order only, or in none that is known: whether it goes by position cannot be told."
    if judge["invalid"]["value"]:
        yield f"{in_words(judge['invalid'])} of {name}'s verdicts are invalid; they count as missing, never as ties."
    if repeated["n"]:
        yield f"Asked the same again, {name} says something else in {in_words(repeated)}."


def _sway(e: Anything) -> str:
    if e["value"] is None:
        return ""
    sure = e["low"] is not None and (e["low"] > 0 or e["high"] < 0)
    return "" if not sure else f"; length itself speaks {'for' if e['value'] > 0 else 'against'} an answer, whichever model wrote it"


def _on_standings(name: str, standings: Anything | None) -> Iterator[str]:
    if standings and (unlimited := standings["unlimited"]):
        yield (
            f"By {name}'s verdicts {', '.join(unlimited[:5])} won or lost too one-sidedly, or met too few others: "
            "the strength has no limit on one side, and the value shown is held by a weak prior."
        )
    elif standings and standings["models"] and standings["models"][0]["strength"]["value"] is None:
        yield f"By {name}'s verdicts all meetings are ties: no model is ahead."


def _on_rows(figures: Anything) -> Iterator[str]:
    if figures["repeated"]:
        yield f"{figures['repeated']} rows repeat an item, judge and order: they count as further runs of the judge, by their plurality."
    if len(figures["judges"]) > 12:
        yield f"Only the 12 of {len(figures['judges'])} judges with the most verdicts are compared pair by pair."


def _kappa(e: Anything) -> str:
    if e["value"] is None:
        return "(kappa is not defined: one choice only)"
    word = next((w for limit, w in _KAPPA if e["value"] > limit), "no better than chance")
    return f"(kappa {e['value']:.2f}, {word})"


def _percent(e: Anything) -> str:
    return "-" if e["value"] is None else f"{e['value']:.0%}"


def _items(n: int) -> str:
    return "item" if n == 1 else "items"
