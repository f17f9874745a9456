"""The passport as one HTML page: no script, no font, no picture from anywhere else; plots are drawn as SVG by the template.

Plain SVG and not a plotting library: all that is drawn is points with intervals and shaded tables, which are forty lines of
template, sharper and a hundredth of the size of embedded pictures, and follow the reader's dark or light colours.
"""

from pathlib import Path

from pipeline.passport.labels import NAMES
from pipeline.passport.words import in_sentences
from pipeline.settings import Anything

TEMPLATE = Path(__file__).with_name("page.html.jinja")

SHARES = (
    ("flip", "takes the other side when the order changes"),
    ("half_flip", "a win becomes a tie when the order changes"),
    ("first_position", "the answer shown first wins (0.5 is fair)"),
    ("invalid", "invalid"),
    ("ties", "ties"),
    ("repeat_disagreement", "says something else when asked the same again"),
)
"""What is shown of every judge, and its words."""

MOST_TABLES = 12
"""Confusion tables and meetings beyond this are left to the JSON."""


def html_page(figures: Anything) -> str:
    """The page; names from the tables are escaped."""
    import jinja2

    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    head, *rest = in_sentences(figures)
    judges = [{**j, "shares": [(words, j[name]) for name, words in SHARES if j[name]["n"]]} for j in figures["judges"]]
    standings = [(j["name"], j["standings"]) for j in figures["judges"] if j["standings"]]
    if figures["people"] and figures["people"]["people"] > 1 and figures["people"]["standings"]:
        standings.insert(0, ("people's majority", figures["people"]["standings"]))
    return loader.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        figures=figures,
        headline=head,
        sentences=rest,
        judges=judges,
        agreeing=_agreeing(figures),
        standings=standings,
        reach=_reach(standings),
        choices=NAMES,
        most=MOST_TABLES,
    )


def _agreeing(figures: Anything) -> list[tuple[str, Anything]]:
    """Who is compared with whom: models with people first, then each pair; those who share an item."""
    people = [(f"{j['against']['reference']} – {j['name']}", j["against"]) for j in figures["judges"] if j["against"]]
    pairs = [(" – ".join(p["judges"]), p) for p in figures["pairs"]]
    return [(name, table) for name, table in people + pairs if table["raw"]["n"]]


def _reach(standings: list[tuple[str, Anything]]) -> float:
    """Half the width of the axis that holds all strengths and their intervals."""
    rows = [m["strength"] for _, table in standings for m in table["models"]]
    ends = [abs(e[end]) for e in rows for end in ("value", "low", "high") if e[end] is not None]
    return float(max([1.0, *ends])) * 1.05
