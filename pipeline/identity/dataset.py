"""The folder of an identity dataset.

    dataset/             prompt, chosen, rejected; kto and sft forms; its card (as every dataset of ours)
    evaluation/          questions.parquet: what is asked before and after training; facts.json: what is true
    pairs.parquet        the pairs as they came; dropped.parquet: what became none, with the reason
    recipe.yaml          what was asked; summary.json holds the figures, and is written last

The pairs of phrasings on the side `dev` are the dataset's test split. What is held out for the end is in no pair.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.errors import RunError
from pipeline.gate import gate, standing_gates
from pipeline.identity.answers import Made
from pipeline.identity.balance import lengths
from pipeline.identity.build import Built, EvaluationSplit, Plan, figures
from pipeline.identity.facts import Facts
from pipeline.identity.paraphrase import PROMPT, Paraphrased
from pipeline.identity.questions import Question
from pipeline.prompts import load_prompt
from pipeline.publish import publish
from pipeline.records import Pair
from pipeline.runs import explained, json_text, write_text
from pipeline.settings import Anything, PublishSettings
from pipeline.tables import SCHEMAS, Dropped, to_table, write_table

GATES: Mapping[str, Any] = {"similar": False}
"""All that stand by default but `similar`: two answers that differ in a name alone are what an identity is learned from."""

_MESSAGES = SCHEMAS[Pair].field("prompt").type

EVALUATION = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("id", "split", "kind", "family", "language", "phrasing")),
        pa.field("messages", _MESSAGES, nullable=False),
        pa.field("asks", pa.string()),
        pa.field("fact", pa.string()),
        pa.field("answer_language", pa.string(), nullable=False),
        pa.field("expected", pa.list_(pa.string()), nullable=False),
    ]
)
"""A row is a question. `expected` holds what a right answer says; of `asks` and `fact` see words.Group."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of whom, for the summary and the card."""

    key: str
    """Of the recipe."""
    raw: Anything
    """The recipe as it was asked: values from the environment never reach a file."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the models are called, by `strong` and `model`."""
    usage: Anything = field(default_factory=dict)
    paraphrased: Paraphrased | None = None
    """None where no wording was asked for."""
    judge: Anything = field(default_factory=lambda: dict(_BY_RULE))
    """The figures of who chose (see choosing)."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Requests for answers that failed, by reason."""


_BY_RULE: Mapping[str, Any] = {"name": "rule", "verdicts": 0, "prompt_shas": []}


def write(folder: Path, facts: Facts, plan: Plan, built: Built, asked: Asked) -> Anything:
    """Write the folder and return its summary. RunError where the folder holds something that this command did not make."""
    check_folder(folder)
    table = to_table(Pair, [_pair(made, asked.labels) for made in built.pairs])
    kept, stopped, reasons = gate(table, standing_gates(GATES))
    gated = [
        Dropped("gate", reason, i, f"{c[:60]!r} over {r[:60]!r}", i)
        for reason, i, c, r in zip(reasons, *(stopped[n].to_pylist() for n in ("prompt_id", "chosen", "rejected")), strict=True)
    ]
    worded = asked.paraphrased or Paraphrased()
    dropped, key = [*worded.dropped, *built.kept.dropped, *built.dropped, *gated], asked.key
    rows = [_row(split, question, facts) for split, question in built.evaluation]
    counts = _counts(built, kept, dropped, plan, facts, asked)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").unlink(missing_ok=True)
        write_text(folder / "recipe.yaml", yaml.safe_dump(asked.raw, sort_keys=False, allow_unicode=True))
        write_table(kept, folder / "pairs.parquet", key)
        write_table(to_table(Dropped, dropped), folder / "dropped.parquet", key)
        write_table(pa.Table.from_pylist(rows, schema=EVALUATION), folder / "evaluation" / "questions.parquet", key)
        write_text(folder / "evaluation" / "facts.json", json_text(_true(facts)))
        settings = PublishSettings(title=f"Who is {facts.name}?", license="cc0-1.0")
        dataset = publish([folder / "pairs.parquet"], folder / "dataset", settings, counts["name"], counts)
        said = {"paraphrases": _words(asked.paraphrased), "usage": asked.usage, "failed": dict(asked.failed)}
        summary = {**_true(facts), **figures(built), **_without_card(counts), "dataset": dataset, **said}
        write_text(folder / "summary.json", json_text(summary))
    return summary


def read_evaluation(folder: Path) -> tuple[list[Anything], Facts]:
    """The evaluation rows and the facts of a folder. RunError where it holds none."""
    import orjson

    from pipeline.tables import read_table

    try:
        true = orjson.loads((folder / "evaluation" / "facts.json").read_bytes())
        rows = read_table(folder / "evaluation" / "questions.parquet").to_pylist()
        return rows, Facts(true["identity"]["name"], true["identity"]["maker"], true["identity"]["facts"])
    except (FileNotFoundError, NotADirectoryError, KeyError, orjson.JSONDecodeError, pa.ArrowInvalid):
        raise RunError(f"{folder} holds no identity evaluation; give a folder that `pairsmith identity` made") from None


