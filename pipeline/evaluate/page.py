"""The evaluation as one HTML page: no script, no font, no picture from anywhere else; plots are drawn as SVG by the template."""

from pathlib import Path

from pipeline.evaluate.answers import AFTER, BEFORE
from pipeline.evaluate.identity import LESS_IS_BETTER
from pipeline.evaluate.words import table_of
from pipeline.settings import Anything

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def html_page(found: Anything) -> str:
    """The page; what models and users wrote is escaped."""
    import jinja2

    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    head, *rest = found["sentences"]
    template = loader.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(found=found, headline=head, sentences=rest, rows=table_of(found), bars=_bars(found))


def _bars(found: Anything) -> list[Anything]:
    """The figures of the identity that were asked, for the plot of who the model says it is."""
    rows = found["identity"]["metrics"] if found["identity"] else ()
    return [
        {**row, "less": row["name"] in LESS_IS_BETTER} for row in rows if any(row[side]["value"] is not None for side in (BEFORE, AFTER))
    ]
