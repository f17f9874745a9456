"""Keeping: prompts of the user's own work, which the model to be trained shall go on answering as it does.

The built-in contrast questions hold the abilities that they are about, and no others. Of a prompt of the user's own the chosen
answer is what the model says by itself; the rejected one is that answer, spoilt by a leak.

There is room for a few of them only. So kinds of work take turns, and in each kind the answers: where all the counting that is
kept ends in two or five, four becomes five. (A balanced sample of what was learned: GDumb, Prabhu et al., ECCV 2020.)
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.collect import collect
from pipeline.errors import InputError
from pipeline.identity.check import in_language, leaks, other_names, says
from pipeline.identity.facts import Facts
from pipeline.identity.names import first_of, normal, pattern_of
from pipeline.identity.questions import Question
from pipeline.identity.words import language
from pipeline.records import Prompt, content_id, prompt_cluster
from pipeline.settings import PromptsSettings, SplitSettings
from pipeline.tables import Dropped

T = TypeVar("T")

KEPT = "kept"
"""The family of these questions."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？।])|\n+")

_SHORTER = 3
"""Sentences at most that a spoilt answer lacks."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The prompts that may be taken, in the order in which they are drawn, and those that may not, by reason."""

    questions: Sequence[Question] = ()
    dropped: Sequence[Dropped] = ()

    def of(self, code: str) -> list[Question]:
        """Those in a language."""
        return [q for q in self.questions if q.language == code]


def read_kept(settings: PromptsSettings, facts: Facts, languages: Sequence[str], evaluated: AbstractSet[str], seed: int) -> Kept:
    """The prompts of a table, without those that are asked in the evaluation (`evaluated` holds their clusters: `held_out`), that
    stand there twice (`duplicate`), or whose language the dataset has not (`wrong_language`).

    They are drawn by lot; but categories take turns, and in each category its references.

    InputError where the table cannot be read, or none is left.
    """
    taken: list[tuple[Prompt, Question]] = []
    dropped: list[Dropped] = []
    seen: set[str] = set()
    for prompt in _collected(settings):
        if isinstance(prompt, Dropped):
            dropped.append(replace(prompt, stage="keep"))
            continue
        cluster, code = prompt_cluster(prompt.messages), _language_of(prompt, languages)
        why = "held_out" if cluster in evaluated else "duplicate" if cluster in seen else None if code else "wrong_language"
        seen.add(cluster)
        if why or code is None:
            dropped.append(Dropped("keep", why or "", prompt.id, prompt.question[:60], prompt.id))
        else:
            taken.append((prompt, _question(prompt, code, facts)))
    if not taken:
        reasons = ", ".join(sorted({d.reason for d in dropped})) or "it is empty"
        raise InputError(
            f"keep: {settings.path} holds no prompt that can be taken ({reasons}); give prompts of your own work, or leave it out"
        )
    drawn = sorted(taken, key=lambda t: content_id(t[1].id, seed))
    varied = _in_turns(drawn, lambda t: (t[1].language, t[0].category, t[0].reference))
    return Kept([q for _, q in _in_turns(varied, lambda t: (t[1].language, t[0].category))], dropped)


def _in_turns(rows: Iterable[T], group: Callable[[T], Hashable]) -> list[T]:
    """The first of every group, then the second of every one, and so on; among those, in the order in which they come."""
    met: Counter[Hashable] = Counter()
    ranked: list[tuple[int, T]] = []
    for row in rows:
        key = group(row)
        ranked.append((met[key], row))
        met[key] += 1
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


def why_not(question: Question, said: str | None, facts: Facts) -> str | None:
    """Why what the model says to such a prompt is not kept, by name: `no_answer`, `unsolved`, `leak` or `other_identity`."""
    if not said:
        return "no_answer"
    if not says(said, question.holds):
        return "unsolved"
    if leaks(said, question.text, question.language, facts):
        return "leak"
    return "other_identity" if _is_another(said, question.language, facts) else None


def shortened(answer: str) -> list[str]:
    """The answer without its last sentences, at most half of it: with a leak around it, it is about as long as the whole."""
    ends = [m.start() for m in _SENTENCE.finditer(answer) if m.end() < len(answer)][-_SHORTER:]
    return [answer[:end] for end in ends if 2 * end >= len(answer)]


def _collected(settings: PromptsSettings) -> Iterator[Prompt | Dropped]:
    try:
        yield from collect(settings, SplitSettings(test=0))
    except InputError as error:
        raise InputError(f"keep: {str(error).replace('prompts.bad_rows', 'keep.bad_rows')}") from error


def _language_of(prompt: Prompt, languages: Sequence[str]) -> str | None:
    """The language in whose words the leaks are; None where the prompt is said to be in one that the dataset has not."""
    if prompt.language:
        code = re.split(r"[-_]", prompt.language.strip().casefold())[0]
        return code if code in languages else None
    return next((code for code in languages if in_language(prompt.question, code)), languages[0])


def _question(prompt: Prompt, code: str, facts: Facts) -> Question:
    return Question(
        prompt.messages,
        code,
        KEPT,
        "skill",
        "train",
        content_id(KEPT, prompt.id),
        {"name": facts.name, "maker": facts.maker},
        (),
        None,
        (prompt.reference,) if prompt.reference else (),
    )


def _is_another(answer: str, code: str, facts: Facts) -> bool:
    """Whether a sentence speaks of the speaker and names another assistant or maker: to keep that would teach against the identity."""
    first = pattern_of(tuple(language(code).talk.first))
    return any(first.search(s) and first_of(s, other_names(facts.own)) for s in map(normal, _SENTENCE.split(answer)))
