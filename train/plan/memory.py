"""How much memory a training takes, by arithmetic. All in bytes inside, in GiB in what is handed out.

    held        weights + reference + optimiser states, from the second step on
    passing     the most of what comes and goes in one step: activations, logits, gradients
    needed      held + passing, 3 % for what the allocator cannot use, and what the device's runtime takes for itself

The widths of activations are those that autograd saves in transformers' Llama (tests/train/plan/test_memory.py counts them with
saved_tensors_hooks); the rest follows TRL 1.16's source, named where it is used.
"""

from dataclasses import dataclass
from typing import Literal

from train.plan.sizes import Sizes

GIB = 2.0**30

_ROWS_AT_ONCE, _WORDS_AT_ONCE = 4096, 32768
"""The tile in which TRL's fused head makes logits (trl/kernels/chunked_logprob.py)."""

_CUDA_GIB, _CPU_GIB = 0.6, 0.9
"""CUDA's context with cuBLAS; Python with torch, transformers, TRL and PEFT imported (measured on a CPU: 0.8 to 0.9)."""

_LOST = 0.03
"""Of what is allocated: holes that the caching allocator cannot fill."""

Optimizer = dict[str, float]

_STATES: Optimizer = {"sgd": 0, "lion": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "ademamix": 3}
"""Numbers an optimiser keeps for each parameter, in the parameter's own width. Adafactor keeps rows and columns (`factors`)."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a training asks of the memory of one device."""

    method: str
    mode: str
    batch: int
    """Rows on one device at once; a pair is one row."""
    length: int
    """Tokens of the longest sequence that occurs, after truncation."""
    width: int = 2
    """Bytes of a weight as it is loaded."""
    autocast: bool = True
    """Mixed precision: matrices multiply in bf16 whatever the weights are."""
    scored: int | None = None
    """Answer tokens in the longest row (both answers of a pair); all tokens where it is not known."""
    accumulation: int = 1
    checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    reference: Literal["none", "adapter_off", "precomputed", "copy"] = "none"
    """Where a reference's log-probabilities come from; `copy`: a second whole model stays in memory."""
    other: Sizes | None = None
    """Of that second model, where it is another one than the trained one."""
    second_adapter: bool = False
    """The adapter that training goes on from stays in memory, as the reference (TRL, DPOTrainer, "ref")."""
    double: bool = True
    """The scales of 4-bit weights are quantized too."""
    eager: bool = False
    """Attention weights are written out."""
    device: Literal["cuda", "cpu"] = "cuda"
    world: int = 1
    """Devices that the training is spread over."""
    shared: Literal["nothing", "optimizer", "gradients", "weights"] = "nothing"
    """What is divided among them: ZeRO 1, 2, 3 (= FSDP) each divides what the former does, and more."""
    masters: bool = False
    """DeepSpeed with bf16 keeps an fp32 copy of what is trained, and its states in fp32."""

    @property
    def sequences(self) -> int:
        """A pair's two answers go through the model together (TRL, DataCollatorForPreference)."""
        return self.batch * (2 if self.method in ("dpo", "orpo", "reward") else 1)

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    @property
    def compute(self) -> int:
        """Bytes of a number in a matrix product."""
        return 2 if self.autocast else self.width

    @property
    def made(self) -> int:
        """Bytes of a number that a linear layer of the model makes: over 4 bits it knows no autocast (bnb_4bit_compute_dtype)."""
        return self.width if self.mode == "qlora" else self.compute

    @property
    def trained_width(self) -> int:
        """Bytes of a trained parameter. PEFT makes an adapter's in fp32, TRL rounds QLoRA's to bf16, and train/learn.py puts them
        back. DeepSpeed with bf16 casts them with the rest of the model, and keeps the fp32 ones as `masters`."""
        return self.width if self.mode == "full" else 2 if self.masters else 4

    def part(self, what: Literal["optimizer", "gradients", "weights"]) -> int:
        """Devices among which something is divided."""
        order = ("nothing", "optimizer", "gradients", "weights")
        return self.world if order.index(self.shared) >= order.index(what) else 1


@dataclass(frozen=True, slots=True)
class Memory:
    """GiB on one device. The parts below `held` are not all there at once; `allocated` is what is, at the worst moment."""

    weights: float
    reference: float
    optimizer: float
    gradients: float
    activations: float
    logits: float
    """What the output layer takes at once: TRL's fused head makes it in tiles, except in ORPO."""
    logits_whole: float
    """What all logits of a batch would take, as fp32: not allocated, but for ORPO."""
    working: float
    """Of one layer in the backward pass, with what it recomputes, unpacks or gathers."""
    allocated: float
    """At the worst moment; what torch.cuda.max_memory_allocated reports."""
    needed: float
    worst: str
    """When that is."""


