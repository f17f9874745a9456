"""A training as one HTML page of plots, drawn as SVG by the template; no script, nothing from anywhere else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.settings import Anything

PAGE, PICTURE = Path(__file__).with_name("plots.html.jinja"), Path(__file__).with_name("plot.svg.jinja")

PLOTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Loss", ("loss", "eval_loss")),
    ("Rewards of chosen and rejected answers", ("rewards/chosen", "rewards/rejected")),
    ("Margin between them", ("rewards/margins", "eval_rewards/margins", "margin", "eval_margin")),
    ("Share of pairs that are ranked right", ("rewards/accuracies", "eval_rewards/accuracies", "accuracy", "eval_accuracy")),
    ("Log-probabilities", ("logps/chosen", "logps/rejected")),
    ("Gradient norm", ("grad_norm",)),
    ("Learning rate", ("learning_rate",)),
    ("Tokens that are predicted right", ("mean_token_accuracy", "eval_mean_token_accuracy")),
)
"""Title: the metrics that are drawn in one plot, as far as the method logs them."""

WIDTH, HEIGHT, MARGIN = 360, 180, 44
COLOURS = ("#2a7fd4", "#d4603c", "#3a9f66", "#9a6fc8")


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: its name and its points in the picture's coordinates."""

    name: str
    points: str
    last: float
    colour: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: lines, and the ends of its axes."""

    title: str
    lines: tuple[Line, ...]
    low: float
    high: float
    steps: int


def plots_of(rows: Sequence[Anything]) -> list[Plot]:
    """The plots that a log has numbers for."""
    return [plot for title, names in PLOTS if (plot := _plot(title, names, rows)) is not None]


def _plot(title: str, names: Iterable[str], rows: Sequence[Anything]) -> Plot | None:
    # The last row of a training repeats means of the whole under the same names.
    series = {n: [(row["step"], float(row[n])) for row in rows if row.get(n) is not None and "train_runtime" not in row] for n in names}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    values = [value for points in series.values() for _, value in points]
    low, high, steps = min(values), max(values), max(step for points in series.values() for step, _ in points)
    room = (high - low) or max(abs(high), 1e-9)
    lines = tuple(
        Line(name, _path(points, low, room, max(steps, 1)), points[-1][1], colour)
        for (name, points), colour in zip(series.items(), COLOURS, strict=False)
    )
    return Plot(title, lines, low, high, steps)


def _path(points: Sequence[tuple[int, float]], low: float, room: float, steps: int) -> str:
    at = ((MARGIN + step / steps * (WIDTH - MARGIN - 8), HEIGHT - 20 - (value - low) / room * (HEIGHT - 34)) for step, value in points)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in at)


def svg(plot: Plot) -> str:
    """One plot as a picture."""
    return _filled(PICTURE, plot=plot, width=WIDTH, height=HEIGHT, margin=MARGIN)


def html_page(title: str, rows: Sequence[Anything], sentences: Sequence[str]) -> str:
    """The page; names and sentences are escaped."""
    return _filled(PAGE, title=title, pictures=[(plot, svg(plot)) for plot in plots_of(rows)], sentences=sentences)


def _filled(template: Path, **values: Any) -> str:
    import jinja2

    env = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template.read_text(encoding="utf-8")).render(values)
