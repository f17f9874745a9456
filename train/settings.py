"""The training recipe: what a user may write, closed and explained. An unknown key is refused, with the nearest known one.

    load -> check -> TrainRecipe        `trainer` passes on to TRL's config class of the method; train/defaults.py fills it up

A field marked `How` says how the work is done, not what is trained: a folder of an interrupted training accepts either.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline import ROOT
from pipeline.check import Anything, Closed, How, check, what_of
from pipeline.errors import RecipeError, choose_from
from pipeline.recipe import expand, load_recipe
from pipeline.sources import at_hand

Method = Literal["dpo", "sft", "kto", "reward", "orpo"]
Mode = Literal["qlora", "lora", "full"]
Dtype = Literal["bfloat16", "float32", "auto"]
Reference = Literal["adapter_off", "precomputed", "model"]


class DataSettings(Closed):
    """What is trained on."""

    path: str
    """A dataset folder that `pairsmith build` published, a JSONL, CSV or Parquet file, or a hub name. DPO, ORPO and reward want
    prompt, chosen and rejected; KTO prompt, completion and label; SFT messages, or prompt and completion. Pairs serve all."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column: theirs, or a JMESPath expression."""
    config: str | None = None
    """The configuration of a hub dataset that has several. A folder that Pairsmith published needs none: the method decides."""
    split: str = "train"
    """The split to train on when `path` is a dataset folder or a hub name."""
    test_split: str | None = None
    """The held-out split, such as test_prefs; when left out, `test` where there is one, else prompts are taken from `split`."""
    revision: str | None = None
    """The branch, tag or commit to read when `path` is a hub name."""
    max_rows: int | None = Field(None, ge=2)
    """Train on the first N rows only."""
    test_share: float = Field(0.1, ge=0, le=0.9)
    """Share of the prompts held out where the dataset has no test split of its own; by prompt, so none is on both sides."""
    too_long: Literal["stop", "drop"] = "stop"
    """What a prompt that fills max_length by itself does: stop before training, or be left out and counted."""


class ModelSettings(Closed):
    """The model that is trained."""

    path: str
    """A folder with safetensors, or a hub name."""
    revision: str | None = None
    """The branch, tag or commit when `path` is a hub name."""
    dtype: Dtype = "auto"
    """Of the weights in memory; `auto`: float32 in full training, where small steps would be rounded away in 16 bits, and
    bfloat16 under an adapter, where the device can."""
    attention: str | None = None
    """`eager`, `sdpa`, `flash_attention_2` …; transformers' own choice when left out."""
    chat_template: str | None = None
    """A file with a Jinja chat template, for a tokenizer that has none or the wrong one."""


class AdapterSettings(Closed):
    """LoRA, for the modes lora and qlora."""

    rank: int = Field(16, ge=1, le=1024)
    """Of the two factors of each update: more can say more, and costs memory in proportion."""
    alpha: float = Field(32, gt=0)
    """The update is scaled by alpha / rank; twice the rank is the habit of QLoRA's recipes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the adapter's input. DPO trainers switch dropout off unless `trainer.disable_dropout: false`."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the layers that get an adapter, such as q_proj; all linear ones but the head, as QLoRA found best."""
    modules_to_save: list[str] = Field(default_factory=list)
    """Layers that are trained whole and saved with the adapter, such as embed_tokens."""
    start: str | None = None
    """The folder of an adapter to go on from, such as the one of an SFT before; it is then the reference too. Its own rank,
    alpha and targets hold."""
    average: int = Field(1, ge=1, le=16)
    """Trainings, each of another seed, whose mean is kept: what one gets wrong by chance, the others get right (model soups,
    2203.05482). Takes as many times as long; what comes out has the rank of all together."""


class QuantizationSettings(Closed):
    """How mode qlora holds the base model's weights."""

    type: Literal["nf4", "fp4"] = "nf4"
    """NF4 is made for weights that are normally distributed (QLoRA, section 3)."""
    double: bool = True
    """Quantize the scales too: 0.37 bits a parameter less."""


class StopSettings(Closed):
    """When to stop before the end."""

    metric: str = "eval_loss"
    """Of the held-out rows; the checkpoint where it was best is kept. Ends in `loss`: less is better; else more."""
    patience: int | None = Field(3, ge=1)
    """Stop after so many measurements without an improvement; null trains to the end, and still keeps the best."""
    min_delta: float = Field(0.0, ge=0)
    """An improvement is at least this large."""
    evaluations: int = Field(10, ge=1)
    """Measurements (and checkpoints) over the whole training, where `trainer` does not say when."""
    on_collapse: bool = True
    """Stop when the chosen answers' log-probabilities fall far below where they began, or samples repeat themselves."""
    collapse_drop: float = Field(3.0, gt=0)
    """How far the chosen answers may fall, in nats a token."""


