"""Learning what four bits hold and a push does not spoil: gradients are taken at rounded, shaken weights and applied to the exact ones.

Rounded (straight-through, Bengio et al., 1308.3432): what is trained so says in NF4 what it says in sixteen bits. Shaken by noise
(An, 1996): it knows what it knows in a neighbourhood, so that an adapter which teaches it something else costs little of it. Large
models have both by their size; a tiny one without them loses in any training a sixth of its tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK = 64
"""Weights that share a scale, as in bitsandbytes."""

_KEPT = 10
"""Steps for which the difference that rounding makes is kept: to work it out costs as much as a step."""


class Rounding:
    """Rounds the matrices of a model's layers; embeddings stay, as they do in bitsandbytes. `noise` is in their standard deviations."""

    def __init__(self, model: Any, noise: float = 0.0) -> None:
        import torch

        self._noise = noise
        self._exact = [module.weight.data for module in model.model.layers.modules() if isinstance(module, torch.nn.Linear)]
        self._differences: list[torch.Tensor] = []
        self._uses = 0

    @contextmanager
    def rounded(self) -> Iterator[None]:
        """The weights are rounded, and shaken, inside."""
        import torch

        if self._uses % _KEPT == 0:
            self._differences = [in_four_bits(weight) - weight for weight in self._exact]
        self._uses += 1
        kept = [weight.clone() for weight in self._exact]
        for weight, difference in zip(self._exact, self._differences, strict=True):
            weight += difference
            if self._noise:
                weight += self._noise * weight.std() * torch.randn_like(weight)
        try:
            yield
        finally:
            for weight, exact in zip(self._exact, kept, strict=True):
                weight.copy_(exact)

    def keep(self) -> None:
        """Make the rounded weights the weights."""
        for weight in self._exact:
            weight.copy_(in_four_bits(weight))


def in_four_bits(weight: "torch.Tensor") -> "torch.Tensor":
    """What bitsandbytes makes of a matrix, in NF4 with double quantization, and back."""
    import bitsandbytes.functional as bits

    from train.four_bits import read_in_blocks

    read_in_blocks()
    coded, state = bits.quantize_4bit(weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
    return bits.dequantize_4bit(coded, state).to(weight.dtype)
