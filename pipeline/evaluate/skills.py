"""What was lost: tasks with right answers, graded by a rule, before and after."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluate.answers import AFTER, BEFORE, answers_of, meetings, prompts_of
from pipeline.judges import make_judge
from pipeline.passport.estimate import plain, share
from pipeline.records import Answer, Comparison, Prompt
from pipeline.runs import Run
from pipeline.settings import Anything


@dataclass(frozen=True, slots=True)
class Graded:
    """One task, answered by both. A grade is None where the rule cannot tell, or there is no answer."""

    prompt: Prompt
    after: Answer | None
    before: Answer | None
    after_right: bool | None
    before_right: bool | None


def graded(run: Run, rule: Anything) -> list[Graded]:
    """The first answers of both models to every task, graded. RecipeError for a rule that does not exist."""
    judge = make_judge({"kind": "rule", **rule}, {})
    answers = answers_of(run)

    async def grade() -> list[Graded]:
        found = []
        for prompt in prompts_of(run):
            both = meetings(answers.get(prompt.id, {AFTER: [], BEFORE: []}))[:1]
            if not both:
                found.append(Graded(prompt, None, None, None, None))
            for comparison, a, b in both:
                found.append(await _grade(judge, prompt, comparison, a, b))
        return found

    return asyncio.run(grade())


async def _grade(judge: object, prompt: Prompt, comparison: Comparison, a: Answer, b: Answer) -> Graded:
    [verdict] = await judge.judge(prompt, {a.id: a, b.id: b}, [comparison])  # type: ignore[attr-defined]
    right = [None if score is None else score > 0 for score in (verdict.score_a, verdict.score_b)]
    return Graded(prompt, a, b, right[0], right[1])


def skill_figures(rows: Sequence[Graded]) -> Anything:
    """Shares right with Wilson's intervals, all together and by category; the tasks that were gained and lost, and McNemar's exact
    p that as many of each were to be expected. Tasks that were not graded on both sides are counted and left out."""
    categories = sorted({c for row in rows if (c := row.prompt.category)})
    figures = {
        **_figures(rows),
        "categories": {c: _figures([row for row in rows if row.prompt.category == c]) for c in categories} if len(categories) > 1 else {},
    }
    plained: Anything = plain(figures)
    return plained


def _figures(rows: Sequence[Graded]) -> Anything:
    known = [row for row in rows if row.after_right is not None and row.before_right is not None]
    gained = sum(1 for row in known if row.after_right and not row.before_right)
    lost = sum(1 for row in known if row.before_right and not row.after_right)
    return {
        "tasks": len(known),
        "ungraded": len(rows) - len(known),
        BEFORE: share(sum(bool(row.before_right) for row in known), len(known)),
        AFTER: share(sum(bool(row.after_right) for row in known), len(known)),
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
    }


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test (1947): tasks that changed are as likely to be gained as lost."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
