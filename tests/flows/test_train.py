"""The command `train` as users meet it: one sentence and an exit code where it cannot go on, a process and artifacts where it can."""

import subprocess
import sys

import orjson
import pytest
import yaml

from pipeline import ROOT
from tests.harness.training import make_recipe

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

    summary = train(write_recipe(tmp_path, tiny_model))

    assert summary["steps"] == 3
    assert "torch" not in loaded_by("import flows.train")
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(LIMIT).limit == 1
        [plots] = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["small-plots"])))
        assert "data:image/svg+xml;base64," in plots.data
    assert train(write_recipe(tmp_path, tiny_model))["unchanged"] is True


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


def loaded_by(code):
    found = subprocess.run([sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in found.splitlines()}
