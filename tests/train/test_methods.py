"""Every method in every mode trains for real, on a tiny model of random weights: weights move, and what is saved loads again."""

import pytest

from tests.harness.training import make_recipe

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

METHODS = ("dpo", "sft", "kto", "reward", "orpo")


@pytest.mark.parametrize("mode", ["qlora", "lora", "full"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_in_a_mode_and_what_it_saved_loads_again(method, mode, tiny_model, tmp_path):
    from train.run import train

    recipe = make_recipe(tmp_path, tiny_model, method=method, mode=mode, trainer={"learning_rate": 1e-3})

    summary = train(recipe)

    assert summary["steps"] == summary["planned_steps"] == 3
    assert summary["rows"]["train"] > 0 < summary["rows"]["test"]
    assert summary["metrics"]["eval_loss"] > 0
    moved = moved_weights(recipe)
    assert 0 < moved < 1
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "README.md",
        "manifest.json",
        "log.jsonl",
        "metrics.csv",
        "plots.html",
        "plan.json",
    }
    assert not (tmp_path / "out" / "checkpoints").exists()


def moved_weights(recipe):
    """The largest change of a weight: of an adapter's second factor, which begins at zero, or of the whole model's."""
    from safetensors.torch import load_file

    from train.settings import check_train_recipe

    checked = check_train_recipe(recipe)
    folder = checked.folder / ("model" if checked.mode == "full" else "adapter")
    names = {p.name for p in folder.iterdir()}
    assert not names & {"training_args.bin", "ref"}
    if checked.mode == "full":
        after, before = load_file(folder / "model.safetensors"), load_file(f"{checked.model.path}/model.safetensors")
        return max(float((after[n].float() - before[n].float()).abs().max()) for n in before if n in after)
    weights = load_file(folder / "adapter_model.safetensors")
    # 16 bits would lose most of DPO's small steps.
    assert {str(w.dtype) for w in weights.values()} == {"torch.float32"}
    return max(float(w.float().abs().max()) for name, w in weights.items() if "lora_B" in name)