def estimate(sizes: Sizes, load: Load) -> Memory:
    """The memory of a training on one of its devices."""
    weights, reference = _weights(sizes, load), _reference(sizes, load)
    states, gradients = _states(sizes, load), sizes.trainable(load.mode) * load.trained_width / load.part("gradients")
    saved, working = _activations(sizes, load), _working(sizes, load)
    forward, backward = _head(sizes, load)
    kept = gradients if load.accumulation > 1 else 0.0
    head_gradient = sizes.head * load.width if load.mode == "full" else 0.0
    moments = {
        "the forward pass": kept + saved + _casts(sizes, load) + forward,
        "the reference pass": kept + saved + _reference_pass(load.other or sizes, load),
        "the output layer's backward pass": kept + saved + backward,
        "the first layer of the backward pass": max(kept, head_gradient) + saved + working,
        "the last layer of the backward pass": gradients + saved / max(1, sizes.shape.layers) + working,
        "the optimiser's step": gradients + _step(sizes, load),
    }
    worst = max(moments, key=lambda name: moments[name])
    allocated = weights + reference + states + moments[worst]
    own = (_CUDA_GIB + (1.0 if load.world > 1 else 0.0)) if load.device == "cuda" else _CPU_GIB
    return Memory(
        weights=weights / GIB,
        reference=reference / GIB,
        optimizer=states / GIB,
        gradients=gradients / GIB,
        activations=saved / GIB,
        logits=max(forward, backward) / GIB,
        logits_whole=0.0 if sizes.reward else load.tokens * sizes.shape.vocabulary * 4 / GIB,
        working=working / GIB,
        allocated=allocated / GIB,
        needed=allocated / GIB * (1 + _LOST) + own,
        worst=worst,
    )


def _base_weights(sizes: Sizes, load: Load) -> float:
    """NF4: half a byte a weight, a scale for 64, in fp32 or, with double quantization, in 8 bits plus an fp32 one for 256 of
    them (QLoRA, Dettmers et al. 2023, section 3): 0.5 + 1/64 + 4/(64 x 256) bytes. What is no linear layer stays as it is."""
    if load.mode != "qlora":
        return sizes.parameters * load.width
    scales = 1 / 64 + 4 / (64 * 256) if load.double else 4 / 64
    return sizes.quantized * (0.5 + scales) + (sizes.parameters - sizes.quantized) * load.width


def _weights(sizes: Sizes, load: Load) -> float:
    adapter = 0 if load.mode == "full" else sizes.adapter * load.trained_width
    return (_base_weights(sizes, load) + adapter) / load.part("weights")


def _reference(sizes: Sizes, load: Load) -> float:
    """A second model, or a second adapter, which PEFT makes in fp32 as the first, and nothing trains."""
    model = _base_weights(load.other or sizes, load) if load.reference == "copy" else 0.0
    return (model + (load.trained_width * sizes.adapter if load.second_adapter else 0.0)) / load.part("weights")


def _states(sizes: Sizes, load: Load) -> float:
    """torch's optimisers keep their states in the parameters' width; bitsandbytes in 8 bits with an fp32 scale for 256, but for
    embeddings, which transformers leaves at 32. Paged states are counted: they leave the device only when it is full."""
    name, trained = load.optimizer.lower(), sizes.trainable(load.mode)
    if "adafactor" in name:
        states = 4.0 * (sizes.factors if load.mode == "full" else sizes.adapter_factors)
    else:
        kept = next((count for known, count in _STATES.items() if known in name), _STATES["adam"])
        if "8bit" in name or "bnb" in name:
            wide = sizes.embedding if load.mode == "full" else 0
            states = kept * ((trained - wide) * (1 + 4 / 256) + wide * 4)
        elif "4bit" in name:
            states = kept * trained * (0.5 + 4 / 128)
        else:
            states = kept * trained * (4 if load.masters else load.trained_width)
    masters = 4 * trained if load.masters and load.trained_width < 4 else 0
    return (states + masters) / load.part("optimizer")


def _layer_saved(sizes: Sizes, load: Load) -> float:
    """Bytes a token that autograd saves in one layer without checkpointing, from transformers' Llama with SDPA:

    norms      the fp32 input of each; what it makes too, where its weight is trained
    inputs     of query, key, value, and of gate, up: shared where no cast lies between; else (`_copied`) each has its own
    attention  query, key and value (both repeated to all heads), output; the mask as numbers, or the weights before and after
               they are cast, where attention is written out
    MLP        gate, its activation, up, their product
    """
    s, c = sizes.shape, load.compute
    norms = s.norms * s.hidden * (4 + (load.width if load.mode == "full" else 0))
    copied = _copied(load)
    inputs = (5 * s.hidden + (s.query if load.mode != "full" else 0)) * copied if copied else 2 * s.hidden * c
    written = load.length * (s.heads * (4 + c) if load.eager else c)
    return norms + inputs + 4 * s.query * c + s.intermediate * (3 * load.made + (copied or load.made)) + written


