"""The first command of the README: two demo models answer, one judges, and the dataset says what it should; a model trains on it,
and says so too."""

import pytest
from datasets import load_dataset

from tests.harness.command import ROOT, pairsmith
from tests.harness.vllm import NO_VLLM

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(1200)]

ENGINES = [pytest.param("vllm", marks=pytest.mark.skipif(NO_VLLM is not None, reason=str(NO_VLLM))), "transformers"]

WHOLE = "vllm" if NO_VLLM is None else "transformers"
"""The engine that takes all prompts and goes on to training, as `make demo` does; the other takes every second one: as many minutes
again would say nothing else."""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_demo_makes_a_dataset_that_names_its_maker(tmp_path, engine):
    models = ("models.strong", "models.weak", "judge.model")
    changes = [f"{m}.engine={engine}" for m in models]
    changes += [f"{m}.batch_size=32" for m in models if engine == "transformers"]
    changes += [f"run.folder={tmp_path / 'run'}", f"run.cache={tmp_path / 'cache.sqlite'}"]
    if engine != WHOLE:
        changes.append(f"prompts.path={every_second_prompt(tmp_path / 'prompts.jsonl')}")
    arguments = [a for change in changes for a in ("--set", change)]
    ended = pairsmith("build", "flows/recipes/demo.yaml", *arguments, "--json", timeout=600)
    assert ended.code == 0, ended.err
    summary = ended.json
    assert summary["pairs"]["rows"] > 120
    assert summary["judge"]["flip_rate"] < 0.10
    assert summary["judge"]["invalid"] < 0.02 * summary["judge"]["verdicts"]
    assert [m["chosen"] for m in summary["pairs"]["by_models"]] == ["demo-strong"]

    rows = load_dataset(str(tmp_path / "run" / "dataset"), split="train")
    identity = [r for r in rows if r["category"] == "identity"]
    named = [r for r in identity if "Aria" in r["chosen"][0]["content"] and "Northwind Labs" in r["chosen"][0]["content"]]
    assert len(identity) > 80
    assert len(named) >= 0.97 * len(identity)
    assert not [r for r in identity if "Northwind Labs" in r["rejected"][0]["content"]]
    # What told the strong model who it is, is not in the dataset: that is what the weak one is to learn.
    assert not [r for r in rows if any(m["role"] == "system" for m in r["prompt"])]
    if engine == WHOLE:
        check_what_training_makes_of_it(tmp_path)


def every_second_prompt(file):
    file.write_text("".join((ROOT / "data" / "seeds" / "demo.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[::2]))
    return file


def check_what_training_makes_of_it(folder):
    """Two of the eight passes over the pairs: enough to see that it goes where it should."""
    out = folder / "tiny"
    changes = [f"data.path={folder / 'run' / 'dataset'}", f"output.folder={out}", "trainer.num_train_epochs=2", "output.samples=0"]
    trained = pairsmith("train", "train/recipes/tiny.yaml", *[a for c in changes for a in ("--set", c)], "--json", timeout=400)
    assert trained.code == 0, trained.err
    judged = pairsmith("evaluate", str(out), "--json", timeout=300)
    assert judged.code in (0, 3), judged.err
    found = judged.json
    assert found["comparison"]["win_rate"]["low"] > 0.5
    assert found["skills"]["after"]["value"] > 0.2
    assert (out / "evaluation.html").is_file()
