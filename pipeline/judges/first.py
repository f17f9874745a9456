"""Judges one after the other: the first that decides a comparison is heard on it. A rule where there is one, a model elsewhere.

What a judge leaves invalid, or says otherwise in the other order, goes to the next; what the last one says stays as it is.
So a cheap judge may also come before a dear one, or a jury before the judge that settles what it disagrees on.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pipeline.errors import TRANSIENT
from pipeline.judges import Judge as AnyJudge
from pipeline.judges import requests_of
from pipeline.judges._parts import PartsSettings, weights_of
from pipeline.records import Answer, Comparison, Prompt, Verdict


class Settings(PartsSettings):
    """Judges in the order in which they are heard."""

    kind: Literal["first"] = "first"
    """The name of this plug-in."""
    ties: Literal["keep", "pass"] = "keep"
    """Whether a tie is a decision, or goes to the next judge: a rule that finds both answers right says nothing else of them."""


class Judge:
    """See the module."""

    asks_model = False

    def __init__(self, settings: Settings, parts: Mapping[str, AnyJudge]) -> None:
        self._parts = list(parts.values())
        self._decisive = {"A", "B", "tie"} if settings.ties == "keep" else {"A", "B"}
        self.name = f"first:{','.join(part.name for part in self._parts)}"
        self.weights = weights_of(self._parts)

    def revision(self) -> str:
        return " | ".join(part.revision() for part in self._parts)

    def requests(self, answers: int, comparisons: int) -> int:
        return max(requests_of(part, answers, comparisons) for part in self._parts)

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        left, heard = list(comparisons), dict[str, list[Verdict]]()
        for part in self._parts:
            if not left:
                break
            given: dict[str, list[Verdict]] = {}
            for verdict in await part.judge(prompt, answers, left):
                given.setdefault(verdict.comparison_id, []).append(verdict)
            heard |= given
            left = [c for c in left if not self._decides(given.get(c.id, []))]
        return [verdict for c in comparisons for verdict in heard.get(c.id, [])]

    def _decides(self, verdicts: Sequence[Verdict]) -> bool:
        # A server that failed may do better next time: asking another judge now would make the table hang on its bad day.
        if any(v.reason in TRANSIENT for v in verdicts):
            return True
        choices = {v.choice for v in verdicts}
        return len(choices) == 1 and choices <= self._decisive
