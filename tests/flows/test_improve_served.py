"""`pairsmith serve` of a training recipe: its deployment trains, evaluates and promotes when Prefect says so, in a process of its own."""

import json

import pytest

from tests.flows.test_improve import write_recipe
from tests.harness.serving import deployment_named, run_to_its_end, serving

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")


@pytest.mark.server
@pytest.mark.timeout(600)  # three waits, each for a process that starts
@pytest.mark.usefixtures("prefect")
def test_a_served_training_is_improved_by_its_deployment(tiny_model, tmp_path):
    from prefect.client.orchestration import get_client

    recipe, models = write_recipe(tmp_path, tiny_model, promote={"min_win_rate": 0.0}), tmp_path / "models"
    options = ("--cron", "0 3 * * *", "--set", "name=nightly", "--timezone", "Europe/Berlin")
    with serving(recipe, *options, cwd=tmp_path), get_client(sync_client=True) as client:  # seldom started where the package lies
        served = deployment_named(client, "nightly")
        assert (served.schedules[0].schedule.cron, served.schedules[0].schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
        run_to_its_end(client, served, 300, models=str(models))
        artifacts = {a.key: a.data for a in client.read_artifacts() if (a.key or "").startswith("nightly-")}

    (trained,) = (place for place in tmp_path.glob("out-*") if place.is_dir())
    assert (trained / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((trained / "manifest.json").read_text())["steps"] == 3
    found = json.loads((trained / "evaluation.json").read_text())
    assert found["decision"]["verdict"] == "promote", "a win rate above 0 is all that is asked for"
    release = json.loads((models / "current" / "release.json").read_text())
    assert (release["name"], release["decision"]) == ("nightly", "promote")
    assert set(artifacts) == {f"nightly-{what}" for what in ("metrics", "plots", "evaluation", "decision")}
    assert found["sentences"][0] in artifacts["nightly-decision"]
