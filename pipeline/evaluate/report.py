"""The whole evaluation: ask, compare, grade, decide; and the files that say so."""

import re
from collections.abc import Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipeline.errors import RecipeError
from pipeline.evaluate.answers import AFTER, BEFORE, Asked, Showing, ask, hidden, models_of, recipe_of
from pipeline.evaluate.compare import Compared, compared, win_figures
from pipeline.evaluate.decide import Metrics, decide
from pipeline.evaluate.held_out import never_trained_on, write_held_out
from pipeline.evaluate.identity import Questions, guards_of, identity_figures, identity_samples, learned, read_questions, write_questions
from pipeline.evaluate.page import html_page
from pipeline.evaluate.skills import graded, skill_figures
from pipeline.evaluate.trained import Trained, is_here
from pipeline.evaluate.words import in_sentences, markdown
from pipeline.evaluation import EvaluateSettings
from pipeline.fingerprint import folder_fingerprint
from pipeline.runs import json_text, read_json, write_text
from pipeline.settings import Anything, PromptsSettings, label_of

FILE = "evaluation.json"
"""In the training's folder; evaluation.md and evaluation.html beside it say the same to people."""

_END = "<!-- end of before and after -->"
_PLACE = re.compile(rf"(?P<mark><!-- before and after: [^\n]*-->)(?:\n.*?{_END})?", re.DOTALL)
"""Where a card wants the section, and the one that stands there already."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the training held out, and what it trained on."""

    prompts: list[Anything]
    """Texts or messages."""
    trained: Set[str]
    """The clusters of the prompts that were trained on."""
    split: str = ""
    """Where the held-out prompts come from, in words."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The recipes of an evaluation, all of them checked before anything is asked; and the prompts that were left out."""

    comparison: Anything | None
    """None without a judge."""
    skills: Anything | None
    identity: Anything | None
    questions: Questions | None
    """Of the identity."""
    trained_on: int


def evaluate(trained: Trained, settings: EvaluateSettings, held: HeldOut, show: Showing = hidden) -> Anything:
    """The evaluation as one object of plain JSON values. What was asked before is not asked again. Raises PairsmithError."""
    parts = _parts(trained, settings, held)
    with ExitStack() as stack:
        # A server takes long to start, and serves all parts; a model in this process is loaded in no time, and takes memory.
        keep = stack if settings.engine == "vllm" and settings.local_models == "together" else None
        asked: list[Asked] = []
        comparison, skills, identity, samples = None, None, None, []
        if parts.comparison is not None:
            asked.append(ask(trained, parts.comparison, ("answers", "verdicts"), show, keep))
            rows = compared(asked[-1].run, asked[-1].weights)
            comparison, samples = win_figures(asked[-1].run, rows, settings.seed), _samples(rows, settings)
        if parts.skills is not None and settings.skills is not None:
            asked.append(ask(trained, parts.skills, ("answers",), show, keep))
            skills = skill_figures(graded(asked[-1].run, settings.skills.rule))
        if parts.identity is not None and parts.questions is not None:
            asked.append(ask(trained, parts.identity, ("answers",), show, keep))
            identity = identity_figures(parts.questions, asked[-1].run)
            if comparison is None:
                samples = identity_samples(parts.questions, asked[-1].run, settings.shown, settings.seed)
    win_rate = None if comparison is None else comparison["win_rate"]
    decision = decide(win_rate, _metrics(skills, identity), settings.promote, None if identity is None else learned(identity))
    found = {
        "name": trained.name,
        "method": trained.method,
        "base": label_of(trained.base),
        "decision": decision.plain(),
        "comparison": comparison,
        "skills": skills,
        "identity": identity,
        "held_out": held_out_figures(trained.log, trained.best_step),
        "prompts": {"trained_on": parts.trained_on},
        "samples": samples,
        # Of what was evaluated, so that nothing else is promoted for it; unknown where it was asked elsewhere.
        "weights": folder_fingerprint(trained.result) if is_here(settings.after) else None,
        **_provenance(asked),
    }
    return {**found, "sentences": in_sentences(found)}


def write_reports(trained: Trained, found: Anything, page: Path | None = None) -> None:
    """evaluation.md, evaluation.html, a section of the model card and, last, evaluation.json in a training's folder; the page in a
    place of the user's, too."""
    html, section = html_page(found), markdown(found)
    if page is not None:
        write_text(page, html)
    write_text(trained.folder / "evaluation.html", html)
    write_text(trained.folder / "evaluation.md", section)
    for card in (trained.folder / "README.md", trained.result / "README.md"):
        if card.is_file():
            write_text(card, with_section(card.read_text(encoding="utf-8"), section))
    write_text(trained.folder / FILE, json_text(found))


