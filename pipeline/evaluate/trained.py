"""What a training left: the base model, and the adapter or the whole model that came out."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import RunError
from pipeline.fingerprint import folder_fingerprint
from pipeline.runs import read_json
from pipeline.settings import Anything


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that may be evaluated. `base` is a folder or a hub name."""

    folder: Path
    name: str
    method: str
    base: str
    revision: str | None = None
    log: list[Anything] = field(default_factory=list)
    """The rows of its log.jsonl."""
    best_step: int | None = None
    """The step whose weights were kept; None where it is not known."""

    @property
    def adapter(self) -> Path | None:
        """The adapter's folder; None after a full training."""
        return found if (found := self.folder / "adapter").is_dir() else None

    @property
    def result(self) -> Path:
        """What is promoted: the adapter, or the whole model."""
        return self.adapter or self.folder / "model"

    @property
    def reports(self) -> Path:
        """Where the evaluation's own files go."""
        return self.folder / "evaluation"


def is_here(after: Anything) -> bool:
    """Whether the trained model is the one in the training's folder, and not one that `evaluate.after` names."""
    return {"model", "url"}.isdisjoint(after)


def check_trained(trained: Trained, *, weights: bool = True) -> None:
    """RunError where the training is unfinished, left no weights, gives no answers, or its adapter is another base's. Without
    `weights` the trained model is looked for elsewhere, such as on a server."""
    folder = trained.folder
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        raise RunError(f"the training in {folder} is not finished: it has no manifest.json; run `pairsmith train` again, it goes on")
    if trained.method == "reward":
        raise RunError(f"{folder} holds a reward model, which scores answers and gives none; evaluate the model that is trained with it")
    if not weights:
        return
    if not any(trained.result.glob("*.safetensors")):
        raise RunError(
            f"{folder} holds neither an adapter (adapter/adapter_model.safetensors) nor a model (model/*.safetensors); give the output "
            "folder of a finished training"
        )
    if trained.adapter:
        _check_base(trained, trained.adapter, manifest)


def _check_base(trained: Trained, adapter: Path, manifest: Anything) -> None:
    described = read_json(adapter / "adapter_config.json")
    if described is None:
        raise RunError(f"{adapter} holds no adapter_config.json; give the output folder of a finished training")
    said = str(described.get("base_model_name_or_path") or "")
    theirs, base = manifest.get("model", {}).get("fingerprint"), Path(trained.base)
    if theirs and base.is_dir() and "@" not in theirs:
        differs = theirs != folder_fingerprint(base)
    else:  # where a model lies is this machine's business: its own name is what can be compared
        differs = bool(said) and Path(said).name != base.name
    if differs:
        raise RunError(
            f"the adapter in {trained.folder} was made for '{said or 'another model'}', and the base here is {trained.base}, which is "
            "another or has changed; give the model that it was trained on, as model.path of its recipe"
        )
