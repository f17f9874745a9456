"""Whatever a user gets wrong is one clear sentence, exit code 2, and nothing is lost."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness.command import ROOT, Ended, command, pairsmith, write_recipe

pytestmark = pytest.mark.slow

server = pytest.mark.usefixtures("prefect")


def assert_refused(ended: Ended, *words: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.startswith("pairsmith: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    for word in words:
        assert word in ended.err, ended.err


def prompts(folder: Path, *lines: str) -> None:
    (folder / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.slow
def test_no_recipe(tmp_path):
    assert_refused(pairsmith("build", tmp_path / "none.yaml"), "no recipe at", "flows/recipes/recorded.yaml")


def test_a_recipe_that_is_no_yaml(tmp_path):
    (tmp_path / "r.yaml").write_text("name: [1, 2")
    assert_refused(pairsmith("build", tmp_path / "r.yaml"), "not YAML", "line 1")


def test_an_unknown_key_offers_the_nearest(tmp_path):
    recipe = write_recipe(tmp_path, pair={"strategy": "margin", "min_margn": 2})
    assert_refused(pairsmith("build", recipe), "unknown key 'pair.min_margn'", "did you mean 'min_margin'?")


@pytest.mark.slow
def test_an_unknown_plug_in_offers_the_choices(tmp_path):
    assert_refused(pairsmith("build", write_recipe(tmp_path, pair={"strategy": "best_wurst"})), "best_worst", "strong_weak")
    judge = {"kind": "pairwize", "model": {"engine": "scripted"}}
    assert_refused(pairsmith("build", write_recipe(tmp_path, judge=judge)), "did you mean 'pairwise'?", "rule")


@pytest.mark.slow
def test_a_set_option_that_fits_nothing(tmp_path):
    assert_refused(pairsmith("build", write_recipe(tmp_path), "--set", "prompts.limt=3"), "did you mean 'limit'?")
    assert_refused(pairsmith("build", write_recipe(tmp_path), "--set", "nonsense"), "KEY=VALUE")


def test_a_missing_environment_variable(tmp_path):
    assert_refused(
        pairsmith("build", write_recipe(tmp_path, prompts={"path": "${NOT_SET_ANYWHERE}/x.jsonl"})), "NOT_SET_ANYWHERE", "export"
    )


def test_a_missing_api_key(tmp_path):
    models = {
        "strong": {"engine": "openai", "role": "strong", "api_key_env": "NO_SUCH_KEY"},
        "weak": {"engine": "scripted", "role": "weak"},
    }
    assert_refused(pairsmith("build", write_recipe(tmp_path, models=models)), "NO_SUCH_KEY is not set")


@pytest.mark.slow
def test_two_models_that_cannot_be_told_apart(tmp_path):
    same = {"engine": "openai", "model": "default"}
    models = {
        "strong": {**same, "role": "strong", "url": "http://localhost:1/v1"},
        "weak": {**same, "role": "weak", "url": "http://localhost:2/v1"},
    }
    assert_refused(pairsmith("build", write_recipe(tmp_path, models=models)), "strong", "weak", "revision")


@pytest.mark.slow
def test_a_strategy_without_its_roles(tmp_path):
    models = {"a": {"engine": "scripted"}, "b": {"engine": "scripted"}}
    assert_refused(pairsmith("build", write_recipe(tmp_path, models=models)), "role: strong")


def test_a_hub_push_without_a_token(tmp_path):
    assert_refused(pairsmith("build", write_recipe(tmp_path), "--push-to-hub", "me/mine", HF_TOKEN=""), "HF_TOKEN is not set")


@pytest.mark.slow
def test_a_prefect_server_that_does_not_answer(tmp_path):
    assert_refused(
        pairsmith("build", write_recipe(tmp_path), PREFECT_API_URL="http://127.0.0.1:9/api"), "PREFECT_API_URL", "prefect server start"
    )


@server
@pytest.mark.server
def test_a_prefect_server_that_refuses_the_key(tmp_path):
    assert_refused(
        pairsmith("build", write_recipe(tmp_path), PREFECT_API_AUTH_STRING="a:wrong"), "refuses your key", "PREFECT_API_AUTH_STRING"
    )


@server
@pytest.mark.server
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"prompt": "one"}', '{"prompt": "two"'], ["prompts.jsonl line 2", "not JSON", "two"]),
        (['{"instruction": "one"}'], ["prompts.jsonl line 1", "no column 'prompt'", "instruction", "columns"]),
        (['{"prompt": "one"}', '{"prompt": "  "}'], ["prompts.jsonl line 2", "empty", "bad_rows"]),
        ([], ["prompts.jsonl", "no prompts"]),
    ],
    ids=["broken line", "missing column", "empty prompt", "empty file"],
)
def test_a_prompt_table_that_is_wrong(tmp_path, lines, words):
    prompts(tmp_path, *lines)
    assert_refused(pairsmith("build", write_recipe(tmp_path)), *words)


@server
@pytest.mark.server
def test_empty_prompts_are_dropped_and_counted_where_the_recipe_says_so(tmp_path):
    prompts(tmp_path, '{"prompt": "one"}', '{"prompt": " "}')
    ended = pairsmith("build", write_recipe(tmp_path), "--set", "prompts.bad_rows=drop", "--json")
    assert ended.code == 0, ended.err
    assert {"stage": "collect", "reason": "empty_prompt", "rows": 1} in ended.json["dropped"]


@server
@pytest.mark.server
def test_a_prompt_longer_than_the_context_stops_and_what_arrived_is_kept(tmp_path, stub):
    prompts(tmp_path, *(json.dumps({"prompt": "x" * n}) for n in (10, 20, 500)))
    stub.set_faults({"context_chars": 100})
    models = {role: {"engine": "openai", "url": stub.url, "role": role} for role in ("strong", "weak")}
    recipe = write_recipe(tmp_path, models=models)
    assert_refused(pairsmith("build", recipe), "longer than a model's context", "bad_rows: drop")
    asked = stub.stats()["requests"]
    ended = pairsmith("build", recipe, "--set", "prompts.bad_rows=drop", "--run", tmp_path / "run2", "--json")
    assert ended.code == 0, ended.err
    assert {"stage": "generate", "reason": "context_length", "rows": 2} in ended.json["dropped"]
    assert stub.stats()["requests"] == asked + 2  # the two that were refused


@server
@pytest.mark.server
def test_a_wrong_url_and_an_unknown_model(tmp_path, stub):
    def models(**strong):
        return {"strong": {"engine": "openai", "role": "strong", "url": stub.url, **strong}, "weak": {"engine": "scripted", "role": "weak"}}

    assert_refused(
        pairsmith("build", write_recipe(tmp_path, models=models(url="http://127.0.0.1:9/v1"))), "nothing answers at", "models.strong.url"
    )
    assert_refused(
        pairsmith("build", write_recipe(tmp_path, models=models(model="gpt-9")), "--run", tmp_path / "b"), "gpt-9", "models.strong.model"
    )


@server
@pytest.mark.server
def test_a_run_folder_of_another_recipe(tmp_path):
    assert pairsmith("build", write_recipe(tmp_path)).code == 0
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    other = write_recipe(tmp_path, pair={"strategy": "all_pairs"}, judge={"kind": "rule", "pattern": "good"})
    assert_refused(pairsmith("build", other), "another recipe", "judge", "pair.strategy", "--run")
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before


@server
@pytest.mark.server
def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert_refused(pairsmith("build", write_recipe(tmp_path)), "not empty and no run folder")
    assert_refused(pairsmith("inspect", tmp_path / "run"), "no run folder")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


@server
@pytest.mark.server
def test_two_runs_in_one_folder_at_once(tmp_path, stub):
    stub.set_latency(1.0)
    models = {role: {"engine": "openai", "url": stub.url, "role": role, "concurrency": 1} for role in ("strong", "weak")}
    recipe = write_recipe(tmp_path, models=models)
    first = subprocess.Popen(command("build", recipe), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not stub.stats()["requests"] and time.monotonic() < until:
        time.sleep(0.05)
    assert_refused(pairsmith("build", recipe), "another process is working in")
    stub.set_latency(0.0)
    assert first.wait(timeout=120) == 0


@server
@pytest.mark.server
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(tmp_path):
    """A disk of one megabyte: a file system in memory where this user may mount one, else a limit on what a file may hold."""
    prompts(tmp_path, *(json.dumps({"prompt": f"{i} {os.urandom(2000).hex()}"}) for i in range(400)))
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system, so a full disk cannot be made")
    try:
        recipe = write_recipe(tmp_path, run={"folder": str(small / "run"), "cache": str(tmp_path / "c")})
        assert_refused(pairsmith("build", recipe), "the disk is full", "make room")
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        assert pairsmith("build", recipe).code == 0
        cache = write_recipe(tmp_path, run={"folder": str(tmp_path / "run2"), "cache": str(small / "tiny" / "c")})
        subprocess.run(["dd", "if=/dev/zero", f"of={small}/filler", "bs=1k"], capture_output=True)
        assert_refused(pairsmith("build", cache), "reply cache", "nothing that had arrived is lost")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@server
@pytest.mark.server
def test_a_read_only_folder(tmp_path):
    place = tmp_path / "readonly"
    place.mkdir()
    if os.geteuid() == 0:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], capture_output=True).returncode:
            pytest.skip("root may write everywhere and may not mount here, so no folder is read-only")
    else:
        place.chmod(0o500)
    try:
        recipe = write_recipe(tmp_path, run={"folder": str(place / "run"), "cache": str(tmp_path / "c")})
        assert_refused(pairsmith("build", recipe), str(place), "--run")
        recipe = write_recipe(tmp_path, run={"folder": str(tmp_path / "r"), "cache": str(place / "c")})
        assert_refused(pairsmith("build", recipe), "reply cache", "run.cache")
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", place], check=True)


@server
@pytest.mark.server
def test_inspect_of_what_is_not_there(tmp_path):
    assert_refused(pairsmith("inspect", tmp_path / "nothing"), "no run folder")
    assert pairsmith("build", write_recipe(tmp_path)).code == 0
    assert_refused(pairsmith("inspect", tmp_path / "run", "--dropped", "identcal"), "nothing was dropped as 'identcal'")


@pytest.mark.slow
def test_a_cron_line_that_is_none(tmp_path):
    assert_refused(pairsmith("serve", write_recipe(tmp_path), "--cron", "every night"), "five fields", "0 3 * * *")


def test_words_the_command_does_not_know():
    ended = pairsmith("bild")
    assert ended.code == 2
    assert "build" in ended.err