def with_section(card: str, section: str) -> str:
    """A model card with the section where the card keeps its place; unchanged where it keeps none. Again gives the same card."""
    return _PLACE.sub(lambda place: f"{place['mark']}\n{section}{_END}", card, count=1)


def read_evaluation(folder: Path) -> Anything | None:
    """What `evaluate` wrote of a training; None where it was not evaluated."""
    return read_json(folder / FILE)


def _parts(trained: Trained, settings: EvaluateSettings, held: HeldOut) -> _Parts:
    if settings.judge is None and settings.identity is None:
        raise RecipeError(
            "evaluate.judge is missing: no other figure says which answers are better; add a judge, such as kind: pairwise, or, where the "
            "training teaches a model who it is, evaluate.identity (--identity FOLDER), which needs none"
        )
    place, left_out = trained.reports, 0
    comparison, skills, identity, questions = None, None, None, None
    if settings.judge is not None:
        if settings.prompts is None:
            prompts = write_held_out(held.prompts, place / "prompts.jsonl", held.split)
        else:
            prompts, left_out = never_trained_on(settings.prompts, held.trained, place / "prompts.jsonl")
        models = models_of(trained, settings, settings.sampling, settings.samples, settings.system)
        comparison = recipe_of(settings, prompts, models, settings.judge, "comparison")
    if settings.skills is not None:
        table = PromptsSettings(**settings.skills.model_dump(exclude={"rule", "sampling"}))
        tasks, more = never_trained_on(table, held.trained, place / "skills.jsonl")
        models = models_of(trained, settings, settings.skills.sampling, 1, settings.system)
        skills, left_out = recipe_of(settings, tasks, models, {"kind": "rule", **settings.skills.rule}, "skills"), left_out + more
    if settings.identity is not None:
        # A system message would replace those that some questions bring, and would tell the model who it is.
        models = models_of(trained, settings, settings.sampling, 1, None)
        questions = read_questions(settings.identity, held.trained)
        asks, left_out = write_questions(questions, place / "identity.jsonl"), left_out + questions.trained_on
        identity = recipe_of(settings, asks, models, {"kind": "rule", "pattern": "."}, "identity")
    return _Parts(comparison, skills, identity, questions, left_out)


def _metrics(skills: Anything | None, identity: Anything | None) -> Metrics:
    """What a guard may be: shares before and after, by name."""
    found: dict[str, tuple[float | None, float | None]] = {}
    if skills is not None:
        found["skills"] = skills[BEFORE]["value"], skills[AFTER]["value"]
        found |= {f"skills.{n}": (s[BEFORE]["value"], s[AFTER]["value"]) for n, s in skills["categories"].items()}
    return {**found, **(guards_of(identity) if identity is not None else {})}


def held_out_figures(log: list[Anything], step: int | None = None) -> Anything:
    """What the trainer measured on held-out pairs at the step that was kept (where it is not known, at the one with the least loss):
    accuracy and margin. Empty where it measured none."""
    rows = [row for row in log if "eval_rewards/accuracies" in row]
    if not rows:
        return {}
    best = min(rows, key=lambda row: (row["step"] != step, row.get("eval_loss", 0.0), -row["step"]))
    return {"step": best["step"], "accuracy": best["eval_rewards/accuracies"], "margin": best.get("eval_rewards/margins")}


def _samples(rows: list[Compared], settings: EvaluateSettings) -> list[Anything]:
    """Some comparisons, drawn by chance and shown in their order."""
    drawn = Random(settings.seed).sample(range(len(rows)), min(settings.shown, len(rows)))  # noqa: S311 - a choice, no secret
    words = {"win": "better", "loss": "worse", "tie": "as good", "identical": "the same", "contradictory": "not to be told"}
    return [
        {
            "prompt": row.prompt.question,
            BEFORE: row.before.text,
            AFTER: row.after.text,
            "outcome": words.get(row.outcome, "not judged"),
        }
        for row in (rows[n] for n in sorted(drawn))
    ]


def _provenance(asked: list[Asked]) -> Anything:
    models = {f"{part.run.path.name.rpartition('-')[0]}.{name}": m for part in asked for name, m in part.models.items()}
    return {"models": models, "requests": sum(part.usage["requests"] for part in asked)}
