"""Questions that are not about the model: who made something else, ordinary tasks and talk, its name as another's name.

Without them a model learns to answer everything with its maker. A thing or task is on one side for ever, in all its phrasings.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

from pipeline.identity.facts import Facts
from pipeline.identity.names import mentions, normal
from pipeline.identity.questions import Kind, Phrasing, Question, draw, fill, side_of, wraps_of
from pipeline.identity.words import Contrast, Things, language
from pipeline.records import content_id

KINDS: Mapping[str, Kind] = {"things": "overgeneral", "tasks": "skill", "talk": "leak", "senses": "leak"}

TURNS = ("things", "tasks", "senses", "things", "tasks", "talk", "things", "tasks", "things", "senses")
"""In which order the parts take turns: four tenths credit others, three are tasks, two the name's other senses, one is talk."""

Parts = Mapping[str, Sequence[Sequence[Phrasing]]]
"""Part: its groups, each with its phrasings."""


def contrast(code: str, facts: Facts) -> Parts:
    """The contrast questions of a language. Things and tasks that have to do with the model's own names are left out."""
    words = language(code).contrast
    parts = {part: [_group(code, part, group, facts) for group in getattr(words, part)] for part in KINDS}
    return {**parts, "senses": [*parts["senses"], *_known(code, words, facts)]}


def draw_contrast(parts: Parts, seed: int) -> Iterator[Question]:
    """Questions, each once; the parts take turns, and so do the groups of a part, as long as they have any."""
    left = {part: [draw(group, seed) for group in groups if group] for part, groups in parts.items()}
    for part in cycle(TURNS):
        if not any(left.values()):
            return
        while left[part]:
            group = left[part].pop(0)
            if (question := next(group, None)) is not None:
                left[part].append(group)
                yield question
                break


def size(parts: Parts) -> int:
    """How many questions there are at most."""
    return sum(p.size for groups in parts.values() for group in groups for p in group)


def _group(code: str, part: str, group: Things, facts: Facts) -> list[Phrasing]:
    items = group.items or _calculated(group.calculate)
    if items:
        return [_item(code, part, group, x, y, facts) for x, y in items.items() if not _own(facts, x, y)]
    own = {"name": facts.name, "maker": facts.maker}
    return [_phrasing(code, part, group.questions[:1], group.questions, group.answers, tuple(group.expects), own)]


def _item(code: str, part: str, group: Things, x: str, y: str, facts: Facts) -> Phrasing:
    given = {"x": x, "y": y, "name": facts.name, "maker": facts.maker}
    return _phrasing(code, part, (group.questions[0][:6], x), group.questions, group.answers, ("{y}",), given)


def _known(code: str, words: Contrast, facts: Facts) -> list[list[Phrasing]]:
    meaning = words.meanings.get(normal(facts.name).casefold())
    if meaning is None:
        return []
    given = {"word": facts.name, "y": meaning, "name": facts.name, "maker": facts.maker}
    return [[_phrasing(code, "senses", (q,), [q], words.known.answers, ("{y}",), given) for q in words.known.questions]]


def _phrasing(
    code: str,
    part: str,
    item: Sequence[str],
    asked: Sequence[str],
    answers: Sequence[str],
    holds: tuple[str, ...],
    given: Mapping[str, str],
) -> Phrasing:
    ways = tuple(fill(q, given) for q in asked)
    side = side_of(item)
    return Phrasing(
        content_id(code, part, item, ways),
        ("{ask}",),
        code,
        part,
        KINDS[part],
        side,
        {"ask": ways},
        wraps_of(code),
        given,
        tuple(answers),
        None,
        holds,
    )


def _own(facts: Facts, *texts: str) -> bool:
    return any(mentions(text, own) or mentions(own, text) for text in texts for own in facts.own)


def _calculated(how: str | None) -> dict[str, str]:
    """Sums and differences of small numbers, each as it is written and as it comes out."""
    if how == "sum":
        return {f"{a} + {b}": str(a + b) for a in range(2, 40) for b in range(2, 40)}
    return {f"{a} - {b}": str(a - b) for a in range(4, 60) for b in range(2, a - 1)} if how == "difference" else {}
