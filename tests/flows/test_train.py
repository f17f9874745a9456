"""The command `train` as users meet it: one sentence and an exit code where it cannot go on, a process and artifacts where it can."""

import os
import subprocess
import sys

import orjson
import pytest
import yaml

from pipeline import ROOT
from pipeline.errors import RunError
from tests.harness.training import make_recipe
from tests.harness.waiting import wait_for
from train.output import Output

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server


def write_recipe(folder, model, **changes):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(make_recipe(folder, model, **changes)))
    return str(folder / "recipe.yaml")


@pytest.mark.usefixtures("prefect")
def test_the_flow_trains_in_a_process_and_shows_what_came_out(tiny_model, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.train import LIMIT, train

    recipe = write_recipe(tmp_path, tiny_model, name="shown")  # a name of its own: other tests' artifacts are in the same database
    summary = train(recipe)

    assert summary["steps"] == 3
    assert "torch" not in loaded_by("import flows.train")
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(LIMIT).limit == 1
        [plots] = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["shown-plots"])))
        assert "data:image/svg+xml;base64," in plots.data
    assert train(recipe)["unchanged"] is True


def test_what_the_process_refuses_is_the_flows_own_sentence(tiny_model, tmp_path):
    from flows.train import TrainingEnded, run_training

    with pytest.raises(TrainingEnded, match="did you mean 'learning_rate'") as refused:
        run_training(write_recipe(tmp_path, tiny_model, trainer={"learning_rat": 1}), [])
    assert refused.value.exit_code == 2


def test_a_plan_loads_no_weights_and_makes_no_folder(tiny_model, tmp_path):
    recipe = write_recipe(tmp_path, tiny_model)

    done = subprocess.run(
        [sys.executable, "-m", "train.run", recipe, "--plan", "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert orjson.loads(done.stdout)["method"] == "dpo"
    assert not (tmp_path / "out").exists()


def test_an_error_is_one_sentence_on_stderr(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "train.run", str(tmp_path / "none.yaml"), "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("pairsmith: no recipe at")
    assert done.stderr.count("\n") == 1


def test_a_killed_training_leaves_the_gpu_free_and_is_gone_on_with(tiny_model, tmp_path):
    trainer = {"max_steps": 40, "save_steps": 4, "eval_steps": 4}
    recipe = write_recipe(tmp_path, tiny_model, trainer=trainer, stop={"patience": None})
    command = [sys.executable, "-m", "flows.cli", "train", recipe, "--json"]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    killed = subprocess.Popen(command, cwd=ROOT, env=environment)
    out = Output(tmp_path / "out")
    wait_for(lambda: out.last_checkpoint(mend=False), process=killed)
    killed.kill()
    killed.wait()
    wait_for(lambda: not is_held(out))

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=200)

    summary = orjson.loads(done.stdout)
    assert summary["steps"] == 40
    assert summary["resumed_at"] >= 4


def is_held(out):
    """Whether the training process still lives: it finishes its step when its parent dies."""
    try:
        with out.locked():
            return False
    except RunError:
        return True


def loaded_by(code):
    found = subprocess.run([sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in found.splitlines()}
