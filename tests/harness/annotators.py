"""A backend that keeps tasks in memory, fails when told to, and lets made-up people answer; and runs for it to work on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.annotation import Form, Progress, Response, Status, Task, Value
from pipeline.errors import BackendAway
from pipeline.records import Answer, Comparison, Prompt, Verdict, content_id, prompt_id
from pipeline.runs import Run
from pipeline.tables import to_table, write_table

AWAY = BackendAway("the fake backend does not answer; start it, and run the same command again")

Answers = Callable[[Task], Mapping[str, Value] | None]
"""What somebody says of a task; None discards it."""


@dataclass
class FakeBackend:
    """The contract of pipeline/backends, in memory. What it is told to do wrong, it does once for each telling."""

    forms: dict[str, Form] = field(default_factory=dict)
    tasks: dict[str, dict[str, Task]] = field(default_factory=dict)
    """By dataset and id, in the order in which they came."""
    responses: dict[str, dict[tuple[str, str], Response]] = field(default_factory=dict)
    """By dataset, then task and annotator."""
    pushes: list[list[str]] = field(default_factory=list)
    """The ids of each push, also of those that failed."""
    away: bool = False
    fail_after: int | None = None
    """Tasks that still arrive until a push fails; then it is well again."""
    fail_pull_after: int | None = None
    """The same of the responses of a pull."""
    closed: bool = False
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def prepare(self, form: Form) -> None:
        self._check()
        self.forms.setdefault(form.name, form)
        self.tasks.setdefault(form.name, {})
        self.responses.setdefault(form.name, {})

    def push(self, form: Form, tasks: Sequence[Task]) -> None:
        self._check()
        self.pushes.append([task.id for task in tasks])
        for task in tasks:
            if self.fail_after == 0:
                self.fail_after = None
                raise AWAY
            self.tasks[form.name][task.id] = task
            self.fail_after = None if self.fail_after is None else self.fail_after - 1

    def pull(self, form: Form, since: str | None) -> tuple[Iterator[Response], str | None]:
        self._check()
        mine = sorted(self.responses.get(form.name, {}).values(), key=lambda r: r.updated)
        new = [r for r in mine if since is None or r.updated > since]
        return self._hand_over(new), max((r.updated for r in mine), default=since)

    def status(self, form: Form) -> Progress:
        self._check()
        people: dict[str, dict[Status, int]] = {}
        submitted: dict[str, int] = dict.fromkeys(self.tasks.get(form.name, {}), 0)
        for response in self.responses.get(form.name, {}).values():
            counts = people.setdefault(response.annotator, {})
            counts[response.status] = counts.get(response.status, 0) + 1
            submitted[response.task_id] += response.status == "submitted"
        return Progress(len(submitted), sum(n >= form.min_submitted for n in submitted.values()), people)

    def close(self) -> None:
        self.closed = True

    @property
    def all_tasks(self) -> dict[str, Task]:
        return {i: task for tasks in self.tasks.values() for i, task in tasks.items()}

    def answer(
        self,
        annotator: str,
        says: Answers | Mapping[str, Value],
        *,
        dataset: str | None = None,
        only: Sequence[str] | None = None,
        status: Status = "submitted",
        seconds: float | None = 30.0,
    ) -> None:
        """Let somebody answer every task, or those of `only`; an earlier response of theirs is edited."""
        for name, tasks in self.tasks.items():
            if dataset not in (None, name):
                continue
            for task in tasks.values():
                if only is None or task.id in only:
                    values = says(task) if callable(says) else says
                    self.clock += timedelta(seconds=1)
                    state = "discarded" if values is None else status
                    response = Response(task.id, annotator, state, values or {}, self.clock.isoformat(), seconds)
                    self.responses[name][task.id, annotator] = response

    def _hand_over(self, responses: Sequence[Response]) -> Iterator[Response]:
        for n, response in enumerate(responses):
            if self.fail_pull_after is not None and n == self.fail_pull_after:
                self.fail_pull_after = None
                raise AWAY
            yield response

    def _check(self) -> None:
        if self.away:
            raise AWAY


def prefers(better: Callable[[str, str], int]) -> Answers:
    """Somebody who chooses by the texts: above 0 the first is better, below 0 the second, 0 a tie."""

    def says(task: Task) -> Mapping[str, Value]:
        sign = better(task.fields["answer_1"], task.fields["answer_2"])
        return {"choice": "1" if sign > 0 else "2" if sign < 0 else "tie", "strength": "clear"}

    return says


SECRETS = ("zeus-70b", "hermes-1b", "athena-9b", "llm-judge-x")
"""Names of models in the runs made here, the judge's last. No text holds one: where one shows, it has leaked."""

