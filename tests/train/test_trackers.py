"""Trackers get what the log gets, where they are asked for and installed; their keys reach no file."""

import subprocess
import sys
from importlib.util import find_spec

import orjson
import pytest
import yaml

from pipeline import ROOT
from pipeline.errors import RecipeError
from tests.harness.training import make_recipe
from train import trackers
from train.settings import check_train_recipe
from train.watch import read_log

KEY = "0123456789abcdefsecret0123456789abcdefsecret"


def recipe(folder, *names):
    return check_train_recipe(make_recipe(folder, folder, report_to=list(names)))


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_package_that_is_missing_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(RecipeError, match=f"'{name}' is not installed; run `pip install {name}`"):
        trackers.check_trackers(recipe(tmp_path, name))


def test_a_folder_that_has_a_trackers_name_is_not_that_tracker(tmp_path, monkeypatch):
    name = next((n for n in ("wandb", "trackio") if find_spec(n) is None), None)
    if name is None:
        pytest.skip("all of them are installed")
    (tmp_path / name).mkdir()  # as W&B's runs leave it in the folder they were started in
    monkeypatch.syspath_prepend(tmp_path)
    assert find_spec(name) is not None
    with pytest.raises(RecipeError, match="is not installed"):
        trackers.check_trackers(recipe(tmp_path, name))


@pytest.mark.server
@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_gets_what_the_log_gets(name, tiny_model, tmp_path, monkeypatch):
    pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")
    for variable, value in {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY, "TRACKIO_DIR": str(tmp_path / "trackio")}.items():
        monkeypatch.setenv(variable, value)
    raw = make_recipe(tmp_path, tiny_model, report_to=[name], trainer={"eval_steps": 3, "save_steps": 3})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))

    command = [sys.executable, "-m", "train.run", str(tmp_path / "recipe.yaml"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)

    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["steps"] == 3
    log = read_log(tmp_path / "out" / "log.jsonl")
    ours = {(key, row["step"]): row[key] for row in log for key in ("loss", "rewards/margins", "eval_loss") if key in row}
    assert len(ours) == 7
    theirs = READERS[name](tmp_path)
    if name != "wandb":
        assert {at: value for at, value in theirs.items() if at in ours} == pytest.approx(ours, rel=1e-5)
    assert not any(KEY.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert KEY not in done.stderr


def from_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "out" / "tensorboard"))
    events.Reload()
    return {(ours(tag), e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}


def from_wandb(folder):
    """W&B's file has no public reader: that it holds our metrics by name is what can be seen."""
    [file] = (folder / "out" / "wandb").glob("offline-run-*/run-*.wandb")
    raw = file.read_bytes()
    assert all(name in raw for name in (b"train/rewards/margins", b"eval/loss", b"pairsmith"))
    return {}


def from_trackio(folder):
    import sqlite3

    with sqlite3.connect(folder / "trackio" / "pairsmith.db") as database:
        rows = [orjson.loads(metrics) for (metrics,) in database.execute("select metrics from metrics")]
    return {(ours(tag), row["train/global_step"]): value for row in rows for tag, value in row.items() if "train/global_step" in row}


def ours(tag):
    """transformers files a training's metrics under train/ and writes eval/ for our eval_."""
    side, _, name = tag.partition("/")
    return {"train": name, "eval": f"eval_{name}"}.get(side, tag)


READERS = {"tensorboard": from_tensorboard, "wandb": from_wandb, "trackio": from_trackio}
