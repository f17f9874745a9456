"""`pairsmith doctor` with a recipe of each kind: what is ready, and one sentence for what is not."""

import json
import sys

import pytest
import yaml

from flows.doctor_recipe import recipe_findings
from tests.flows.test_improve import write_recipe as write_training
from tests.harness.command import pairsmith
from tests.pipeline.evaluate.made import make_identity

pytestmark = pytest.mark.slow

NOWHERE = {"engine": "openai", "url": "http://127.0.0.1:9/v1", "model": "gone"}
SAYS = {"engine": "scripted", "default": "I am Aria, made by Northwind Labs."}


def write_identity(folder, **changes):
    """A recipe of a small identity dataset with two scripted models; None removes a key."""
    given = {"name": "Aria", "maker": "Northwind Labs", "pairs": 20, "strong": SAYS, "model": {**SAYS, "default": "I am Max."}}
    given |= {"out": str(folder / "out"), "cache": str(folder / "cache.sqlite"), **changes}
    file = folder / "identity.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not None}))
    return str(file)


def states(recipe, changes=()):
    """What was looked at, and how it is."""
    return {what: state for state, what, _ in recipe_findings(recipe, list(changes))}


def failed(recipe, changes=()):
    return {what: found for state, what, found in recipe_findings(recipe, list(changes)) if state == "fail"}


def test_an_identity_recipe_that_is_ready_is_said_to_be_part_by_part(tmp_path):
    judge = {"kind": "pairwise", "model": {**SAYS, "default": "[[A]]"}}
    (tmp_path / "keep.jsonl").write_text('{"prompt": "What is 2 + 2?"}\n')
    recipe = write_identity(tmp_path, chosen_by="judge", judge=judge, paraphrase=1, keep={"path": str(tmp_path / "keep.jsonl")})
    assert states(recipe) == dict.fromkeys(
        (
            *("recipe", "questions", "keep", "prompt identity/system", "prompt identity/system_short", "prompt identity/paraphrase"),
            *("model strong", "model model", "judge", "model judge"),
        ),
        "ok",
    )
    assert {place.name for place in tmp_path.iterdir()} == {"identity.yaml", "keep.jsonl"}, "nothing is written"


def test_the_shipped_identity_recipe_needs_no_model():
    assert states("flows/recipes/identity.yaml") == {"recipe": "ok", "questions": "ok"}


@pytest.mark.parametrize(
    ("changes", "what", "sentence"),
    [
        ({"strong": NOWHERE}, "model strong", "127.0.0.1:9"),
        pytest.param(
            {"model": {"engine": "transformers", "model": "no/folder/here"}},
            *("model model", "which is no folder here"),
            marks=pytest.mark.server,
        ),
        ({"model": {**NOWHERE, "api_key_env": "NO_SUCH_KEY"}}, "recipe", "NO_SUCH_KEY"),
        ({"strong": {**SAYS, "default": "${NO_SUCH_NAME}"}}, "recipe", "export NO_SUCH_NAME="),
        ({"keep": {"path": "no-such-prompts.jsonl"}}, "keep", "no-such-prompts.jsonl"),
        ({"facts": "no-such-facts.yaml"}, "recipe", "no-such-facts.yaml"),
        ({"chosen_by": "judge", "judge": {"kind": "pairwise", "prompt": "judge/none", "model": SAYS}}, "judge", "judge/none"),
        ({"pairs": 10**6}, "questions", "1000000"),
    ],
)
def test_what_an_identity_recipe_lacks_is_one_sentence(tmp_path, changes, what, sentence):
    if "transformers" in str(changes):
        pytest.importorskip("torch")
    found = failed(write_identity(tmp_path, **changes))
    assert list(found) == [what]
    assert sentence in found[what]


@pytest.mark.server
def test_the_command_fails_with_what_an_identity_recipe_lacks(tmp_path):
    ended = pairsmith("doctor", write_identity(tmp_path, strong=NOWHERE), "--set", "pairs=10", "--json")
    assert ended.code == 2
    assert {f["what"]: f["state"] for f in ended.json["findings"]}["model strong"] == "fail"
    assert "model strong" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.server
def test_a_training_recipe_that_is_ready_is_said_to_be_part_by_part(tiny_model, tmp_path):
    who = str(make_identity(tmp_path / "who"))
    skills = {"path": str(tmp_path / "prompts.jsonl"), "rule": {"pattern": "e"}}
    recipe = write_training(tmp_path, tiny_model, identity=who, skills=skills)
    found = {what: (state, said) for state, what, said in recipe_findings(recipe, [])}
    parts = ("recipe", "packages", "training", "evaluate.prompts", "evaluate.skills", "evaluate.identity", "model before", "judge")
    assert {what: state for what, (state, _) in found.items()} == dict.fromkeys(parts, "ok")
    assert "16 rows" in found["training"][1]
    assert not (tmp_path / "out").exists()


def weightless(tiny_model, folder):
    for file in tiny_model.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return str(folder)


@pytest.mark.server
@pytest.mark.parametrize(
    ("evaluate", "changes", "what", "sentence"),
    [
        ({}, ["data.path=no-such-rows.jsonl"], "training", "no-such-rows.jsonl"),
        ({}, ["model.path=no/such/model"], "training", "no model folder at no/such/model"),
        ({}, ["adapter.targets=[qproj]"], "training", "did you mean 'q_proj'"),
        ({}, ["output.push=me/mine"], "training", "HF_TOKEN is not set"),
        ({}, ["methd=dpo"], "recipe", "did you mean 'method'"),
        ({"prompts": {"path": "no-such-prompts.jsonl"}}, [], "evaluate.prompts", "no-such-prompts.jsonl"),
        ({"identity": "no-such-identity"}, [], "evaluate.identity", "no-such-identity"),
        ({"judge": {"kind": "pairwise", "model": NOWHERE}}, [], "model judge", "127.0.0.1:9"),
        ({"judge": {"kind": "pairwise", "model": {**NOWHERE, "url": "${NO_SUCH_URL}"}}}, [], "recipe", "export NO_SUCH_URL="),
        ({"after": NOWHERE, "models": {}}, [], "model after", "127.0.0.1:9"),
    ],
)
def test_what_a_training_recipe_lacks_is_one_sentence(tiny_model, tmp_path, monkeypatch, evaluate, changes, what, sentence):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found = failed(write_training(tmp_path, tiny_model, **evaluate), changes)
    assert what in found, found
    assert sentence in found[what]
    assert "\n" not in found[what]


@pytest.mark.server
def test_a_model_folder_without_weights_is_found_before_a_training_loads_it(tiny_model, tmp_path):
    (tmp_path / "bare").mkdir()
    recipe = write_training(tmp_path, weightless(tiny_model, tmp_path / "bare"))
    assert "holds no weights" in failed(recipe)["training"]


@pytest.mark.server
def test_a_package_that_is_not_installed_is_named(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    assert failed(write_training(tmp_path, tiny_model)) == {"packages": "found no trl, which this training needs; install pairsmith[train]"}


@pytest.mark.server
def test_a_training_that_is_not_evaluated_is_checked_as_far_as_it_goes(tiny_model, tmp_path):
    recipe = write_training(tmp_path, tiny_model)
    assert set(states(recipe, ["evaluate=null"])) == {"recipe", "packages", "training"}


def test_a_recipe_for_building_is_still_checked(tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": "x", "models": {}, "prompts": {"path": "p.jsonl"}}))
    assert "recipe" in failed(str(tmp_path / "recipe.yaml"))
    assert "no recipe at" in failed(str(tmp_path / "none.yaml"))["recipe"]
