"""The likeliest tokens at each place of what is generated, noted while a model in this process generates."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.records import TokenChoice

if TYPE_CHECKING:
    import torch


class Likely:
    """Keeps `count` tokens a place and not the whole vocabulary, which for a long batch would be gigabytes.

    `note` is a logits processor of generate(): those of a recipe's own come before the temperature, so that what is noted is
    the model's distribution at temperature 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._places: list[tuple[list[list[int]], list[list[float]]]] = []

    def note(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        top = scores.float().log_softmax(-1).topk(min(self._count, scores.shape[-1]), -1)
        self._places.append((top.indices.tolist(), top.values.tolist()))
        return scores

    def of(self, row: int, tokens: Sequence[int], text: Callable[[int], str]) -> tuple[TokenChoice, ...]:
        """For each token of a row of the batch; `text` gives a token's own. Tokens that cannot come at all are left out."""
        likely = ((ids[row], values[row]) for ids, values in self._places)
        return tuple(
            TokenChoice(text(token), tuple((text(i), p) for i, p in zip(*place, strict=True) if p > float("-inf")))
            for token, place in zip(tokens, likely, strict=False)
        )
