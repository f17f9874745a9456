"""`pairsmith evaluate` and `pairsmith promote`, from a training's folder to `current` and back."""

import json

import pytest

from flows.evaluate import evaluate_command, prepare
from flows.promote import promote_command
from pipeline.errors import GateRefused, InputError, PairsmithError, RecipeError, RunError
from pipeline.fingerprint import folder_fingerprint
from tests.harness.command import pairsmith
from tests.pipeline.evaluate.made import lines, make_identity, make_training, rights, says, scripted

pytestmark = pytest.mark.slow

SAME = {"prompt": "p", "chosen": "same", "rejected": "same"}
GOOD, POOR = rights(range(36)), rights(range(4))


def training(folder, before=POOR, after=GOOD, **more):
    folder.mkdir(exist_ok=True)
    return make_training(folder, evaluate=scripted(folder, before, after, **more))


def evaluate(place, *changes, **options):
    evaluate_command(str(place), list(changes), options.get("html"), options.get("identity"), as_json=options.get("as_json", True))


def promote(home, place=None, *, server=None, **options):
    flags = {"rollback": False, "force": False, **options}
    promote_command(str(place) if place else None, str(home), server, None, as_json=True, **flags)


def said(capsys):
    return json.loads(capsys.readouterr().out)


# --- evaluate


def test_a_better_model_is_promoted_and_the_folder_says_why(tmp_path, capsys):
    place = training(tmp_path)
    evaluate(place, html=str(tmp_path / "page.html"))
    found = said(capsys)
    assert found["decision"]["verdict"] == "promote"
    assert json.loads((place / "evaluation.json").read_text())["comparison"] == found["comparison"]
    assert (tmp_path / "page.html").is_file()


def test_a_poorer_model_is_rejected_with_exit_code_3_and_written_down(tmp_path, capsys):
    place = training(tmp_path, before=GOOD, after=POOR)
    with pytest.raises(GateRefused, match=r"rejected: the win rate 10\.0%") as refused:
        evaluate(place)
    assert refused.value.exit_code == 3
    assert json.loads((place / "evaluation.json").read_text())["decision"]["verdict"] == "reject"


def test_the_recipe_leads_to_the_training_and_set_changes_the_evaluation(tmp_path, capsys):
    place = training(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((place / "recipe.yaml").read_text())
    evaluate(recipe, "evaluate.samples=2")
    assert said(capsys)["comparison"]["comparisons"] == 160


def test_the_terminal_shows_before_and_after_and_how_to_go_on(tmp_path, capsys):
    place = training(tmp_path)
    evaluate(place, as_json=False)
    shown = capsys.readouterr().out
    assert "Promote aria" in shown
    assert f"pairsmith promote {place}" in shown
    assert "[" not in shown.replace("[0", "")  # no markup is left over


def test_what_models_and_tables_say_is_no_markup_of_the_terminal(tmp_path, capsys):
    tasks = lines(tmp_path / "tasks.jsonl", [{"prompt": f"question {n}.", "reference": "r", "category": f"[/c{n % 2}]"} for n in range(4)])
    script = rights(range(36), text="[bold]right{n}[/bold] [/]")
    place = training(tmp_path / "t", after=script, skills={"path": str(tasks)}, shown=40, promote={"guards": []})
    evaluate(place, as_json=False)
    shown = capsys.readouterr().out
    assert "[bold]right" in shown
    assert "skills: [/c1]" in shown


@pytest.mark.parametrize(("names", "verdict"), [(8, "promote"), (3, "reject")])
def test_an_identity_alone_decides_where_the_recipe_has_no_judge(tmp_path, capsys, names, verdict):
    place, folder = identity_training(tmp_path), make_identity(tmp_path / "identity", names)
    if verdict == "reject":
        with pytest.raises(GateRefused, match=r"^rejected: right on held-out phrasings went from 0\.0%"):
            evaluate(place, identity=str(folder))
    else:
        evaluate(place, identity=str(folder))
    found = said(capsys)
    assert (found["decision"]["verdict"], found["comparison"], found["requests"]) == (verdict, None, 2 * (names + 1))
    assert found["held_out"]["accuracy"] == 0.9, "what the trainer measured stays"


def test_the_terminal_shows_an_identity_without_a_win_rate(tmp_path, capsys):
    place = identity_training(tmp_path)
    evaluate(place, identity=str(make_identity(tmp_path / "identity", 8)), as_json=False)
    shown = capsys.readouterr().out
    assert "Promote aria: it is right about itself in 100.0% of held-out phrasings" in shown
    assert "identity: right on held-out phrasings" in shown
    assert "after   My name is Aria.  (right now)" in shown
    assert "No judge was given" in shown
    assert "ties count half" not in shown


def test_neither_a_judge_nor_an_identity_is_refused_before_anything_is_asked(tmp_path):
    place = identity_training(tmp_path)
    with pytest.raises(RecipeError, match=r"add a judge.*--identity FOLDER") as refused:
        evaluate(place)
    assert refused.value.exit_code == 2
    assert not (place / "evaluation").exists()


def identity_training(folder):
    """A training with no judge and no prompts, of a model that learned that it is Aria."""
    evaluation = scripted(folder, says("Nimbus", 4), says("Aria", 4))
    return make_training(folder, evaluate={k: v for k, v in evaluation.items() if k not in ("judge", "prompts")})


def test_prompts_the_training_saw_are_found_in_its_data(tmp_path):
    place = training(tmp_path)
    trained, _, held = prepare(str(place), [])
    assert (held.prompts, len(held.trained)) == (["unseen"], 2)
    assert trained.log[0]["step"] == 9


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda place: (place / "manifest.json").unlink(), RunError, "is not finished"),
        (lambda place: (place / "recipe.yaml").unlink(), RunError, "holds no recipe.yaml"),
        (lambda place: lines(place.parent / "dataset" / "train.jsonl", [SAME]), InputError, "no row to train on"),
    ],
)
def test_a_training_that_is_not_whole_is_refused(tmp_path, spoil, error, sentence):
    place = training(tmp_path)
    spoil(place)
    with pytest.raises(error, match=sentence):
        evaluate(place)


