"""Status: how far people are, how far they agree with each other and with the judge, and how many labels more would tell."""

from collections import Counter

from pipeline.annotate.annotators import Table, anchoring, annotators
from pipeline.annotate.candidates import asked_of
from pipeline.annotate.derive import derive
from pipeline.annotate.ledger import Sent, read_ledger
from pipeline.annotate.people import drawn_by_chance
from pipeline.annotate.pull import forms_in
from pipeline.annotate.responses import read_responses
from pipeline.annotate.shown import judge_says, read_shown
from pipeline.annotation import Form
from pipeline.backends import Backend
from pipeline.passport.estimate import plain, wilson
from pipeline.passport.figures import against_people
from pipeline.runs import Run
from pipeline.settings import Anything

HALF_WIDTH = 0.05
"""Of the interval that the judge's agreement shall have: five points to either side."""

MOST = 1_000_000


def status(run: Run, backend: Backend) -> Anything:
    """Figures as plain JSON values: progress as the backend says, all else from what was pulled.

    Raises RecipeError where the run's recipe asks nothing of people, and BackendAway.
    """
    asked = asked_of(run)
    ledger = read_ledger(run)
    tasks = {task.id: task for task in ledger}
    shown, stored = read_shown(asked, {t.prompt_id for t in ledger}), read_responses(run).values()
    found = derive(tasks, stored, forms_in(asked, ledger), shown, asked.settings)
    judge = judge_says(asked, {one.comparison.id for one in found.labelled})
    table, by_chance = Table.of(found.labelled), drawn_by_chance(run)
    sides = {"random": against_people(run, by_chance) if by_chance else {}, "all": against_people(run)}
    figures = {
        "name": asked.recipe.name,
        "datasets": _datasets(backend, ledger, forms_in(asked, [t for t in ledger if t.state == "sent"])),
        "responses": {
            "submitted": sum(r.status == "submitted" for r in stored),
            **{name: getattr(found, name) for name in ("discarded", "drafts", "unreadable", "stale")},
            "unknown": len(found.unknown),
        },
        "outcomes": dict(sorted(Counter(say.result for say in found.people.says.values()).items())),
        "rewrites": len(found.people.rewrites),
        "people": table.among_each_other(seed=asked.recipe.seed) if table else None,
        "annotators": annotators(found.labelled, stored, tasks, shown),
        "anchoring": anchoring(found.labelled, judge),
        "judge": {of: [{"name": name, **t} for name, t in sorted(tables.items())] for of, tables in sides.items()},
        "needed": needed(sides["random"] or sides["all"], len(by_chance), asked.settings.min_submitted) if asked.recipe.judge else None,
    }
    plained: Anything = plain(figures)
    return plained


def _datasets(backend: Backend, ledger: list[Sent], forms: dict[str, Form]) -> list[Anything]:
    rows = []
    for name in sorted({task.dataset for task in ledger}):
        mine = [task for task in ledger if task.dataset == name]
        row = {
            "name": name,
            "kind": mine[0].kind,
            "round": mine[0].round,
            "chosen": len(mine),
            "tasks": 0,
            "completed": 0,
            "annotators": {},
        }
        if name in forms:
            p = backend.status(forms[name])
            row |= {"tasks": p.tasks, "completed": p.completed, "annotators": {who: dict(n) for who, n in sorted(p.annotators.items())}}
        rows.append(row)
    return rows


def needed(tables: Anything, by_chance: int, min_submitted: int) -> Anything:
    """How many comparisons drawn by chance must be labelled in all, and how many more, until the Wilson interval of each judge's
    agreement is five points wide to either side, should its share stay as it is: that of the judge who needs most. With nothing to go
    by, the share is one half, which needs most. `responses`: what people have to give for them."""
    shares = [t["raw"].value for t in tables.values() if t["raw"].value is not None] or [0.5]
    found = max(shares, key=labels_for)
    in_all = labels_for(found)
    more = max(0, in_all - by_chance)
    return {
        "half_width": HALF_WIDTH,
        "at": found,
        "comparisons": in_all,
        "labelled": by_chance,
        "more": more,
        "responses": more * min_submitted,
    }


def labels_for(agreement: float, half_width: float = HALF_WIDTH) -> int:
    """The fewest comparisons at which a share of this size has a 95 % interval (Wilson) of twice `half_width` or less."""
    low, high = 1, MOST
    while low < high:
        n = (low + high) // 2
        ends = wilson(agreement * n, n)
        low, high = (low, n) if ends[1] - ends[0] <= 2 * half_width else (n + 1, high)
    return low
