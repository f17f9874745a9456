"""What `publish` writes is what TRL's trainers take: no column renamed, no row lost, the chat template applied."""

import math

import pytest

from pipeline.publish import COLUMNS, publish
from pipeline.records import Pair, prompt_id
from pipeline.settings import PublishSettings
from pipeline.tables import to_table, write_table
from tests.harness.tiny_model import END

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")
trl = pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[train]'")
datasets = pytest.importorskip("datasets")

FIGURES = {
    "languages": ["en"],
    "strategy": "strong_weak",
    "recipe_sha": "0" * 64,
    "stages": [],
    "dropped": [],
    "judge": {"name": None, "verdicts": 0, "prompt_shas": []},
    "pairs": {"by_source": {"rule": 7}, "by_models": [], "chosen_longer": None},
}
"""What the dataset card tells of a run."""


def pair(question, chosen, rejected, before=(), **fields):
    prompt = (*before, {"role": "user", "content": question})
    return Pair(prompt_id(prompt), prompt, chosen, rejected, "strong", "weak", "rule", **fields)


SYSTEM = {"role": "system", "content": "Answer in one sentence."}
TALK = (SYSTEM, {"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello, what can I do?"})

SINGLE = [
    pair("Which river runs through Vienna?", "The Danube.", "The Rhine.", category="fact", margin=1.0),
    pair("Name a fruit.", "An apple.", "A chair.", score_chosen=9.0, score_rejected=2.0, margin=7.0),
    pair("Name a fruit.", "A pear.", "A chair."),  # the same bad answer again: bad once
    pair("Name a fruit.", "A plum.", "A pear."),  # good in one pair and bad in another: neither
    pair("How many legs has a spider?", "Eight.", "Six.", split="test"),
]
PAIRS = [
    *SINGLE,
    pair("And a pear?", "It grows on a tree.", "It swims.", TALK),
    pair("And six?", "An ant.", "A cat.", (SYSTEM,), split="test"),
]


@pytest.fixture(scope="module", params=["conversational", "plain"])
def published(request, tmp_path_factory):
    """A folder with a dataset, and its form; `datasets` keeps its cache beside it."""
    place = tmp_path_factory.mktemp("published")
    pairs = PAIRS if request.param == "conversational" else SINGLE
    write_table(to_table(Pair, pairs), place / "pairs.parquet", "test")
    publish([place / "pairs.parquet"], place / "dataset", PublishSettings(form=request.param), "tiny", FIGURES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", place / "cache")
        yield place / "dataset", request.param


def loaded(published, config=None):
    return datasets.load_dataset(str(published[0]), *([config] if config else []))


def trained(kind, settings, data, model, folder):
    """The trainer after one step on the CPU."""
    args = settings(
        str(folder), max_steps=1, per_device_train_batch_size=2, report_to="none", use_cpu=True, bf16=False, save_strategy="no", seed=0
    )
    trainer = kind(model=str(model), args=args, train_dataset=data["train"], eval_dataset=data["test"])
    trainer.train()
    return trainer


def took_every_row(trainer, data):
    """Nothing left, nothing renamed; all that TRL adds to a plain answer is the end token."""
    for split, prepared in (("train", trainer.train_dataset), ("test", trainer.eval_dataset)):
        kept = prepared.select_columns(data[split].column_names).to_list()
        assert [{k: v.removesuffix(END) if isinstance(v, str) else v for k, v in row.items()} for row in kept] == data[split].to_list()
    assert trainer.state.global_step == 1
    assert math.isfinite(trainer.state.log_history[-1]["train_loss"])


def said(trainer, column, row=0):
    return trainer.processing_class.decode(trainer.train_dataset[row][column])


@pytest.mark.parametrize("config", [None, "kto", "sft"])
def test_a_dataset_loads_with_its_splits_and_columns(published, config):
    data = loaded(published, config)
    assert sorted(data) == ["test", "train"]
    assert all(rows.column_names == [*COLUMNS[config or "default"]] for rows in data.values())


def test_dpo_trains_on_the_pairs(published, tiny_model, tmp_path):
    data = loaded(published)
    assert len(data["train"]) + len(data["test"]) == len(PAIRS if published[1] == "conversational" else SINGLE)
    trainer = trained(trl.DPOTrainer, trl.DPOConfig, data, tiny_model, tmp_path)
    took_every_row(trainer, data)
    if published[1] == "plain":
        assert said(trainer, "prompt_ids") == "Which river runs through Vienna?"
        assert said(trainer, "chosen_ids") == "The Danube.<|im_end|>"
    else:
        assert said(trainer, "prompt_ids") == "<|im_start|>user\nWhich river runs through Vienna?<|im_end|>\n<|im_start|>assistant\n"
        assert (said(trainer, "chosen_ids"), said(trainer, "rejected_ids")) == ("The Danube.<|im_end|>\n", "The Rhine.<|im_end|>\n")
        assert said(trainer, "prompt_ids", 4).startswith("<|im_start|>system\nAnswer in one sentence.<|im_end|>\n<|im_start|>user\nHello.")


def test_kto_trains_on_single_answers(published, tiny_model, tmp_path):
    data = loaded(published, "kto")
    trainer = trained(trl.KTOTrainer, trl.KTOConfig, data, tiny_model, tmp_path)
    took_every_row(trainer, data)
    told = {(said(trainer, "completion_ids", i).split("<")[0], row["label"]) for i, row in enumerate(trainer.train_dataset)}
    assert told >= {("The Danube.", True), ("The Rhine.", False), ("An apple.", True), ("A chair.", False), ("A plum.", True)}
    assert "A pear." not in {text for text, _ in told}


def test_sft_trains_on_the_good_answers(published, tiny_model, tmp_path):
    data = loaded(published, "sft")
    trainer = trained(trl.SFTTrainer, trl.SFTConfig, data, tiny_model, tmp_path)
    took_every_row(trainer, data)
    turns = "<|im_start|>user\nWhich river runs through Vienna?<|im_end|>\n<|im_start|>assistant\nThe Danube.<|im_end|>\n"
    assert said(trainer, "input_ids") == turns
