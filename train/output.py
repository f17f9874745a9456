"""The output folder of a training: what was asked, what it was made of, and what came out.

    recipe.yaml      the merged recipe as it was asked
    plan.json        what was planned, and what the rows look like in tokens
    checkpoints/     to go on from, after a kill; they go when the training is done
    log.jsonl        TRL's metrics, step by step; metrics.csv holds the same as a table, plots.html as plots
    members/         with adapter.average, the trainings whose mean this is, a folder each
    samples.jsonl    answers to held-out prompts, before the first step and at every measurement
    adapter/         the adapter (modes lora and qlora), or model/, the whole model (mode full); merged/ on request
    README.md        the model card
    manifest.json    written last: what is here is whole

One process works in a folder at a time.
"""

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline.errors import PairsmithError, RunError
from pipeline.recipe import read_yaml
from pipeline.runs import differences, explained, json_text, read_json, write_text
from pipeline.settings import Anything
from train.settings import TrainRecipe, check_train_recipe
from train.watch import read_log

_STATE = "trainer_state.json"
"""What the trainer writes last into a checkpoint."""


class Output:
    """The paths of an output folder, and what may be read from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def result(self, recipe: TrainRecipe) -> Path:
        """Where the trained weights lie."""
        return self.path / ("model" if recipe.mode == "full" else "adapter")

    def manifest(self) -> Anything | None:
        """What the finished training wrote last; None while it is unfinished."""
        return read_json(self.path / "manifest.json")

    def begin(self, raw: Anything, made_of: Anything) -> None:
        """Make the folder, or accept one in which an equal recipe began to train on equal data. RunError where it is another's."""
        with explained(self.path):
            if (self.path / "recipe.yaml").exists():
                self._accept(raw, made_of)
            elif self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
                raise RunError(f"{self.path} is not empty and holds no training; give another folder with --set output.folder=…")
            write_text(self.path / "recipe.yaml", yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
            write_text(self.path / "made_of.json", json_text(made_of))

    def _accept(self, raw: Anything, made_of: Anything) -> None:
        try:
            before = check_train_recipe(read_yaml((self.path / "recipe.yaml").read_text(encoding="utf-8"))).what()
        except (PairsmithError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(
                f"{self.path} holds a training that this version cannot read ({' '.join(str(error).split())}); give another folder with "
                "--set output.folder=…"
            ) from error
        changed = sorted(differences(before, check_train_recipe(raw).what()))
        if not changed:
            changed = [f"what `{key}` holds" for key in sorted(differences(read_json(self.path / "made_of.json") or made_of, made_of))]
        if changed:
            raise RunError(
                f"{self.path} holds a training of another recipe: {', '.join(changed[:5])} changed; give this one a folder of its own with "
                "--set output.folder=…, or remove the old one"
            )

    def last_checkpoint(self, *, mend: bool = True) -> Path | None:
        """The newest whole checkpoint. With `mend`, newer half-written ones, as a kill leaves them, are removed."""
        if not self.checkpoints.is_dir():
            return None
        found = {int(p.name.removeprefix("checkpoint-")): p for p in self.checkpoints.glob("checkpoint-[0-9]*")}
        for step in sorted(found, reverse=True):
            if _is_whole(found[step] / _STATE):
                return found[step]
            if mend:
                shutil.rmtree(found[step])
        return None

    def write_table(self) -> None:
        """metrics.csv from log.jsonl: a row a step, a column a metric."""
        rows: dict[int, Anything] = {}
        for row in read_log(self.log):
            rows.setdefault(row["step"], {}).update(row)
        columns = ["step", *sorted({name for row in rows.values() for name in row} - {"step"})]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[step] for step in sorted(rows))
        write_text(self.path / "metrics.csv", text.getvalue())

    @contextmanager
    def making(self, place: Path) -> Iterator[Path]:
        """A folder that takes its place when the block is through, whole."""
        half = place.with_name(f".{place.name}.making")
        shutil.rmtree(half, ignore_errors=True)
        with explained(self.path):
            half.mkdir(parents=True)
            yield half
            self.replace(half, place)

    def replace(self, half: Path, place: Path) -> None:
        """Move a folder that is whole to its place."""
        shutil.rmtree(place, ignore_errors=True)
        half.rename(place)

    def finish(self, manifest: Anything) -> None:
        """Write the manifest, and let the checkpoints go."""
        write_text(self.path / "manifest.json", json_text(manifest))
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone. RunError at once where another process has it."""
        from filelock import FileLock, Timeout

        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise RunError(
                f"another process is training in {self.path}; wait for it, or give another folder with --set output.folder=…"
            ) from None


def _is_whole(state: Path) -> bool:
    try:
        return "global_step" in orjson.loads(state.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False


def check_room(folder: Path, trained: int, kept: int) -> None:
    """RunError where the disk has no room for the checkpoints and the result. `trained`: parameters; `kept`: checkpoints at once."""
    # A checkpoint holds the weights that are trained and two moments of each, in 32 bits at most.
    needed = trained * 4 * (3 * (kept + 1) + 1)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder}: {free / 2**30:.1f} GiB are free, and checkpoints and result take up to {needed / 2**30:.1f}; make room, or give "
            "another folder with --set output.folder=…"
        )


def only_weights(folder: Path, base: str | None) -> Any:
    """Take out of a saved adapter or model what is not ours to hand on: the trainer's arguments (a pickle), a reference's copy,
    checkpoints' cards; and name the base as the recipe does and not by this machine's path."""
    for name in ("training_args.bin", "README.md"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "ref", ignore_errors=True)
    for name, key in (("adapter_config.json", "base_model_name_or_path"), ("config.json", "_name_or_path")):
        if (described := read_json(folder / name)) is not None and key in described:
            write_text(folder / name, json_text({**described, key: base}))
