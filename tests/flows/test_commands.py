"""inspect, doctor, serve: what they show and do."""

import json

import pytest

from tests.harness.command import pairsmith, write_recipe
from tests.harness.serving import deployment_named, run_to_its_end, serving
from tests.harness.waiting import wait_for

pytestmark = pytest.mark.server


@pytest.fixture
def built(tmp_path, prefect):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n{"prompt": "one"}\n{"prompt": "empty please"}\n{"prompt": "two"}\n')
    models = {
        "strong": {"engine": "scripted", "role": "strong", "default": "a long and good answer to {question}"},
        "weak": {"engine": "scripted", "role": "weak", "default": "{draw}", "replies": {"empty": " "}},
    }
    assert pairsmith("build", write_recipe(tmp_path, models=models)).code == 0
    return tmp_path / "run"


def test_inspect_shows_counts_and_sample_pairs(built):
    ended = pairsmith("inspect", built, "--rows", 2)
    assert ended.code == 0
    assert "small: 2 pairs" in ended.out
    assert ended.out.count("\nrejected ") == 2
    assert "a long and good answer to two" in ended.out
    assert "\x1b" not in ended.out


def test_inspect_lists_what_was_dropped_with_its_prompt(built):
    listed = pairsmith("inspect", built, "--dropped", "empty_rejected")
    assert "empty please" in listed.out
    every = pairsmith("inspect", built, "--dropped", "all", "--json").json
    assert every["counts"] == {"duplicate": 1, "empty_rejected": 1}
    assert {row["stage"] for row in every["rows"]} == {"collect", "gate"}


def test_inspect_prints_one_json_object(built):
    summary = pairsmith("inspect", built, "--json").json
    assert summary["pairs"]["rows"] == 2
    assert summary["run"] == str(built)


def test_the_doctor_finds_a_healthy_installation():
    ended = pairsmith("doctor", "--json")
    assert ended.code == 0, ended.out
    assert ended.json["ok"] is True


def test_the_doctor_asks_every_model_of_a_recipe(tmp_path, stub):
    at = {"engine": "openai", "url": stub.url}
    models = {"strong": {**at, "role": "strong"}, "weak": {**at, "role": "weak", "url": "http://127.0.0.1:9/v1"}}
    ended = pairsmith("doctor", write_recipe(tmp_path, models=models), "--json")
    assert ended.code == 2
    found = {f["what"]: f["state"] for f in ended.json["findings"]}
    assert found["model strong"] == "ok"
    assert found["model weak"] == "fail"
    assert "127.0.0.1:9" in ended.err
    assert stub.stats()["requests"] == 0


@pytest.mark.timeout(600)  # four waits, each for a process that starts
def test_a_served_recipe_is_refreshed_by_its_deployment(tmp_path, prefect):
    from prefect.client.orchestration import get_client

    recipe = write_recipe(tmp_path, name="served")
    with serving(recipe, "--cron", "0 3 * * *"), get_client(sync_client=True) as client:
        deployment = deployment_named(client, "served")
        assert deployment.schedules[0].schedule.cron == "0 3 * * *"
        scheduled = wait_for(
            lambda: [r for r in client.read_flow_runs() if r.deployment_id == deployment.id and r.auto_scheduled], pause=0.2
        )
        assert scheduled[0].state_name == "Scheduled"

        def refreshed():
            run_to_its_end(client, deployment)
            return json.loads((tmp_path / "run" / "summary.json").read_text())

        assert refreshed()["unchanged"] is False
        manifest = (tmp_path / "run" / "manifest.json").read_bytes()
        again = refreshed()
        assert again["unchanged"] is True
        assert again["usage"]["total"]["requests"] == 0
        assert (tmp_path / "run" / "manifest.json").read_bytes() == manifest
