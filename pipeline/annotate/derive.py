"""Derive: the responses that are stored become verdicts, outcomes, rewrites, and tasks for adjudication.

Everything here follows from the ledger, the responses and the shards alone, so it may be done again at any time: that is what mends
a pull that was killed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

from pipeline.annotate.blind import shown_order
from pipeline.annotate.consensus import decide
from pipeline.annotate.labels import Label, Says, labels_of, rewrite_of
from pipeline.annotate.ledger import Sent, task_id
from pipeline.annotate.people import People, PeopleSay, Rewrite, texts_key
from pipeline.annotate.responses import moment
from pipeline.annotate.shown import Shown
from pipeline.annotation import AnnotateSettings, Form, Response
from pipeline.records import Comparison, Verdict, content_id


@dataclass(frozen=True, slots=True)
class Labelled:
    """One person's label of one comparison, about its stored sides."""

    comparison: Comparison
    task: Sent
    response: Response
    says: Says

    @property
    def annotator(self) -> str:
        return self.response.annotator

    def verdict(self) -> Verdict:
        """As everybody else's verdicts are. Both bad is a tie here: a verdict says which side is better, and neither is."""
        first = self.task.answers.index(self.says.a) < self.task.answers.index(self.says.b)
        choice = "tie" if self.says.label == "both_bad" else self.says.label
        comment = self.response.values.get("comment")
        return Verdict(
            self.comparison.id,
            self.comparison.prompt_id,
            self.annotator,
            "AB" if first else "BA",
            choice,
            "human",
            self.says.score_a,
            self.says.score_b,
            reply=comment if isinstance(comment, str) and comment else None,
        )


@dataclass(slots=True)
class Derived:
    """What the responses say, and what of them says nothing."""

    labelled: list[Labelled] = field(default_factory=list)
    """One for each person and comparison, in their order."""
    people: People = field(default_factory=People)
    discarded: int = 0
    drafts: int = 0
    unknown: list[str] = field(default_factory=list)
    """Tasks that the ledger does not know."""
    unreadable: int = 0
    stale: int = 0
    """Responses to texts that stand in the run no longer."""


def derive(
    ledger: Mapping[str, Sent], responses: Iterable[Response], forms: Mapping[str, Form], shown: Shown, settings: AnnotateSettings
) -> Derived:
    """`forms` are by dataset."""
    found, rewrites = Derived(), list[Rewrite]()
    labelled: dict[tuple[str, str], Labelled] = {}
    for response in sorted(responses, key=lambda r: (moment(r.updated), r.task_id, r.annotator)):
        task = ledger.get(response.task_id)
        if task is None:
            found.unknown.append(response.task_id)
        elif response.status != "submitted":
            found.discarded += response.status == "discarded"
            found.drafts += response.status == "draft"
        elif not _still_there(task, shown):
            found.stale += 1
        elif task.kind == "rewrite":
            text = rewrite_of(forms[task.dataset], response.values)
            found.unreadable += text is None
            rewrites += [_rewrite(task, response, text, shown)] if text is not None else []
        else:
            says = labels_of(task, forms[task.dataset], response.values)
            found.unreadable += says is None
            for one in says or ():
                _keep(labelled, _labelled(task, response, one, shown))
    found.unknown = sorted(set(found.unknown))
    found.labelled = [labelled[key] for key in sorted(labelled)]
    found.people = People(_outcomes(found.labelled, shown, settings), rewrites)
    return found


def adjudications(found: Derived, ledger: Mapping[str, Sent], seed: int, day: str) -> list[Sent]:
    """A task of round 1 for each task whose comparisons people could not agree on, unless it is there: there is one such round."""
    open_ = {i for i, say in found.people.says.items() if say.result == "unresolved" and say.by != "adjudication"}
    tasks = {one.task.id: one.task for one in found.labelled if one.comparison.id in open_ and one.task.round == 0}
    again = [(task_id(t.kind, 1, t.prompt_id, t.answers), t) for _, t in sorted(tasks.items())]
    return [_again(task, name, seed, day) for name, task in again if name not in ledger]


def _still_there(task: Sent, shown: Shown) -> bool:
    """Whether the run holds the words that people saw: an answer's id outlives its text."""
    if any(answer not in shown.answers for answer in task.answers):
        return False
    return task.texts is None or task.texts == texts_key(*(shown.answers[answer].text for answer in task.answers))


def _again(task: Sent, name: str, seed: int, day: str) -> Sent:
    return replace(
        task,
        id=name,
        dataset=f"{task.dataset}-adjudication",
        round=1,
        answers=shown_order(seed, name, task.answers),
        why="adjudication",
        probability=None,
        suggested=False,
        control=False,
        day=day,
        state="chosen",
        texts=None,
    )


def _labelled(task: Sent, response: Response, says: Says, shown: Shown) -> Labelled:
    comparison = shown.comparison(task.prompt_id, says.a, says.b)
    return Labelled(comparison, task, response, says if says.a == comparison.a else says.turned())


def _keep(labelled: dict[tuple[str, str], Labelled], one: Labelled) -> None:
    """The last word of a person on a comparison stands; one said as its adjudicator before all others."""
    key = one.comparison.id, one.annotator
    known = labelled.get(key)
    if known is None or one.task.round >= known.task.round:
        labelled[key] = one


def _rewrite(task: Sent, response: Response, text: str, shown: Shown) -> Rewrite:
    edited = task.answers[0]
    return Rewrite(
        content_id("rewrite", task.prompt_id, text), task.prompt_id, edited, text, response.annotator, texts_key(shown.answers[edited].text)
    )


def _outcomes(labelled: Collection[Labelled], shown: Shown, settings: AnnotateSettings) -> dict[str, PeopleSay]:
    by_comparison: dict[str, list[Labelled]] = {}
    for one in labelled:
        by_comparison.setdefault(one.comparison.id, []).append(one)
    first, second = ({i: _by_person(of, round_) for i, of in by_comparison.items()} for round_ in (0, 1))
    adjudicated = {i: said for i, said in second.items() if said}
    decided = decide(first, adjudicated, method=settings.consensus, min_people=settings.min_submitted)
    outcomes = {}
    for i, d in decided.items():
        of, c = by_comparison[i], by_comparison[i][0].comparison
        strengths = [s.says.strength for s in of if s.says.strength and s.says.label == d.result]
        scores = [[s for one in of if (s := getattr(one.says, side)) is not None] for side in ("score_a", "score_b")]
        texts = texts_key(shown.answers[c.a].text, shown.answers[c.b].text)
        mean_a, mean_b = (fmean(s) if s else None for s in scores)
        strength = fmean(strengths) if strengths else None
        outcomes[i] = PeopleSay(i, c.prompt_id, c.a, c.b, d.result, d.by, d.n, d.agreement, strength, mean_a, mean_b, texts)
    return outcomes


def _by_person(labelled: Iterable[Labelled], round_: int) -> dict[str, Label]:
    return {one.annotator: one.says.label for one in labelled if one.task.round == round_}
