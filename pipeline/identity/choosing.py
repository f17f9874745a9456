"""Choosing by a judge: of the strong model's answer and the model's own, which is better? The judges are those of any recipe.

`judge` decides alone; with `first` the rule is heard first, and the judge where the rule finds both answers right, or both wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pipeline.identity.answers import From, Picked, Replies, is_right
from pipeline.identity.facts import Facts
from pipeline.identity.questions import Question, fill
from pipeline.judge import judge_all, resolve
from pipeline.judges import Judge, make_judge
from pipeline.model import Model
from pipeline.plugins import load_plugin
from pipeline.records import Answer, Choice, Comparison, Prompt, Verdict
from pipeline.settings import Anything

ChosenBy = Literal["rule", "judge", "first"]

SIDES: tuple[From, From] = ("strong", "model")
"""Whose answers are on the sides a and b."""

_WORDS = {"split_tie": "tie_in_one_order", "one_order": "one_order_only"}
"""Reasons whose name says more than the result's, as in pair.py."""


class ByRule:
    """The rule of identity datasets, as a judge: right beats wrong, all else is a tie."""

    asks_model = False
    name = "rule"

    def __init__(self, questions: Mapping[str, Question], facts: Facts) -> None:
        self._questions, self._facts = questions, facts

    def revision(self) -> str:
        return ""

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        return [self._verdict(prompt.id, c, *(self._right(prompt.id, answers[side]) for side in (c.a, c.b))) for c in comparisons]

    def _right(self, asked: str, answer: Answer) -> float:
        return float(is_right(self._questions[asked], answer.text, self._facts))

    def _verdict(self, asked: str, comparison: Comparison, a: float, b: float) -> Verdict:
        choice: Choice = "tie" if a == b else "A" if a > b else "B"
        return Verdict(comparison.id, asked, self.name, "AB", choice, "rule", a, b)


def judge_for(chosen_by: ChosenBy, raw: Anything, models: Mapping[str, Model], questions: Iterable[Question], facts: Facts) -> Judge:
    """The judge that chooses; `raw` are its settings, as in a recipe for building."""
    judge = make_judge(raw, models)
    if chosen_by == "judge":
        return judge
    plugin = load_plugin("judges", "first")
    settings = plugin.Settings(ties="pass", judges=[{"kind": "rule"}, {"kind": raw["kind"]}])
    both: Judge = plugin.Judge(settings, {"rule": ByRule({q.id: q for q in questions}, facts), "judge": judge})
    return both


async def choose(
    questions: Sequence[Question], replies: Mapping[str, Replies], judge: Judge, facts: Facts
) -> tuple[dict[str, Replies], Anything]:
    """The replies with what the judge picked, and the judge's figures. Raises EngineError and BudgetSpent.

    A question without two different answers has `too_few_answers`; one that the judge leaves undecided the result as its reason.
    """
    prompts: dict[str, Prompt] = {}
    answers: dict[str, Answer] = {}
    meetings: list[Comparison] = []
    for question in questions:
        if two := _two(question, replies[question.id]):
            prompts[question.id] = _prompt(question, facts)
            answers |= {answer.id: answer for answer in two}
            meetings.append(Comparison.of(question.id, two[0].id, two[1].id))
    verdicts, _ = await judge_all(prompts, answers, meetings, judge)
    by_meeting: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_meeting.setdefault(verdict.comparison_id, []).append(verdict)
    picked: dict[str, Picked | str] = dict.fromkeys((q.id for q in questions), "too_few_answers")
    picked |= {c.prompt_id: _picked(c, answers, by_meeting.get(c.id, []), judge) for c in meetings}
    return {id_: replace(replies[id_], picked=what) for id_, what in picked.items()}, _figures(judge, by_meeting)


def _two(question: Question, said: Replies) -> tuple[Answer, Answer] | None:
    """The strong model's last word, which came under the shorter prompt where the first was wrong; and the model's first that differs."""
    if not said.strong:
        return None
    own = next((text for text in said.model if text != said.strong[-1]), None)
    if own is None:
        return None
    texts = zip(SIDES, (said.strong[-1], own), strict=True)
    a, b = (Answer(f"{question.id} {side}", question.id, side, 0, text) for side, text in texts)
    return a, b


def _prompt(question: Question, facts: Facts) -> Prompt:
    return Prompt(
        question.id, question.messages, category=question.family, reference=reference(question, facts), language=question.language
    )


def reference(question: Question, facts: Facts) -> str:
    """What a judge is told is right: the name, the maker, or both; of a fact, an answer of ours."""
    asks = question.required.asks if question.required else "fact"
    if asks == "fact":
        return fill(question.answers[0], {**facts.more, **question.values})
    return {"name": facts.name, "maker": facts.maker, "both": f"{facts.name}, made by {facts.maker}"}[asks]


def _picked(comparison: Comparison, answers: Mapping[str, Answer], verdicts: Sequence[Verdict], judge: Judge) -> Picked | str:
    if not verdicts:
        return "no_verdict"
    outcome = resolve(verdicts, weights=getattr(judge, "weights", None))
    if outcome.result not in ("A", "B"):
        return _WORDS.get(outcome.result, outcome.result)
    sides = (comparison.a, comparison.b) if outcome.result == "A" else (comparison.b, comparison.a)
    chosen, rejected = (answers[side] for side in sides)
    came: tuple[From, From] = SIDES if outcome.result == "A" else (SIDES[1], SIDES[0])
    return Picked(chosen.text, rejected.text, *came, "rule" if outcome.source == "rule" else "llm")


def _figures(judge: Judge, by_meeting: Mapping[str, Sequence[Verdict]]) -> Anything:
    """What a dataset card says of a judge."""
    every = [v for verdicts in by_meeting.values() for v in verdicts]
    choices = Counter(v.choice for v in every)
    both = [verdicts for verdicts in by_meeting.values() if {v.order for v in verdicts if v.choice != "invalid"} == {"AB", "BA"}]
    flipped = sum(resolve(verdicts).result == "flipped" for verdicts in both)
    return {
        "name": judge.name,
        "verdicts": len(every),
        "invalid": choices["invalid"],
        "ties": choices["tie"],
        "both_orders": len(both),
        "flipped": flipped,
        "flip_rate": flipped / len(both) if both else None,
        "prompt_shas": sorted({v.prompt_sha for v in every if v.prompt_sha}),
    }
