"""The passport on a terminal: what it means, then the figures, each with its interval and its rows."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from pipeline.settings import Anything

_MOST_ROWS = 60
"""Rows of one table; the rest is in the JSON."""

_SHARES = {
    "flip": "other side wins in the other order",
    "half_flip": "a win is a tie in the other order",
    "first_position": "the answer shown first wins",
    "invalid": "invalid",
    "ties": "ties",
    "repeat_disagreement": "says something else when asked again",
}


def console_for_tables() -> Console:
    """As wide as the terminal; wide enough for every table where there is none."""
    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(soft_wrap=True, width=160)


def print_passport(console: Console, figures: Anything) -> None:
    """Print the sentences and the tables that have anything to show."""
    head, *rest = figures["sentences"]
    console.print(f"[bold]{_safe(head)}[/]", highlight=False)
    for sentence in rest:
        console.print(f"- {sentence}", highlight=False, markup=False)
    for title, heads, rows in _tables(figures):
        if rows:
            console.print(f"\n[bold]{_safe(title)}[/]", highlight=False)
            console.print(_table(heads, rows[:_MOST_ROWS]))
            if len(rows) > _MOST_ROWS:
                console.print(f"and {len(rows) - _MOST_ROWS} more with --json", highlight=False)


def _tables(figures: Anything) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    judges = figures["judges"]
    against = [j for j in judges if j["against"] and j["against"]["raw"]["n"]]
    yield (
        "Against the majority",
        ["judge", "whose", "accuracy", "without ties", "kappa", "macro-F1", "rows"],
        [[j["name"], j["against"]["reference"], *_cells(j["against"], "accuracy", "without_ties", "kappa", "macro_f1")] for j in against],
    )
    pairs = [p for p in figures["pairs"] if p["raw"]["n"]]
    yield (
        "Pairs of judges",
        ["judges", "agreement", "without ties", "kappa", "rows"],
        [[" – ".join(p["judges"]), *_cells(p, "raw", "without_ties", "kappa")] for p in pairs],
    )
    together = [t for t in figures["together"] if t["alpha"]["n"]]
    yield (
        "Together",
        ["of", "judges", "Krippendorff's alpha", "rows", "Fleiss' kappa", "rows"],
        [[t["of"], str(t["judges"]), *_cells(t, "alpha"), *_cells(t, "fleiss")] for t in together],
    )
    yield "Judges", ["judge", "", "share", "rows"], [row for j in judges for row in _judge(j)]
    costs = [j for j in judges if j["cost"]]
    names = sorted({name for j in costs for name in j["cost"] if name != "n"})
    yield (
        "Cost per 1,000 verdicts",
        ["judge", *(n.removesuffix("_per_1000").replace("_", " ") for n in names), "rows"],
        [[j["name"], *(f"{j['cost'][n]:,.4g}" if n in j["cost"] else "-" for n in names), str(j["cost"]["n"])] for j in costs],
    )
    if figures["by"]:
        rows = [[g["value"], *_group(t)] for g in figures["by"]["groups"] for t in g["agreement"] if t["raw"]["n"]]
        yield f"By {figures['by']['column']}", [figures["by"]["column"], "judges", "agreement", "kappa", "rows"], rows
    if len(pairs) == 1:
        yield f"Confusion: {pairs[0]['judges'][0]} down, {pairs[0]['judges'][1]} across", ["", "A", "B", "tie"], _confusion(pairs[0])
    yield from _standings(figures)


def _standings(figures: Anything) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    people = figures["people"]
    found = [(j["name"], j["standings"], j["length"]) for j in figures["judges"] if j["standings"] and not (people and j["person"])]
    if people and people["standings"]:
        found.insert(0, ("people", people["standings"], None))
    for name, standings, length in found:
        controlled = {row["model"]: row["controlled"] for row in length["controlled"]} if length else {}
        heads = ["model", "win rate", *(["at equal length"] if controlled else []), "strength", "rows"]
        rows = [
            [
                m["model"] + (" *" if m["model"] in standings["unlimited"] else ""),
                _interval(m["win_rate"]),
                *([_interval(controlled[m["model"]]) if m["model"] in controlled else "-"] if controlled else []),
                _interval(m["strength"]),
                str(m["win_rate"]["n"]),
            ]
            for m in standings["models"]
        ]
        yield f"Models by {name}", heads, rows


def _judge(judge: Anything) -> list[list[str]]:
    """A line for each share that was measured; the judge's name stands on the first."""
    found = [(words, judge[name]) for name, words in _SHARES.items()]
    if judge["length"]:
        found.append(("the longer answer wins", judge["length"]["longer_chosen"]))
    if judge["family"]:
        found.append((f"its family ({judge['family']['family']}) wins", judge["family"]["own"]))
    measured = [(words, e) for words, e in found if e["n"]]
    return [[judge["name"] if n == 0 else "", words, _interval(e), str(e["n"])] for n, (words, e) in enumerate(measured)]


def _group(table: Anything) -> list[str]:
    return [" – ".join(table["judges"]), *_cells(table, "raw", "kappa")]


def _confusion(pair: Anything) -> list[list[str]]:
    return [[name, *(str(n) for n in row.values())] for name, row in pair["confusion"].items()]


def _cells(figures: Anything, *names: str) -> list[str]:
    return [*(_interval(figures[name]) for name in names), str(figures[names[0]]["n"])]


def _interval(e: Anything) -> str:
    if e["value"] is None:
        return "-"
    low, high = ("…" if end is None else f"{end:.2f}" for end in (e["low"], e["high"]))
    return f"{e['value']:.2f} ({low} to {high})"


def _table(heads: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 or head in ("", "whose", "judges", "of") else "right")
    for row in rows:
        table.add_row(*map(_safe, row))
    return table


def _safe(text: str) -> str:
    """Names come from tables: a bracket in them is no style of ours."""
    from rich.markup import escape

    return escape(text)
