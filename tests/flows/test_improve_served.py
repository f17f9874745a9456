"""`pairsmith serve` of a training recipe: its deployment trains, evaluates and promotes when Prefect says so, in a process of its own."""

import json
import os
import signal
import subprocess

import pytest

from tests.flows.test_commands import wait_for
from tests.flows.test_improve import write_recipe
from tests.harness.command import ROOT, command

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")


@pytest.mark.server
@pytest.mark.timeout(600)  # three waits, each for a process that starts
@pytest.mark.usefixtures("prefect")
def test_a_served_training_is_improved_by_its_deployment(tiny_model, tmp_path):
    from prefect.client.orchestration import get_client

    recipe, models = write_recipe(tmp_path, tiny_model, promote={"min_win_rate": 0.0}), tmp_path / "models"
    process = subprocess.Popen(
        command("serve", recipe, "--cron", "0 3 * * *", "--set", "name=nightly", "--timezone", "Europe/Berlin"),
        cwd=tmp_path,  # a service is seldom started where the package lies
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_RUNNER_POLL_FREQUENCY": "1"},  # by itself it looks every ten seconds
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    try:
        with get_client(sync_client=True) as client:
            served = wait_for(lambda: next((d for d in client.read_deployments() if d.name == "nightly"), None))
            assert (served.schedules[0].schedule.cron, served.schedules[0].schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
            run = client.create_flow_run_from_deployment(served.id, parameters={"models": str(models)})
            ended = wait_for(lambda: (s := client.read_flow_run(run.id).state) and s.is_final() and s, 300)
            assert ended.is_completed(), ended
            artifacts = {a.key: a.data for a in client.read_artifacts() if (a.key or "").startswith("nightly-")}
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert b"Traceback" not in out, out.decode()

    (trained,) = (place for place in tmp_path.glob("out-*") if place.is_dir())
    assert (trained / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((trained / "manifest.json").read_text())["steps"] == 3
    found = json.loads((trained / "evaluation.json").read_text())
    assert found["decision"]["verdict"] == "promote", "a win rate above 0 is all that is asked for"
    release = json.loads((models / "current" / "release.json").read_text())
    assert (release["name"], release["decision"]) == ("nightly", "promote")
    assert set(artifacts) == {f"nightly-{what}" for what in ("metrics", "plots", "evaluation", "decision")}
    assert found["sentences"][0] in artifacts["nightly-decision"]