class OutputSettings(Closed):
    """Where the result goes."""

    folder: str | None = None
    """data/training/NAME in the repository when left out."""
    merge: bool = False
    """Also write the model with the adapter merged in (`merged/`), checked by reloading it."""
    push: str | None = None
    """OWNER/NAME on the hub to upload the result to; needs HF_TOKEN. Nothing is uploaded when left out."""
    samples: int = Field(4, ge=0, le=64)
    """Held-out prompts that are answered at every measurement, into samples.jsonl."""


class TrainRecipe(Closed):
    """What a user asks for: data, model, method, mode, and what is kept."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")
    """Letters, digits, dot, dash, underscore; names the output folder and the adapter."""
    data: DataSettings
    """What is trained on."""
    model: ModelSettings
    """The model that is trained."""
    method: Method = "dpo"
    """The plug-in in train/methods."""
    mode: Mode = "qlora"
    """Weights in 4 bits with an adapter (qlora), in 16 bits with one (lora), or all of them trained (full)."""
    adapter: AdapterSettings = Field(default_factory=AdapterSettings)
    """LoRA, for the modes lora and qlora."""
    quantization: QuantizationSettings = Field(default_factory=QuantizationSettings)
    """How mode qlora holds the base model's weights."""
    trainer: Anything = Field(default_factory=dict)
    """Any field of TRL's config class of the method, such as learning_rate, beta, loss_type, num_train_epochs, max_length."""
    reference: Reference = "adapter_off"
    """Where DPO's and KTO's reference comes from: the model with its adapter off (in full training: a frozen copy), its
    log-probabilities computed once beforehand, or a second model."""
    reference_model: str | None = None
    """That second model."""
    label_error: float | None = Field(None, ge=0, lt=0.5)
    """Share of the labels that the judge gets wrong, as measured; becomes the loss's label smoothing where it has one."""
    stop: StopSettings = Field(default_factory=StopSettings)
    """When to stop before the end."""
    output: Annotated[OutputSettings, How] = Field(default_factory=OutputSettings)
    """Where the result goes."""
    report_to: Annotated[list[Literal["trackio", "wandb", "tensorboard"]], How] = Field(default_factory=list)
    """Where the metrics go besides the output folder."""
    seed: int = Field(0, ge=0)
    """Of everything that is drawn by chance here."""
    evaluate: Annotated[dict[str, Any] | None, How] = None
    """How the result is judged afterwards."""

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainRecipe":
        if (self.reference == "model") != (self.reference_model is not None):
            raise ValueError("reference: model and reference_model go together; give both or neither")
        if self.reference != "adapter_off" and self.method not in ("dpo", "kto"):
            raise ValueError(f"method {self.method} has no reference model; leave `reference` out")
        if self.mode == "full" and (self.adapter.start is not None or self.output.merge):
            raise ValueError("mode full trains all weights and knows no adapter; leave adapter.start and output.merge out")
        if self.adapter.average > 1 and (self.mode == "full" or self.adapter.start is not None):
            raise ValueError("adapter.average is the mean of new adapters; leave it out with mode full and with adapter.start")
        return self

    @property
    def folder(self) -> Path:
        """The output folder."""
        given = self.output.folder
        return Path(given).expanduser().absolute() if given else ROOT / "data" / "training" / self.name

    def what(self) -> Anything:
        """The recipe without the fields that only say how, in a form that can be compared."""
        return what_of(self)


def read_train_recipe(path: str, changes: Sequence[str] = ()) -> Anything:
    """The merged recipe as it was asked, after it was checked. Recipes of ours are found from anywhere."""
    raw = load_recipe(at_hand(path), changes)
    check_train_recipe(raw)
    return raw


def check_train_recipe(raw: Anything) -> TrainRecipe:
    """The recipe as values. Raises RecipeError with one sentence on the first thing that is wrong."""
    return check(TrainRecipe, expand(raw), "")


def model_name(path: str) -> str:
    """A model's path as transformers takes it: a folder that is there, or a hub name. RecipeError for a missing folder."""
    found = at_hand(path)
    if found.is_dir():
        return str(found)
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        parent = found.parent
        there = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
        raise RecipeError(f"no model folder at {path}; {choose_from(found.name, there)}")
    return path
