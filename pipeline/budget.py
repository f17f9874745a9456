"""What a run spends, and the point at which it must stop asking."""

from dataclasses import dataclass, field

from pipeline.errors import BudgetSpent
from pipeline.records import Reply
from pipeline.settings import BudgetSettings, PriceSettings


@dataclass(slots=True)
class Usage:
    """What one model was asked and what that cost. `cached` replies were paid for earlier and cost nothing."""

    requests: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def add(self, other: "Usage") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Budget:
    """Counts what is spent by all models of a run together, and says when it is enough.

    A request is counted when it is sent, its tokens and dollars when its reply has arrived. Tokens and dollars may
    therefore be exceeded by what was in flight when the limit was reached; requests never are.
    """

    limits: BudgetSettings = field(default_factory=BudgetSettings)
    usage: dict[str, Usage] = field(default_factory=dict)

    def of(self, model: str) -> Usage:
        return self.usage.setdefault(model, Usage())

    def total(self) -> Usage:
        total = Usage()
        for usage in self.usage.values():
            total.add(usage)
        return total

    def reserve(self, model: str) -> None:
        """Count one request that is about to be sent. Raises BudgetSpent when it may not be."""
        spent, limits = self.total(), self.limits
        for name, used, limit in (
            ("requests", spent.requests, limits.requests),
            ("tokens", spent.tokens, limits.tokens),
            ("dollars", spent.dollars, limits.dollars),
        ):
            if limit is not None and used >= limit:
                raise BudgetSpent(
                    f"the budget of {limit:g} {name} is used up ({used:g} spent); every reply that arrived is kept: "
                    f"raise budget.{name}, or run the same command again to go on with a fresh budget"
                )
        self.of(model).requests += 1

    def spend(self, model: str, reply: Reply, price: PriceSettings) -> None:
        """Count what a reply that has arrived cost."""
        usage = self.of(model)
        usage.prompt_tokens += reply.prompt_tokens
        usage.completion_tokens += reply.completion_tokens
        usage.dollars += (reply.prompt_tokens * price.prompt + reply.completion_tokens * price.completion) / 1_000_000
