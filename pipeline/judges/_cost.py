"""What a judge's replies cost, told of each verdict: the passport says what 1,000 verdicts take."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.records import Reply, Verdict
from pipeline.settings import PriceSettings


@dataclass(frozen=True, slots=True)
class Cost:
    """Of any number of replies."""

    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    dollars: float = 0.0

    @staticmethod
    def of(reply: Reply, price: PriceSettings) -> "Cost":
        dollars = (reply.prompt_tokens * price.prompt + reply.completion_tokens * price.completion) / 1e6
        return Cost(reply.prompt_tokens, reply.completion_tokens, dollars)

    @staticmethod
    def sum(costs: Iterable["Cost"]) -> "Cost":
        every = list(costs)
        return Cost(*(sum(getattr(c, name) for c in every) for name in Cost.__slots__))

    def over(self, verdicts: int) -> "Cost":
        """The share of one of so many verdicts that the same replies serve."""
        return Cost(*(getattr(self, name) / verdicts for name in Cost.__slots__))

    def on(self, verdict: Verdict) -> Verdict:
        """The verdict with what it cost. What is 0 is unknown: engines that count nothing, models without a price."""
        asked, came, dollars = self.prompt_tokens or None, self.completion_tokens or None, self.dollars or None
        return replace(verdict, prompt_tokens=asked, completion_tokens=came, dollars=dollars)
