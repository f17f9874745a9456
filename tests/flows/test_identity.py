"""`pairsmith identity` as a user runs it: by options or a recipe, interrupted and again; and the same as a flow for schedules."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.deployments import deployment_of
from pipeline import ROOT
from pipeline.errors import RecipeError
from tests.harness.command import command, pairsmith
from tests.harness.stub_server import StubServer

pytestmark = pytest.mark.server

SCRIPTED = "model={engine: scripted}"


def write(folder: Path, stub: StubServer, **changes: Any) -> Path:
    at = {"engine": "openai", "url": stub.url, "concurrency": 2}
    recipe = {
        "name": "Aria",
        "maker": "Northwind Labs",
        "pairs": 40,
        "strong": {**at, "model": "strong"},
        "model": {**at, "model": "weak", "samples": 2},
        "out": str(folder / "out"),
        "cache": str(folder / "cache.sqlite"),
        **changes,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


def test_options_alone_are_enough_and_a_recipe_says_the_same(tmp_path: Path) -> None:
    options = pairsmith("identity", "--name", "Aria", "--maker", "Northwind Labs", "--pairs", 20, "--out", tmp_path / "a", "--json")
    recipe = pairsmith(
        "identity", "flows/recipes/identity.yaml", "--set", "facts=null", "--pairs", 20, "--out", tmp_path / "b", "--json", cwd=tmp_path
    )
    assert (options.code, recipe.code, options.err, recipe.err) == (0, 0, "", "")
    assert {**options.json, "folder": None} == {**recipe.json, "folder": None}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "--name is missing; give --name"),
        (["--name", "Aria"], "--maker is missing"),
        (["no/such.yaml"], "no recipe at no/such.yaml"),
        (["flows/recipes/identity.yaml", "--set", "mkaer=x"], "unknown key 'mkaer' in the recipe; did you mean 'maker'?"),
        (["flows/recipes/identity.yaml", "--paraphrase", "2"], "there is none; give `strong`"),
        (["flows/recipes/identity.yaml", "--keep", "mine.jsonl"], "there is none; give `model`"),
        (["flows/recipes/identity.yaml", "--keep", "mine.jsonl", "--contrast", "0", "--set", SCRIPTED], "contrast 0 there are none"),
        (["flows/recipes/identity.yaml", "--keep", "mine.jsonl", "--set", SCRIPTED], "keep: no file at mine.jsonl; mend the path"),
        (["flows/recipes/demo.yaml"], "unknown key 'prompts' in the recipe"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_on_stderr(tmp_path: Path, args: list[str], says: str) -> None:
    ended = pairsmith("identity", *args, "--out", tmp_path / "out")
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_keeps_its_replies_and_goes_on(tmp_path: Path, stub: StubServer) -> None:
    recipe = write(tmp_path, stub)
    stub.set_latency(0.3)
    process = subprocess.Popen(
        command("identity", recipe),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    until = time.monotonic() + 60
    while stub.stats()["requests"] < 6 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert (out, err.count("\n")) == ("", 1)
    assert "run the same command again to go on" in err
    assert not (tmp_path / "out").exists()
    stub.set_latency(0)
    came = stub.stats()["requests"]
    ended = pairsmith("identity", recipe, "--json")
    assert ended.code == 0, ended.err
    # What was in flight, two at most for each of two replies' time, is asked again; nothing else is.
    assert ended.json["usage"]["total"]["cached"] >= came - 4 > 0
    assert pairsmith("identity", recipe, "--json").json["usage"]["total"]["requests"] == 0


def test_a_model_that_words_nothing_is_said_to_have_worded_nothing(tmp_path: Path, stub: StubServer) -> None:
    ended = pairsmith("identity", write(tmp_path, stub, paraphrase=2))
    assert ended.code == 0, ended.err
    assert "Paraphrases   none: of 160 phrasings no reply was a list of wordings (unreadable 160)" in ended.out
    card = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "| paraphrase | 0 | 0 | 0 |" in card


def test_wordings_are_counted_in_the_summary_and_on_the_card(tmp_path: Path, stub: StubServer) -> None:
    wordings = json.dumps({"questions": ["Which firm put you together?", "Who made you!", "Whose hands built you?"]})
    strong = {"engine": "scripted", "replies": {"<question>\nWho made you?": wordings}, "default": "I am Aria, made by Northwind Labs."}
    ended = pairsmith("identity", write(tmp_path, stub, strong=strong, paraphrase=3, pairs=400), "--json")
    assert ended.code == 0, ended.err
    summary = ended.json
    assert (summary["paraphrases"]["offered"], summary["paraphrases"]["kept"]) == (3, 2)
    assert summary["paraphrases"]["dropped"] == {"near_copy": 1}
    assert summary["questions_from"]["strong"] >= 2
    assert sum(summary["questions_from"].values()) == sum(summary["chosen_from"].values())
    card = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "| paraphrase | 3 | 2 | 1 |" in card
    assert "| paraphrase | near_copy | 1 |" in card


def test_what_the_model_says_to_prompts_of_the_users_own_is_kept(tmp_path: Path, stub: StubServer) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("prompt,reference\n" + "\n".join(f"Tell me of machine {n},{'q' if n < 20 else 'no such word'}" for n in range(30)))
    ended = pairsmith("identity", write(tmp_path, stub), "--keep", mine)
    assert ended.code == 0, ended.err
    assert "Kept          7 pairs from 30 prompts of your own work" in ended.out
    # References take turns: before the seventh that it solves stand six that it does not.
    assert "unsolved 6" in ended.out


def test_the_flow_makes_the_dataset_and_shows_its_summary(tmp_path: Path, stub: StubServer, prefect: None) -> None:
    from prefect.client.orchestration import get_client

    from flows.identity_flow import identity

    recipe = write(tmp_path, stub)
    first = identity(str(recipe), ["pairs=20"])
    again = identity(str(recipe), ["pairs=20"])
    assert first["usage"]["total"]["requests"] > 0
    assert again["usage"]["total"]["requests"] == 0
    with get_client(sync_client=True) as client:
        shown = {a.key: str(a.data) for a in client.read_artifacts() if a.key and a.key.startswith("identity-aria")}
    assert {key.rpartition("-")[2] for key in shown} == {"summary", "stages"}
    assert any("Chosen from: template 13" in data for data in shown.values())


def test_serving_takes_a_recipe_for_what_it_is(tmp_path: Path) -> None:
    identity = deployment_of("flows/recipes/identity.yaml", ["pairs=20"], str(tmp_path / "out"))
    assert identity.flow().name == "identity"
    assert identity.parameters == {"recipe": "flows/recipes/identity.yaml", "changes": ["pairs=20"], "out": str(tmp_path / "out")}
    build = deployment_of("flows/recipes/recorded.yaml", [], str(tmp_path / "run"))
    assert (build.name, build.flow().name) == ("recorded", "build")
    with pytest.raises(RecipeError, match="did you mean 'maker'"):
        deployment_of("flows/recipes/identity.yaml", ["mkaer=x"], None)
