"""bitsandbytes, tamed: what its code for CPUs gets wrong without a word is put right here, and nowhere else."""

from copy import copy
from functools import wraps
from typing import Any


def tame(model: Any) -> Any:
    """Keep bitsandbytes from ruining a training on a CPU in silence; the model. Must be called before the first forward pass.

    On a CPU with AVX512-BF16 the first forward pass in eval mode (a sample, a measurement, log-probabilities computed beforehand)
    repacks the weights of every 4-bit layer in place, and from then on gradients through them are lost: training goes on, with the
    wrong ones, and reward accuracy still says 1.0.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    read_in_blocks()
    return model


def read_in_blocks() -> None:
    """Let bitsandbytes read back what it wrote.

    It writes a matrix as one long row, in blocks of 64 values that share a scale. On a CPU (0.50) it reads each row by itself, so a
    row that is no whole number of blocks gets its neighbours' scales: weights are off by a quarter of their size instead of a tenth,
    the model is a ruin before its training begins. Such a matrix is read as one long row here.
    """
    import bitsandbytes.functional as bits

    read = bits.dequantize_4bit
    if hasattr(read, "__wrapped__"):
        return

    @wraps(read)
    def in_blocks(weights: Any, quant_state: Any = None, *args: Any, **options: Any) -> Any:
        if quant_state is None or weights.device.type != "cpu" or quant_state.shape[-1] % quant_state.blocksize == 0:
            return read(weights, quant_state, *args, **options)
        row = copy(quant_state)
        row.shape = type(quant_state.shape)((1, quant_state.shape.numel()))
        found = read(weights.reshape(-1, 1), row, *args, **options).reshape(quant_state.shape)
        return found.t() if weights.shape[0] == 1 else found

    bits.dequantize_4bit = in_blocks  # type: ignore[assignment]
