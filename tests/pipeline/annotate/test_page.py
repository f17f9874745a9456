"""The page on which people decide: what a real push looks like in a real browser, what it keeps to itself, and what comes back."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.annotate.ledger import read_ledger
from pipeline.annotate.people import read_outcomes
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotation import annotate_settings
from pipeline.backends.argilla import Backend
from pipeline.records import Answer, Comparison, Prompt, Verdict, content_id, prompt_id
from pipeline.runs import Run
from pipeline.tables import to_table, write_table
from tests.harness.argilla import ArgillaServer, password_of
from tests.harness.argilla.browser import Browser, require_browser

pytestmark = pytest.mark.server

MODELS, JUDGE = ("zeus-70b", "hermes-1b"), "athena-9b"

QUESTIONS = {
    "My Wi-Fi drops every few minutes. What should I try first?": (
        "Restart the router: pull its plug, wait half a minute, and plug it in again. If the drops go on, move closer to it; when they "
        "stop there, the signal is too weak, and another channel or a repeater helps.",
        "Wi-Fi uses radio waves. There are many reasons for problems. You should contact a specialist.",
    ),
    "How long do I boil an egg so that the yolk stays soft?": (
        "Six minutes from the moment the water boils again, for an egg of middle size out of the fridge. Then put it into cold water.",
        "Ten to twelve minutes.",
    ),
    "Write a friendly reminder about an unpaid invoice.": (
        "Dear Ms Lang, a short reminder that our invoice of 3 May is still open. If it is on its way already, please ignore this note.",
        "Pay now.",
    ),
}


@dataclass
class Judged:
    """A run whose comparisons the judge saw differently in the two orders, which makes them worth a person."""

    run: Run
    texts: dict[str, str] = field(default_factory=dict)
    """Answer: text."""
    stronger: dict[str, str] = field(default_factory=dict)
    """Comparison: the strong model's answer."""


def judged_run(folder: Path, annotate: dict[str, Any]) -> Judged:
    made = Judged(Run(folder))
    scripted = {name: {"engine": "scripted", "role": role} for name, role in zip(MODELS, ("strong", "weak"), strict=True)}
    judge = {"kind": "pairwise", "model": {"engine": "scripted", "model": JUDGE}}
    recipe = {"name": folder.name, "prompts": {"path": "none"}, "models": scripted, "judge": judge, "pair": {"strategy": "strong_weak"}}
    made.run.begin({**recipe, "seed": 0, "annotate": annotate})
    tables: dict[type, list[Any]] = {Prompt: [], Answer: [], Comparison: [], Verdict: []}
    for question, texts in QUESTIONS.items():
        words = ({"role": "user", "content": question},)
        prompt = Prompt(prompt_id(words), words)
        both = [Answer(content_id(prompt.id, m, 0), prompt.id, m, 0, text) for m, text in zip(MODELS, texts, strict=True)]
        comparison = Comparison.of(prompt.id, both[0].id, both[1].id)
        tables[Prompt].append(prompt)
        tables[Answer] += both
        tables[Comparison].append(comparison)
        tables[Verdict] += [Verdict(comparison.id, prompt.id, JUDGE, order, choice, "llm") for order, choice in (("AB", "A"), ("BA", "B"))]
        made.texts |= {answer.id: answer.text for answer in both}
        made.stronger[comparison.id] = both[0].id
    for kind, rows in tables.items():
        write_table(to_table(kind, rows), made.run.shard(0) / f"{kind.__name__.lower()}s.parquet", "made")
    return made


def test_an_annotator_decides_in_the_browser_and_sees_no_model_and_no_verdict(
    argilla_server: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_browser()
    monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
    annotate = {"backend": "argilla", "url": argilla_server.url, "workspace": "helpdesk"}
    made = judged_run(tmp_path / "support", annotate)
    backend = Backend(annotate_settings(annotate), made.run.path / "annotate" / "argilla")  # type: ignore[arg-type]
    assert push(made.run, backend).sent == {"support-choice": 3}
    argilla_server.add_annotator("page-ann", "helpdesk")
    dataset = next(d["id"] for d in argilla_server.get("me/datasets")["items"] if d["name"] == "support-choice")
    ledger = {made.texts[row.answers[0]]: row for row in read_ledger(made.run)}
    with Browser() as browser:
        page = browser.sign_in(argilla_server.url, "page-ann", password_of("page-ann"))
        page.open(dataset)
        picture(page, tmp_path / "page.png")
        page.unfold_guidelines()
        assert "Say which answer helps the person who asked more." in page.text()
        for _ in QUESTIONS:
            shown = next(row for text, row in ledger.items() if f"Answer 1 {text}" in " ".join(page.task().split()))
            better = shown.answers.index(made.stronger[str(shown.comparison_id)]) + 1
            page.choose("choice", f"Answer {better}")
            page.choose("strength", "Clearly")
            page.submit()
        assert page.task() == ""
        seen = page.text() + page.heard()
    assert all(question in seen for question in QUESTIONS)
    told = [word for word in (*MODELS, JUDGE, "flipped", '"agent"', "scripted") if word in seen]
    assert told == []
    assert '"suggestions":[{' not in seen.replace(" ", "")
    pull(made.run, backend)
    backend.close()
    said = read_outcomes(made.run)
    assert {c: o.a if o.result == "A" else o.b for c, o in said.items() if o.result in ("A", "B")} == made.stronger
    assert {outcome.strength for outcome in said.values()} == {2.0}


def picture(page: Any, file: Path) -> None:
    """Of the page; into the folder that PAIRSMITH_PICTURES names where it does (`make pictures`)."""
    folder = os.environ.get("PAIRSMITH_PICTURES")
    page.screenshot(Path(folder) / "annotating.png" if folder else file)
