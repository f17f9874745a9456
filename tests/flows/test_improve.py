"""The improve flow: a model that is better becomes the current one, one that is not does not, and nothing new costs nothing."""

import json

import pytest
import yaml

from flows.deployments import deployment_of
from pipeline.errors import RecipeError
from tests.harness.training import as_messages, make_recipe
from tests.pipeline.evaluate.made import lines, make_identity, make_training, says, scripted

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

JUDGE = {"kind": "rule", "pattern": "e"}


def write_recipe(folder, model, **evaluate):
    """A training that is evaluated on six prompts, by whether an answer holds an e."""
    prompts = lines(folder / "prompts.jsonl", [{"prompt": f"question {n}"} for n in range(6)])
    given = {
        "prompts": {"path": str(prompts)},
        "models": {"device": "cpu", "batch_size": 8},
        "sampling": {"temperature": 0, "max_tokens": 8},
        "judge": JUDGE,
        "cache": str(folder / "cache.sqlite"),
        **evaluate,
    }
    raw = make_recipe(folder, model, mode="lora", evaluate={k: v for k, v in given.items() if v is not None})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw))
    return str(folder / "recipe.yaml")


def test_a_training_recipe_is_served_as_the_improve_flow(tmp_path):
    recipe = write_recipe(tmp_path, tmp_path)
    served = deployment_of(recipe, ["seed=3"], None)
    assert (served.name, served.parameters) == ("small", {"recipe": recipe, "changes": ["seed=3"]})
    assert served.folder == f"{tmp_path / 'out'}-*"


@pytest.mark.parametrize(
    ("evaluate", "folder", "sentence"),
    [
        ({"judge": None}, None, "no evaluate.judge and no evaluate.identity"),
        ({"after": {"url": "http://127.0.0.1:9/v1"}}, None, "evaluate.after names a model elsewhere"),
        ({}, "run", "--set output.folder="),
    ],
)
def test_what_could_never_be_promoted_is_refused_before_it_is_trained(tmp_path, evaluate, folder, sentence):
    with pytest.raises(RecipeError, match=sentence):
        deployment_of(write_recipe(tmp_path, tmp_path, **evaluate), [], folder)


def test_an_identity_is_reason_enough_to_train_for(tmp_path):
    recipe = write_recipe(tmp_path, tmp_path, judge=None, prompts=None, identity=str(tmp_path / "identity"))
    assert deployment_of(recipe, [], None).name == "small"


@pytest.mark.server
@pytest.mark.usefixtures("prefect")
def test_the_flow_evaluates_an_identity_without_a_judge(tmp_path):
    """The table has no win rate, and the decision says who the model says it is."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.improve import evaluate

    settings = {k: v for k, v in scripted(tmp_path, says("Nimbus", 4), says("Aria", 4)).items() if k not in ("judge", "prompts")}
    place = make_training(tmp_path, name="who", evaluate={**settings, "identity": str(make_identity(tmp_path / "identity", 8))})
    assert evaluate(str(place))["decision"]["verdict"] == "promote"
    keys = ArtifactFilter(key=ArtifactFilterKey(any_=["who-evaluation", "who-decision"]))
    with get_client(sync_client=True) as client:
        found = {a.key: a.data for a in client.read_artifacts(artifact_filter=keys)}
    metrics = [row["metric"] for row in json.loads(found["who-evaluation"])]
    assert "identity: right on held-out phrasings" in metrics
    assert not any("win rate" in metric for metric in metrics)
    assert "it is right about itself in 100.0% of held-out phrasings" in found["who-decision"]


@pytest.mark.server
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("prefect")
def test_a_better_model_is_promoted_and_a_poorer_one_is_not(tiny_model, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.improve import improve

    # What nobody can lose, and what nobody can win.
    recipe, models = write_recipe(tmp_path, tiny_model, promote={"min_win_rate": 0.0}), tmp_path / "models"
    first = improve(recipe, models=str(models))
    assert first["evaluated"]["decision"]["verdict"] == "promote"
    assert (first["promoted"]["news"], first["promoted"]["decision"]) == ("promoted", "promote")
    assert (models / "current" / "adapter_config.json").is_file()
    assert first["trained"]["folder"].startswith(f"{tmp_path / 'out'}-")
    with get_client(sync_client=True) as client:
        found = {
            a.key: a.data
            for a in client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["small-evaluation", "small-decision"]))
            )
        }
    assert {row["metric"] for row in json.loads(found["small-evaluation"])}
    assert first["evaluated"]["sentences"][0] in found["small-decision"]

    again = improve(recipe, models=str(models))
    assert again["trained"]["unchanged"]
    assert again["evaluated"]["requests"] == 0
    assert again["promoted"]["news"] == "is current already"

    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps(as_messages({"prompt": "Is it new?", "chosen": "Yes.", "rejected": "No."})) + "\n")
    poorer = improve(recipe, ["evaluate.promote.min_win_rate=1.0"], str(models))
    assert poorer["trained"]["folder"] != first["trained"]["folder"], "other data, another training"
    assert not poorer["trained"]["unchanged"]
    assert poorer["promoted"] is None
    assert (models / "current").resolve().name == "0001"