def test_a_place_where_nothing_is_is_refused(tmp_path):
    with pytest.raises(InputError, match="found nothing at"):
        evaluate(tmp_path / "nothing")


def test_a_recipe_that_was_never_trained_is_refused(tmp_path):
    place = training(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((place / "recipe.yaml").read_text())
    with pytest.raises(RunError, match="run `pairsmith train"):
        evaluate(recipe, f"output.folder={tmp_path / 'elsewhere'}")


# --- promote


@pytest.fixture
def evaluated(tmp_path, capsys):
    """Two evaluated trainings."""
    places = [training(tmp_path / name) for name in ("one", "two")]
    for place in places:
        evaluate(place)
        as_if_asked_here(place)
    capsys.readouterr()
    return places


def as_if_asked_here(place):
    """The scripted models answer for weights that nobody can load; say that those were asked."""
    file = place / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights": folder_fingerprint(place / "adapter")}))


def test_promoted_models_take_each_others_place_and_come_back(tmp_path, evaluated, capsys):
    home = tmp_path / "models"
    for number, place in enumerate(evaluated, 1):
        promote(home, place)
        found = said(capsys)
        assert (found["number"], found["news"], found["decision"]) == (number, "promoted", "promote")
    assert (home / "current" / "adapter_config.json").is_file()
    promote(home, rollback=True)
    assert said(capsys)["number"] == 1
    with pytest.raises(RunError, match=r"nothing to roll back to .* release 1 is the first"):
        promote(home, rollback=True)


def test_promoting_what_is_current_makes_no_new_release(tmp_path, evaluated, capsys):
    home = tmp_path / "models"
    promote(home, evaluated[0])
    promote(home, evaluated[0])
    assert "is current already" in capsys.readouterr().out
    assert len(list((home / "releases").iterdir())) == 1


def test_what_was_not_evaluated_or_was_rejected_is_promoted_by_force_alone(tmp_path, capsys):
    home = tmp_path / "models"
    place = training(tmp_path, before=GOOD, after=POOR)
    with pytest.raises(RunError, match="was not evaluated"):
        promote(home, place)
    with pytest.raises(GateRefused):
        evaluate(place)
    with pytest.raises(RunError, match="the evaluation rejected aria"):
        promote(home, place)
    assert not (home / "current").exists()
    capsys.readouterr()
    promote(home, place, force=True)
    assert said(capsys)["decision"] == "forced"


def test_a_model_elsewhere_that_did_well_says_nothing_of_the_weights_here(tmp_path, capsys):
    home, place = tmp_path / "models", training(tmp_path)
    evaluate(place, as_json=False)
    assert f"pairsmith promote {place} --force" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"a model elsewhere \(evaluate\.after\)"):
        promote(home, place)
    assert not (home / "current").exists()
    promote(home, place, force=True)
    assert said(capsys)["decision"] == "forced"


