"""More wordings of the questions about the model, by a strong one. Each is checked by rules, and what fails them is counted.

A wording of a model's stands on the side `train` or nowhere: its own words must be on that side, and it must be no near-copy of
any phrasing that there is, least of all of one that is held out. So the evaluation stays what nobody was trained on.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from pipeline.identity.check import in_language, other_names
from pipeline.identity.facts import Facts
from pipeline.identity.names import mentions
from pipeline.identity.questions import Phrasing, of_anybody, side_of
from pipeline.identity.words import language
from pipeline.judges._asking import Heard, ask_until_read
from pipeline.model import Model, settle
from pipeline.prompts import load_prompt
from pipeline.records import Reply, content_id
from pipeline.tables import Dropped

PROMPT = "identity/paraphrase"

MOST = 10
"""Wordings of one phrasing: more in one reply repeat themselves."""

_ATTEMPTS = 2
"""Askings until a reply that is no list counts as unreadable."""

_NEAR = 90.0
"""Percent of two wordings' characters that are alike, from which one is a near-copy (1 - insertions and deletions / both lengths)."""


@dataclass(frozen=True, slots=True)
class Paraphrased:
    """Wordings that passed; those that did not, with the reason; and what was asked."""

    phrasings: Sequence[Phrasing] = ()
    dropped: Sequence[Dropped] = ()
    asked: int = 0
    """Phrasings that the model was asked to reword."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Phrasings of which no wording came, by reason."""


async def paraphrase(model: Model, phrasings: Sequence[Phrasing], count: int, facts: Facts) -> Paraphrased:
    """At most `count` new wordings of every phrasing on the side `train`. `phrasings` are all there are, of every side.

    Raises EngineError and BudgetSpent. What is kept hangs on the replies alone, not on the order in which they came.
    """
    train = [p for p in phrasings if p.side == "train"]
    heard = await settle(_ask(model, p, count) for p in train)
    known = {code: _Known([p for p in phrasings if p.language == code]) for code in {p.language for p in phrasings}}
    kept: list[Phrasing] = []
    dropped: list[Dropped] = []
    for parent, said in zip(train, heard, strict=True):
        for number, text in enumerate((said.value or ())[:count]):
            wording = _wording(parent, text)
            why = fault(wording, parent, facts) or known[parent.language].fault(wording)
            if why:
                dropped.append(Dropped("paraphrase", why, f"{parent.id}-{number}", f"{text[:60]!r} for {parent.turns[-1][:60]!r}"))
            else:
                known[parent.language].add(wording)
                kept.append(wording)
    failed = Counter(said.reason for said in heard if said.reason)
    return Paraphrased(kept, dropped, len(train), dict(sorted(failed.items())))


async def _ask(model: Model, phrasing: Phrasing, count: int) -> Heard[tuple[str, ...]]:
    messages = load_prompt(PROMPT).render(
        question=phrasing.turns[-1],
        before=list(phrasing.turns[:-1]),
        language=language(phrasing.language).language,
        slots=slots_in(phrasing.turns[-1]),
        count=count,
    )
    return await ask_until_read(model, messages, read_wordings, range(_ATTEMPTS))


def read_wordings(reply: Reply) -> tuple[str, ...] | None:
    """The list that a reply ends with; None where it holds none. What stands before it may be thoughts that quote the form."""
    start = max((m.start() for m in re.finditer(r'\{\s*"questions"', reply.text)), default=-1)
    if start < 0:
        return None
    try:
        said = orjson.loads(reply.text[start : reply.text.rfind("}") + 1])["questions"]
    except orjson.JSONDecodeError:
        return None
    return tuple(said) if isinstance(said, list) and said and all(isinstance(text, str) for text in said) else None


def slots_in(text: str) -> list[str]:
    """The slots of a phrasing as they stand there, such as {product}."""
    return sorted(re.findall(r"\{\w+\}", text))


def fault(wording: Phrasing, parent: Phrasing, facts: Facts) -> str | None:
    """Why a wording is none of its parent's, by name: `empty`, `several_lines`, `slots`, `wrong_language` or `asks_more`."""
    text, original = wording.turns[-1], parent.turns[-1]
    plain = re.sub(r"\{\w+\}", "", text)
    if not folded(plain) or not bare(wording).rpartition("\n")[2]:
        return "empty"
    if len(text.splitlines()) > len(original.splitlines()):
        return "several_lines"
    if slots_in(text) != slots_in(original) or re.search(r"[{}]", plain):
        return "slots"
    if not in_language(plain, parent.language):
        return "wrong_language"
    return "asks_more" if _asks_more(text, original, facts) else None


def _asks_more(text: str, original: str, facts: Facts) -> bool:
    """Whether a wording holds what its original does not: a further sentence, much more to read, a number, a name."""
    ends = re.compile(r"[.?!…。！？।]+")
    if len(ends.findall(text)) > max(1, len(ends.findall(original))) or len(text) > max(2 * len(original), len(original) + 40):
        return True
    if {*re.findall(r"\d+", text)} - {*re.findall(r"\d+", original)}:
        return True
    return any(mentions(text, name) and not mentions(original, name) for name in (*facts.own, *other_names(facts.own)))


class _Known:
    """The phrasings of a language, by what near-copies of a phrasing have in common."""

    def __init__(self, phrasings: Sequence[Phrasing]) -> None:
        self._heldout = {bare(p) for p in phrasings if p.side != "train"}
        self._every = [bare(p) for p in phrasings]

    def add(self, wording: Phrasing) -> None:
        self._every.append(bare(wording))

    def fault(self, wording: Phrasing) -> str | None:
        """`held_out`, `near_copy` or `other_side`; None for a wording that is new, and on the side `train` by its own words."""
        from rapidfuzz import fuzz, process

        form = bare(wording)
        if form in self._heldout:
            return "held_out"
        if process.extractOne(form, self._every, scorer=fuzz.ratio, score_cutoff=_NEAR):
            return "near_copy"
        return "other_side" if side_of(wording.turns) != "train" else None


def bare(phrasing: Phrasing) -> str:
    """The words of a phrasing without case, punctuation, the greeting before it and the courtesy after it; any slot is `someone`."""
    *before, last = (folded(of_anybody(t)) for t in phrasing.turns)
    words = language(phrasing.language)
    # A script without spaces sets nothing between a greeting and what follows.
    apart = "" if words.script in ("han", "kana") else " "
    for greeting in _forms(words.before):
        last = f"{last}{apart}".removeprefix(f"{greeting}{apart}").strip()
    for courtesy in _forms(words.after):
        last = f"{apart}{last}".removesuffix(f"{apart}{courtesy}").strip()
    return "\n".join((*before, last))


def folded(text: str) -> str:
    """A text without case, width variants and punctuation, as records.prompt_cluster sees it."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _forms(wraps: Sequence[str]) -> Iterator[str]:
    yield from sorted(filter(None, map(folded, wraps)), key=lambda form: (-len(form), form))


def _wording(parent: Phrasing, text: str) -> Phrasing:
    turns = (*parent.turns[:-1], " ".join(text.split(" ")).strip())
    return replace(parent, id=content_id(parent.language, parent.family, turns), turns=turns)