def check_folder(folder: Path) -> None:
    """RunError where a folder holds something that this command did not make."""
    with explained(folder):
        ours = {"dataset", "evaluation", "pairs.parquet", "dropped.parquet", "recipe.yaml", "summary.json"}
        found = {p.name for p in folder.iterdir()} if folder.exists() else set()
    if strange := sorted(n for n in found - ours if not n.startswith(".")):
        raise RunError(f"{folder} holds '{strange[0]}', which this command did not make; give an empty folder with --out")


def _pair(made: Made, labels: Mapping[str, str]) -> Pair:
    question = made.question
    return Pair(
        prompt_id=question.id,
        prompt=question.messages,
        chosen=made.chosen,
        rejected=made.rejected,
        chosen_model=labels.get(made.chosen_from, made.chosen_from),
        rejected_model=labels.get(made.rejected_from, made.rejected_from),
        source=made.source,
        category=question.family,
        split="test" if question.side == "dev" else "train",
        plain=len(question.messages) == 1,
    )


def _row(split: EvaluationSplit, question: Question, facts: Facts) -> dict[str, Any]:
    expected = question.expected
    own = {"name": [facts.name], "maker": [facts.maker], "both": [*facts.own]}
    return {
        "id": question.id,
        "split": split,
        "kind": question.kind,
        "family": question.family,
        "language": question.language,
        "phrasing": question.phrasing,
        "messages": list(question.messages),
        "asks": expected.asks if expected else None,
        "fact": expected.fact if expected else None,
        "answer_language": expected.language if expected else question.language,
        "expected": own.get(expected.asks, []) if expected else list(question.holds),
    }


def _true(facts: Facts) -> Anything:
    return {"identity": {"name": facts.name, "maker": facts.maker, "facts": dict(facts.more)}}


def _words(worded: Paraphrased | None) -> Anything | None:
    """How many wordings came, and what became of them; None where none was asked for."""
    if worded is None:
        return None
    reasons = Counter(d.reason for d in worded.dropped)
    came = {"phrasings": worded.asked, "offered": len(worded.phrasings) + len(worded.dropped), "kept": len(worded.phrasings)}
    return {**came, "dropped": dict(sorted(reasons.items())), "failed": dict(worded.failed)}


def _counts(built: Built, kept: pa.Table, dropped: Sequence[Dropped], plan: Plan, facts: Facts, asked: Asked) -> Anything:
    """The figures as a dataset card wants them. RunError where a question is missing: rows are conserved."""
    came, made, left = len(built.pairs) + len(built.dropped), len(built.pairs), len(kept)
    words = _words(asked.paraphrased)
    beside = len(built.kept.dropped) + (words["offered"] - words["kept"] if words else 0)
    if left + len(dropped) != came + beside:
        raise RunError(f"{came} questions became {left} pairs, and {len(dropped)} were dropped by name: this is an error of Pairsmith's")
    sides = list(zip(kept["chosen"].to_pylist(), kept["rejected"].to_pylist(), strict=True))
    models = Counter(zip(kept["chosen_model"].to_pylist(), kept["rejected_model"].to_pylist(), strict=True))
    reasons = Counter((d.stage, d.reason) for d in dropped)
    return {
        "name": f"identity of {facts.name}",
        "strategy": "identity",
        "recipe_sha": asked.key,
        "languages": sorted(plan.languages),
        "stages": [
            *([{"stage": "paraphrase", "in": words["offered"], "out": words["kept"]}] if words else []),
            *([{"stage": "keep", "in": mine + len(built.kept.dropped), "out": mine}] if (mine := len(built.kept.questions)) else []),
            {"stage": "pair", "in": came, "out": made},
            {"stage": "gate", "in": made, "out": left},
        ],
        "dropped": [{"stage": stage, "reason": reason, "rows": n} for (stage, reason), n in sorted(reasons.items())],
        "judge": {**asked.judge, "prompt_shas": [*asked.judge["prompt_shas"], *([load_prompt(PROMPT).sha256] if words else [])]},
        "balance": lengths(sides),
        "pairs": {
            "rows": left,
            "by_split": dict(sorted(Counter(kept["split"].to_pylist()).items())),
            "by_source": dict(sorted(Counter(kept["source"].to_pylist()).items())),
            "by_models": [{"chosen": c, "rejected": r, "pairs": n} for (c, r), n in sorted(models.items())],
            "chosen_longer": lengths(sides)["chosen_longer"],
        },
    }


def _without_card(counts: Anything) -> Anything:
    return {name: counts[name] for name in ("name", "stages", "dropped", "judge", "balance", "pairs", "recipe_sha")}