Verdicts = Sequence[tuple[str, str | None, str]]
"""Of a comparison: judge, order, choice."""

CERTAIN: Verdicts = (("llm-judge-x", "AB", "A"), ("llm-judge-x", "BA", "A"))
KINDS: dict[str, Verdicts] = {
    "flipped": (("llm-judge-x", "AB", "A"), ("llm-judge-x", "BA", "B")),
    "split": (("llm-judge-x", None, "A"), ("other", None, "B")),
    "invalid": (("llm-judge-x", "AB", "invalid"), ("llm-judge-x", "BA", "A")),
    "one_order": (("llm-judge-x", "AB", "A"),),
    "tie_in_one_order": (("llm-judge-x", "AB", "A"), ("llm-judge-x", "BA", "tie")),
    "tie": (("llm-judge-x", "AB", "tie"), ("llm-judge-x", "BA", "tie")),
    "certain": CERTAIN,
}
"""What makes a comparison uncertain: verdicts that do."""


@dataclass
class Made:
    """A run folder, as the stages leave it, with what a test needs to know of it."""

    run: Run
    comparisons: dict[str, str] = field(default_factory=dict)
    """Id: what its verdicts make it, a key of KINDS."""
    categories: dict[str, str | None] = field(default_factory=dict)
    """Comparison: category."""
    texts: dict[str, str] = field(default_factory=dict)
    """Answer: text."""
    models: dict[str, str] = field(default_factory=dict)
    """Answer: model."""
    prompts: list[str] = field(default_factory=list)


def make_run(
    path: Path,
    kinds: Sequence[str],
    *,
    categories: Sequence[str | None] = (None,),
    answers: int = 2,
    shard: int = 10,
    judged: bool = True,
    scores: Sequence[tuple[float, float]] | None = None,
    reference: bool = False,
    seed: int = 0,
    **annotate: Any,
) -> Made:
    """A run with one prompt for each of `kinds`, whose comparisons (of the first model with each other one) the judge saw so.

    The prompts' categories are taken in turn; `annotate` is the recipe's part, with the csv backend unless it says another.
    """
    made = Made(Run(path))
    names = SECRETS[:answers]
    made.run.begin(_recipe(names, judged, seed, annotate))
    for start in range(0, len(kinds), shard):
        tables: dict[type, list[Any]] = {Prompt: [], Answer: [], Comparison: [], Verdict: []}
        for n in range(start, min(start + shard, len(kinds))):
            question = ({"role": "user", "content": f"question number {n}"},)
            prompt = Prompt(prompt_id(question), question, category=categories[n % len(categories)])  # type: ignore[arg-type]
            tables[Prompt].append(replace(prompt, reference=f"reference {n}") if reference else prompt)
            given = [Answer(content_id(prompt.id, m, 0), prompt.id, m, 0, f"text {n} {'ijkl'[k]}") for k, m in enumerate(names)]
            tables[Answer] += given
            made.prompts.append(prompt.id)
            made.texts |= {a.id: a.text for a in given}
            made.models |= {a.id: a.model for a in given}
            for other in given[1:]:
                comparison = Comparison.of(prompt.id, given[0].id, other.id)
                tables[Comparison].append(comparison)
                made.comparisons[comparison.id], made.categories[comparison.id] = kinds[n], prompt.category
                a, b = scores[n] if scores else (None, None)
                tables[Verdict] += [
                    Verdict(comparison.id, prompt.id, judge, order, choice, "llm", a, b)  # type: ignore[arg-type]
                    for judge, order, choice in KINDS[kinds[n]]
                ]
        for kind, records in tables.items():
            if judged or kind in (Prompt, Answer):
                write_table(to_table(kind, records), made.run.shard(start // shard) / f"{kind.__name__.lower()}s.parquet", "made")
    return made


def _recipe(names: Sequence[str], judged: bool, seed: int, annotate: Mapping[str, Any]) -> dict[str, Any]:
    roles = ("strong", *("weak" for _ in names[1:]))
    scripted = {name: {"engine": "scripted", "role": role} for name, role in zip(names, roles, strict=True)}
    judge = {"judge": {"kind": "pairwise", "model": {"engine": "scripted", "model": "llm-judge-x"}}} if judged else {}
    part = {"annotate": {"backend": "csv", **annotate}} if annotate is not None else {}
    return {
        "name": "made", "prompts": {"path": "none"}, "models": scripted, **judge, "pair": {"strategy": "strong_weak"}, "seed": seed, **part,
    }  # fmt: skip