def _copied(load: Load) -> int:
    """Bytes of a number in the copy that each linear layer casts of its input, and keeps; 0 where it takes the input as it is.

    Autocast makes bf16 of fp32. A LoRA layer makes fp32 of bf16 before, for its fp32 factors (peft/tuners/lora/layer.py). Over
    4 bits it does so only where no autocast is on, and asks for a GPU's alone (peft/tuners/lora/bnb.py, is_autocast_enabled).
    """
    widens = load.mode == "lora" or (load.mode == "qlora" and not (load.autocast and load.device == "cuda"))
    given = max(load.width, load.trained_width) if widens else load.width
    if load.autocast:
        return 2 if given == 4 else 0
    return given if given != load.width else 0


def _activations(sizes: Sizes, load: Load) -> float:
    """What is kept from the forward pass for the backward pass: with checkpointing (Chen et al. 2016) each layer's input."""
    s = sizes.shape
    saved = s.layers * (s.hidden * load.width if load.checkpointing else _layer_saved(sizes, load))
    mask = load.sequences * load.length**2
    casts = _casts(sizes, load) if not load.checkpointing else 0.0
    # The last norm and the hidden state that the head gets.
    return load.tokens * (saved + s.hidden * (4 + load.width)) + mask + casts


def _casts(sizes: Sizes, load: Load) -> float:
    """Under autocast, fp32 weights have bf16 copies: in autocast's cache or, without checkpointing, saved for the backward pass."""
    return 2.0 * sizes.quantized if load.autocast and load.width == 4 and load.mode != "qlora" else 0.0


def _working(sizes: Sizes, load: Load) -> float:
    """One layer's own activations, where they were not kept, and the gradients that pass through it; for 4-bit weights the
    largest matrix unpacked; for fp32 weights under autocast the layer's copies; for divided weights two layers gathered."""
    s, c = sizes.shape, load.compute
    passing = load.tokens * (2 * s.intermediate * load.made + 3 * s.hidden * c)
    again = load.tokens * _layer_saved(sizes, load) if load.checkpointing else 0.0
    unpacked = sizes.largest * load.made if load.mode == "qlora" else 0.0
    casts = 2.0 * sizes.layer if load.checkpointing and _casts(sizes, load) else 0.0
    gathered = (2 * sizes.layer + sizes.embedding) * c if load.part("weights") > 1 else 0.0
    return passing + again + unpacked + casts + gathered


def _head(sizes: Sizes, load: Load) -> tuple[float, float]:
    """The output layer's forward and backward pass beyond its input.

    DPO, KTO and SFT: TRL's fused head (trl/trainer/utils.py, add_fused_lm_head). On a GPU it takes the answers' tokens only, a
    tile at a time; in the backward pass it adds up the gradients of its input and of its weight in fp32. Elsewhere it takes
    every token, with four tiles at once in fp32, and in the backward pass eight. ORPO writes out all logits in bf16 and fp32, the
    chosen half twice more for its cross-entropy, and their gradient. A reward model has one logit a sequence.
    """
    s, c = sizes.shape, load.compute
    if sizes.reward:
        return 0.0, 0.0
    if load.method == "orpo":
        logits = load.tokens * s.vocabulary
        return logits * (c + 4.0 + 4.0), logits * (c + 4.0 + 4.0 + 4.0) + sizes.head * (load.width if load.mode == "full" else 0)
    taken = load.tokens
    if load.device == "cuda" and load.scored is not None:
        taken = min(taken, load.batch * load.scored)
    rows = min(taken, _ROWS_AT_ONCE)
    tile = rows * _WORDS_AT_ONCE * c
    words = min(s.vocabulary, _WORDS_AT_ONCE)
    there, back = (0.0, 0.0) if load.device == "cuda" else (16.0 * rows * words, 32.0 * rows * words)
    cast = words * s.hidden * 2 if load.autocast and load.width == 4 else 0.0
    copied = taken * s.hidden * load.width if load.device == "cuda" else 0.0
    weight = s.vocabulary * s.hidden * (4 + (load.width if load.width < 4 else 0)) if load.mode == "full" else 0.0
    beside = tile + cast + copied
    return beside + there, beside + back + taken * s.hidden * (4 + load.width) + weight


def _reference_pass(sizes: Sizes, load: Load) -> float:
    """Of the reference's own model. Without gradients, one layer is there at a time. KTO makes such a pass for its KL term as well."""
    if load.reference not in ("adapter_off", "copy"):
        return 0.0
    s, c = sizes.shape, load.compute
    head, _ = _head(sizes, load)
    unpacked = sizes.largest * load.made if load.mode == "qlora" else 0.0
    return load.tokens * (3 * s.intermediate * c + 4 * s.hidden * c) + head + unpacked + _casts(sizes, load)


def _step(sizes: Sizes, load: Load) -> float:
    """What an optimiser needs while it steps: nothing where it is fused or works in 8 bits, one copy of what is trained where
    torch steps all tensors at once, the largest one in fp32 a few times for Adafactor."""
    name = load.optimizer.lower()
    if "adafactor" in name:
        return 3 * 4.0 * max(sizes.head, sizes.largest) if load.mode == "full" else 0.0
    if name in ("adamw_torch", "sgd", "rmsprop", "adagrad") and load.device == "cuda":
        return sizes.trainable(load.mode) * load.trained_width / load.part("gradients")
    return 0.0
