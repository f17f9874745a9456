"""`pairsmith build` from end to end, on a real Prefect server, against a real HTTP server."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.harness.command import ROOT, command, pairsmith, write_recipe

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect")]


def endpoints(stub, **judge):
    """Strong, weak and judge at the stub."""
    model = {"engine": "openai", "url": stub.url, "retries": 1, "sampling": {"seed": 1}}
    return {
        "models": {"strong": {**model, "role": "strong"}, "weak": {**model, "role": "weak"}},
        "judge": {"kind": "pairwise", "model": {**model, "model": "judge"}, **judge},
        "pair": {"strategy": "best_worst"},
    }


def pair_bytes(run: Path) -> list[bytes]:
    return [f.read_bytes() for f in sorted(run.glob("dataset/*/*.parquet"))]


def stage(summary, name):
    return next(s for s in summary["stages"] if s["stage"] == name)


def test_a_judged_build_makes_pairs_and_says_what_became_of_every_row(tmp_path, stub):
    ended = pairsmith("build", write_recipe(tmp_path, **endpoints(stub)), "--json")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    summary = ended.json
    assert stage(summary, "generate") == {"stage": "generate", "in": 16, "out": 16}
    assert summary["judge"]["verdicts"] == 16
    assert summary["judge"]["both_orders"] == 8
    assert summary["usage"]["total"]["requests"] == stub.stats()["requests"] == 32
    for s in summary["stages"]:
        assert s["in"] - s["out"] == sum(d["rows"] for d in summary["dropped"] if d["stage"] == s["stage"])
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"recipe.yaml", "manifest.json", "summary.json", "report.md", "dataset"}


def test_a_finished_run_repeated_asks_nothing_and_publishes_nothing(tmp_path, stub):
    recipe = write_recipe(tmp_path, **endpoints(stub))
    pairsmith("build", recipe)
    card = tmp_path / "run" / "dataset" / "README.md"
    before, manifest, asked = card.stat().st_mtime_ns, (tmp_path / "run" / "manifest.json").read_bytes(), stub.stats()["requests"]
    ended = pairsmith("build", recipe, "--json")
    assert ended.json["unchanged"] is True
    assert stub.stats()["requests"] == asked
    assert card.stat().st_mtime_ns == before
    assert (tmp_path / "run" / "manifest.json").read_bytes() == manifest


def test_an_added_prompt_asks_for_itself_alone(tmp_path, stub):
    recipe = write_recipe(tmp_path, **endpoints(stub), run={"folder": str(tmp_path / "run"), "cache": str(tmp_path / "c"), "shard": 3})
    pairsmith("build", recipe)
    stub.reset()
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "a new one, first"}) + "\n" + prompts.read_text())
    ended = pairsmith("build", recipe, "--json")
    assert ended.json["unchanged"] is False
    assert stub.stats()["requests"] == 4  # two answers, two verdicts


def test_a_changed_judge_asks_no_answers_again(tmp_path, stub):
    pairsmith("build", write_recipe(tmp_path, **endpoints(stub)))
    stub.reset()
    changed = write_recipe(tmp_path, **endpoints(stub, reason=False))
    ended = pairsmith("build", changed, "--run", tmp_path / "run2", "--json")
    assert ended.code == 0, ended.err
    assert stub.stats()["by_model"] == {"judge": 16}


def test_a_judge_that_always_says_the_first_makes_no_pair(tmp_path, stub):
    stub.set_faults({"first_position_bias": 1.0})
    ended = pairsmith("build", write_recipe(tmp_path, **endpoints(stub)), "--json")
    assert ended.code == 3
    assert "no pair was left" in ended.err
    assert ended.json["judge"]["flip_rate"] == 1.0
    assert ended.json["judge"]["first_position_share"] == 1.0
    assert ended.json["dropped"] == [{"stage": "pair", "reason": "flipped", "rows": 8}]
    assert not (tmp_path / "run" / "dataset").exists()


def test_an_unreadable_verdict_is_invalid_with_its_reply_kept(tmp_path, stub):
    from pipeline.records import Verdict
    from pipeline.tables import read_table, to_records

    stub.set_faults({"unreadable_verdict": 1.0})
    ended = pairsmith("build", write_recipe(tmp_path, **endpoints(stub, attempts=2)), "--json")
    assert ended.json["judge"]["invalid_by_reason"] == {"unreadable": 16}
    assert stub.stats()["by_model"]["judge"] == 32
    verdicts = to_records(Verdict, read_table(tmp_path / "run/shards/00000/verdicts.parquet"))
    assert all(v.choice == "invalid" and v.reply for v in verdicts)


def test_what_failed_for_a_while_is_asked_again_by_the_next_run_and_nothing_else_is(tmp_path, stub):
    stub.set_faults({"server_error": 0.3})
    recipe = write_recipe(tmp_path, **endpoints(stub), run={"folder": str(tmp_path / "run"), "cache": str(tmp_path / "c")})
    first = pairsmith("build", recipe, "--json", "--set", "models.strong.retries=0", "--set", "models.weak.retries=0")
    lost = sum(d["rows"] for d in first.json["dropped"] if d["reason"] == "server_error")
    assert 0 < lost < 16
    stub.set_faults({})
    second = pairsmith("build", recipe, "--json")
    assert second.code == 0, second.err
    assert second.json["usage"]["models"]["strong"]["requests"] + second.json["usage"]["models"]["weak"]["requests"] == lost
    assert stage(second.json, "generate")["out"] == 16


def test_a_budget_stops_the_run_and_the_next_start_goes_on(tmp_path, stub):
    recipe = write_recipe(tmp_path, **endpoints(stub), budget={"requests": 10})
    ended = pairsmith("build", recipe)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "budget of 10 requests" in ended.err
    assert stub.stats()["requests"] == 10
    codes = [pairsmith("build", recipe).code for _ in range(3)]
    assert codes == [2, 2, 0]
    assert stub.stats()["requests"] == stub.stats()["distinct"] == 32


def test_limit_is_a_preview_with_a_folder_and_replies_that_count_later(tmp_path, stub):
    recipe = write_recipe(tmp_path, **endpoints(stub), run={"cache": str(tmp_path / "c")}, name="preview-test")
    folder = ROOT / "data" / "runs" / "preview-test-first-3"
    ended = pairsmith("build", recipe, "--limit", 3, "--json")
    try:
        assert stage(ended.json, "collect")["out"] == 3
        assert folder.is_dir()
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)
    pairsmith("build", recipe, "--run", tmp_path / "run")
    assert stub.stats()["requests"] == 32


def test_shards_and_the_order_of_replies_do_not_show_in_the_dataset(tmp_path, stub):
    made = []
    for shard, latency in ((8, 0.0), (3, 0.003)):
        stub.set_latency(latency)
        folder = tmp_path / f"{shard}"
        run = {"folder": str(folder), "cache": str(tmp_path / f"c{shard}"), "shard": shard}
        assert pairsmith("build", write_recipe(tmp_path, **endpoints(stub), run=run)).code == 0
        made.append(pair_bytes(folder))
    assert made[0] == made[1]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_loses_nothing_that_had_arrived(tmp_path, stub, stop):
    run = {"folder": str(tmp_path / "run"), "cache": str(tmp_path / "c"), "shard": 20}
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"long question {i}"}) + "\n" for i in range(120)))
    recipe = write_recipe(tmp_path, **endpoints(stub), run=run)
    stub.set_latency(0.2)
    process = subprocess.Popen(command("build", recipe), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while stub.stats()["requests"] < 100 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)  # 0.6 s as a rule; on a busy machine Prefect may ask its server again and again
    if stop != signal.SIGKILL:
        assert process.returncode == 130
        assert err.strip() == "pairsmith: interrupted; every reply that arrived is kept: run the same command again to go on"
    stub.set_latency(0.0)
    ended = pairsmith("build", recipe, "--json")
    assert ended.code == 0, ended.err
    assert stage(ended.json, "gate")["in"] == stage(ended.json, "pair")["out"]
    assert stub.stats()["repeated"] <= 128  # the models' concurrency: what was in flight


def test_prefect_shows_a_task_a_shard_and_stage_and_two_artifacts(tmp_path, stub):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    run = {"folder": str(tmp_path / "run"), "cache": str(tmp_path / "c"), "shard": 4}
    pairsmith("build", write_recipe(tmp_path, **endpoints(stub), name="artifacts", run=run))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_="artifacts-%")))
        kinds = sorted(a.type for a in found)
        flow_run = found[0].flow_run_id
        names = sorted(t.name for t in client.read_task_runs() if t.flow_run_id == flow_run)
    assert kinds == ["markdown", "table"]
    stages = [n for n in names if n.split()[-1].isdigit()]
    assert stages == ["answers 0", "answers 1", "pairs 0", "pairs 1", "verdicts 0", "verdicts 1"]


def test_a_recipe_is_kept_as_it_was_asked_without_values_of_the_environment(tmp_path):
    write_recipe(tmp_path)
    recipe = write_recipe(tmp_path, prompts={"path": "${SECRET_PLACE}/prompts.jsonl"})
    ended = pairsmith("build", recipe, SECRET_PLACE=str(tmp_path))
    assert ended.code == 0, ended.err
    kept = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert kept["prompts"]["path"] == "${SECRET_PLACE}/prompts.jsonl"


def test_the_shipped_recipe_runs_without_any_server_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    ended = pairsmith("build", "flows/recipes/recorded.yaml", "--run", tmp_path / "run", "--json")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.json["pairs"]["rows"] == 32


def test_a_refreshed_dataset_is_loaded_anew_and_not_from_the_cache_of_datasets(tmp_path):
    """`datasets` 5.2 files a local folder under its last name: another run's `dataset`, or last night's, would come back."""
    from datasets import load_dataset

    recipe = write_recipe(tmp_path)
    pairsmith("build", recipe)
    first = load_dataset(str(tmp_path / "run" / "dataset"), cache_dir=str(tmp_path / "hf"))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text() + json.dumps({"prompt": "added later"}) + "\n")
    pairsmith("build", recipe)
    second = load_dataset(str(tmp_path / "run" / "dataset"), cache_dir=str(tmp_path / "hf"))
    assert sum(map(len, second.values())) == sum(map(len, first.values())) + 1


def test_train_and_test_share_no_prompt_and_no_near_copy(tmp_path):
    from datasets import load_dataset

    texts = [f"Question {i % 60}{'?' if i < 60 else ' !'}" for i in range(120)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts))
    pairsmith("build", write_recipe(tmp_path), "--set", "split.test=0.3")
    split = load_dataset(str(tmp_path / "run" / "dataset"), cache_dir=str(tmp_path / "hf"))
    sides = {name: {r["prompt"][0]["content"].rstrip("?! ") for r in rows} for name, rows in split.items()}
    assert sides["train"]
    assert sides["test"]
    assert not sides["train"] & sides["test"]


def test_a_judge_that_misses_its_passport_publishes_nothing_and_says_why(tmp_path, stub):
    # A judge that always prefers what is shown first: every comparison flips.
    model = {"engine": "scripted", "default": '{{"reason": "-", "verdict": "1"}}'}
    judge = {"kind": "pairwise", "model": model, "passport": {"max_flip": 0.25, "max_invalid": 0.5}}
    recipe = write_recipe(tmp_path, judge=judge, pair={"strategy": "best_worst"})
    ended = pairsmith("build", recipe)
    assert ended.code == 3
    assert "judge.passport" in ended.err
    assert "100.0%" in ended.err
    assert "max_flip" in ended.err
    assert "max_invalid" not in ended.err
    assert not (tmp_path / "run" / "dataset").exists()
    assert not (tmp_path / "run" / "manifest.json").exists()
    # What is asked of the judge is no part of what is made: the same folder goes on, and a judge that may flip has no pairs.
    loose = pairsmith("build", recipe, "--set", "judge.passport.max_flip=1", "--json")
    assert (loose.code, loose.json["refused"]) == (3, [])
    assert loose.json["usage"]["total"]["requests"] == 0
