"""Who the model says it is, before and after: the questions of an identity dataset, graded by its own rules."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson

from pipeline.errors import RunError
from pipeline.evaluate.answers import AFTER, BEFORE, answers_of
from pipeline.evaluate.decide import Learned, Metrics
from pipeline.identity.dataset import read_evaluation
from pipeline.identity.facts import Facts
from pipeline.identity.metrics import compare, grade, measure
from pipeline.records import prompt_cluster, prompt_id
from pipeline.runs import Run, write_text
from pipeline.settings import Anything, PromptsSettings

LESS_IS_BETTER = ("leak", "overgeneral")
"""As guards these are turned round: `identity.without_leak` is the share without one."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked of who the model is: rows of an identity dataset's evaluation table, never trained on; and what is true."""

    rows: list[Anything]
    facts: Facts
    trained_on: int
    """How many were left out for it."""


def read_questions(folder: str, trained: Set[str]) -> Questions:
    """The held-out questions of a folder that `pairsmith identity` made, but for those with a cluster that was trained on, as where the
    training was on other pairs too. RunError where it holds none."""
    rows, facts = read_evaluation(Path(folder).expanduser())
    held = [row for row in rows if row["split"] != "dev"]
    unseen = [row for row in held if prompt_cluster(row["messages"]) not in trained]
    if not unseen:
        raise RunError(f"all {len(held)} questions in {folder} were trained on; give the folder whose pairs the model was trained on")
    return Questions(unseen, facts, len(held) - len(unseen))


def write_questions(questions: Questions, file: Path) -> PromptsSettings:
    """The questions as a prompt table."""
    lines = [orjson.dumps({"id": row["id"], "prompt": row["messages"]}) + b"\n" for row in questions.rows]
    write_text(file, b"".join(dict.fromkeys(lines)))
    return PromptsSettings(path=str(file), bad_rows="drop")


def identity_figures(questions: Questions, run: Run) -> Anything:
    """The figures before and after, a row each, and sentences; `unanswered` questions count as wrong."""
    said = _said(questions, run)
    before, after = (measure(questions.rows, said[side], questions.facts) for side in (BEFORE, AFTER))
    compared = compare(before, after)
    return {
        "metrics": [{"name": r["figure"], "words": r["words"], BEFORE: r["before"], AFTER: r["after"]} for r in compared["rows"]],
        "sentences": compared["sentences"],
        "unanswered": {side: texts.count("") for side, texts in said.items()},
        "faults": {BEFORE: before["faults"], AFTER: after["faults"]},
    }


def identity_samples(questions: Questions, run: Run, shown: int, seed: int) -> list[Anything]:
    """Some answers to who the model is, drawn by chance and shown in their order: question, before, after, and which is right."""
    said, facts = _said(questions, run), questions.facts
    about = [n for n, row in enumerate(questions.rows) if row["asks"]]
    drawn = sorted(Random(seed).sample(about, min(shown, len(about))))  # noqa: S311 - a choice, no secret
    words = {(False, True): "right now", (True, False): "wrong now", (True, True): "right, as before", (False, False): "wrong, as before"}
    return [
        {
            "prompt": "\n".join(m["content"] for m in row["messages"] if m["role"] == "user"),
            **{side: said[side][n] for side in (BEFORE, AFTER)},
            "outcome": words[grade(row, said[BEFORE][n], facts)["right"], grade(row, said[AFTER][n], facts)["right"]],
        }
        for n, row in ((n, questions.rows[n]) for n in drawn)
    ]


def _said(questions: Questions, run: Run) -> dict[str, list[str]]:
    """Both models' answers in the questions' order; empty where one gave none."""
    answers = answers_of(run)
    ids = [prompt_id(row["messages"]) for row in questions.rows]
    return {side: [next((a.text for a in answers.get(i, {}).get(side, ())), "") for i in ids] for side in (BEFORE, AFTER)}


def learned(figures: Anything) -> Learned:
    """What decides where no judge does: the shares right on held-out phrasings, before and after."""
    heldout = next(metric for metric in figures["metrics"] if metric["name"] == "heldout")
    return heldout[BEFORE], heldout[AFTER]


def guards_of(figures: Anything) -> Metrics:
    """What may not fall: `identity` (held-out phrasings) and every figure under its name; of all of them more is better."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for metric in figures["metrics"]:
        values = metric[BEFORE]["value"], metric[AFTER]["value"]
        less = metric["name"] in LESS_IS_BETTER
        name = f"identity.without_{metric['name']}" if less else f"identity.{metric['name']}"
        found[name] = tuple(None if v is None else 1 - v for v in values) if less else values  # type: ignore[assignment]
    return {"identity": found["identity.heldout"], **found}