def test_weights_that_changed_since_they_were_evaluated_are_not_promoted(tmp_path, evaluated):
    promote(tmp_path / "models", evaluated[0])
    (evaluated[0] / "adapter" / "adapter_model.safetensors").write_bytes(b"trained again")
    with pytest.raises(RunError, match="other weights than were evaluated"):
        promote(tmp_path / "models", evaluated[0])


def test_a_server_that_refuses_leaves_current_as_it_was(tmp_path, evaluated):
    home = tmp_path / "models"
    promote(home, evaluated[0])
    with pytest.raises(PairsmithError, match="no vLLM server answers"):
        promote(home, evaluated[1], server="http://127.0.0.1:9")
    assert (home / "current").resolve().name == "0001"
    assert [p.name for p in (home / "releases").iterdir()] == ["0001"]


@pytest.mark.parametrize("rollback", [True, False])
def test_either_a_training_or_a_rollback(tmp_path, rollback):
    with pytest.raises(RecipeError, match="either the output folder of a training, or --rollback"):
        promote(tmp_path, tmp_path if rollback else None, rollback=rollback)


# --- for real


@pytest.mark.server
def test_the_commands_end_with_their_exit_codes(tmp_path):
    place = training(tmp_path)
    assert pairsmith("evaluate", place, "--json").json["decision"]["verdict"] == "promote"
    ended = pairsmith("promote", place, "--models", tmp_path / "models")
    assert (ended.code, ended.err.count("\n")) == (2, 1)  # evaluated by models elsewhere
    ended = pairsmith("promote", place, "--models", tmp_path / "models", "--force", "--json")
    assert (ended.code, ended.json["number"]) == (0, 1)
    assert pairsmith("evaluate", place, "--set", "evaluate.promote.min_win_rate=0.95").code == 3
    ended = pairsmith("promote", "--rollback", "--models", tmp_path / "models")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


@pytest.mark.server
def test_a_real_adapter_answers_beside_its_base(tmp_path, tiny_model, capsys):
    """Random weights through the transformers engine: what is compared is that two different models were asked."""
    from tests.harness.vllm import make_adapter

    place = make_training(tmp_path, base=str(tiny_model))
    make_adapter(tiny_model, place / "adapter")
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt": f"question {n}"} for n in range(6)])
    evaluation = {
        "prompts": {"path": str(prompts)},
        "models": {"device": "cpu", "batch_size": 8},
        "sampling": {"temperature": 0, "max_tokens": 12},
        "judge": {"kind": "rule", "pattern": "e"},
        "cache": str(tmp_path / "cache.sqlite"),
    }
    changes = [f"evaluate={json.dumps(evaluation)}"]
    with pytest.raises(GateRefused):
        evaluate(place, *changes)
    found = said(capsys)
    assert found["comparison"]["comparisons"] == 6
    assert found["comparison"]["outcomes"]["identical"] < 6
    after, before = (found["models"][f"comparison.{side}"]["revision"] for side in ("after", "before"))
    assert after.startswith(f"{before}+")
    assert found["weights"] == folder_fingerprint(place / "adapter")


@pytest.mark.server
def test_a_real_model_is_asked_who_it_is_and_no_judge_is_needed(tmp_path, tiny_model):
    """The command on the tiny model, which learned nothing: rejected by its figures, with exit code 3."""
    from tests.harness.vllm import make_adapter

    place, folder = make_training(tmp_path, base=str(tiny_model)), make_identity(tmp_path / "identity", 4)
    make_adapter(tiny_model, place / "adapter")
    how = {
        "models": {"device": "cpu", "batch_size": 8},
        "sampling": {"temperature": 0, "max_tokens": 12},
        "cache": str(tmp_path / "c.sqlite"),
    }
    ended = pairsmith("evaluate", place, "--identity", folder, "--set", f"evaluate={json.dumps(how)}", "--json")
    assert (ended.code, ended.err.strip().splitlines()[-1].count("right on held-out phrasings went from 0.0%")) == (3, 1)
    assert (ended.json["requests"], ended.json["comparison"]) == (2 * 5, None)
    assert ended.json["weights"] == folder_fingerprint(place / "adapter")
    ended = pairsmith("evaluate", place, "--set", f"evaluate={json.dumps(how)}")
    assert (ended.code, ended.err.count("\n"), "--identity FOLDER" in ended.err) == (2, 1, True)
