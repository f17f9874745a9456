"""The evaluation as one HTML page: no script, no font, no picture from anywhere else; plots are drawn as SVG by the template."""

from pathlib import Path

from pipeline.evaluate.words import table_of
from pipeline.settings import Anything

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def html_page(found: Anything) -> str:
    """The page; what models and users wrote is escaped."""
    import jinja2

    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    head, *rest = found["sentences"]
    template = loader.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(found=found, headline=head, sentences=rest, rows=table_of(found))
