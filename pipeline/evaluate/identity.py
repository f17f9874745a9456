"""Who the model says it is, before and after: the questions of an identity dataset, graded by its own rules."""

from pathlib import Path

import orjson

from pipeline.evaluate.answers import AFTER, BEFORE, answers_of
from pipeline.evaluate.decide import Metrics
from pipeline.identity.dataset import read_evaluation
from pipeline.identity.metrics import compare, measure
from pipeline.records import prompt_id
from pipeline.runs import Run, write_text
from pipeline.settings import Anything, PromptsSettings

LESS_IS_BETTER = ("leak", "overgeneral")
"""As guards these are turned round: `identity.without_leak` is the share without one."""


def write_questions(folder: str, file: Path) -> PromptsSettings:
    """A prompt table of the held-out questions of a folder that `pairsmith identity` made. RunError where it holds none."""
    rows, _ = read_evaluation(Path(folder).expanduser())
    lines = [orjson.dumps({"id": row["id"], "prompt": row["messages"]}) + b"\n" for row in rows if row["split"] != "dev"]
    write_text(file, b"".join(dict.fromkeys(lines)))
    return PromptsSettings(path=str(file), bad_rows="drop")


def identity_figures(folder: str, run: Run) -> Anything:
    """The figures before and after, a row each, and sentences; `unanswered` questions count as wrong."""
    rows, facts = read_evaluation(Path(folder).expanduser())
    rows = [row for row in rows if row["split"] != "dev"]
    answers = answers_of(run)
    ids = [prompt_id(row["messages"]) for row in rows]
    said = {side: [next((a.text for a in answers.get(i, {}).get(side, ())), "") for i in ids] for side in (BEFORE, AFTER)}
    before, after = (measure(rows, said[side], facts) for side in (BEFORE, AFTER))
    compared = compare(before, after)
    return {
        "metrics": [{"name": r["figure"], "words": r["words"], BEFORE: r["before"], AFTER: r["after"]} for r in compared["rows"]],
        "sentences": compared["sentences"],
        "unanswered": {side: texts.count("") for side, texts in said.items()},
        "faults": {BEFORE: before["faults"], AFTER: after["faults"]},
    }


def guards_of(figures: Anything) -> Metrics:
    """What may not fall: `identity` (held-out phrasings) and every figure under its name; of all of them more is better."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for metric in figures["metrics"]:
        values = metric[BEFORE]["value"], metric[AFTER]["value"]
        less = metric["name"] in LESS_IS_BETTER
        name = f"identity.without_{metric['name']}" if less else f"identity.{metric['name']}"
        found[name] = tuple(None if v is None else 1 - v for v in values) if less else values  # type: ignore[assignment]
    return {"identity": found["identity.heldout"], **found}
