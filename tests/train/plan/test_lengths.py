"""What max_length does to the rows is what TRL does to them, and is said before."""

import random

import pytest

from train.lengths import Length
from train.plan.lengths import cut_by, look_at, summarize

ROWS = [Length(10, (20, 30)), Length(60, (50, 10)), Length(100, (5, 5)), Length(99, (1, 2))]


@pytest.mark.parametrize(
    ("method", "dropped", "cut", "lost"),
    [
        ("dpo", 1, 2, 10 + 105 * 2 + 1),  # the third's prompt fills 100 tokens; the second loses 10, the fourth 1
        ("kto", 1, 2, 10 + 105 * 2 + 1),
        ("sft", 1, 2, 10 + 105 * 2 + 1),
        ("reward", 3, 0, (110 + 70) + 105 * 2 + (100 + 101)),
        ("orpo", 0, 3, 10 + 5 * 2 + 1),
    ],
)
def test_each_method_cuts_and_drops_in_its_own_way(method, dropped, cut, lost):
    found = cut_by(ROWS, method, 100)
    assert (found.dropped, found.cut, found.lost) == (dropped, cut, lost)


@pytest.mark.parametrize("method", ["dpo", "kto", "sft", "reward", "orpo"])
def test_without_a_max_length_nothing_is_lost(method):
    found = cut_by(ROWS, method, None)
    assert (found.dropped, found.cut, found.lost) == (0, 0, 0)


def test_rows_and_tokens_are_conserved():
    rng = random.Random(1)
    rows = [Length(rng.randrange(1, 200), (rng.randrange(1, 200), rng.randrange(1, 200))) for _ in range(500)]
    for limit in (50, 150, 250, 400):
        found = cut_by(rows, "dpo", limit)
        left = [r for r in rows if r.prompt < limit]
        kept = sum(min(r.prompt + a, limit) for r in left for a in r.answers)
        assert found.dropped + len(left) == len(rows)
        assert kept + found.lost == sum(r.prompt + a for r in rows for a in r.answers)


def test_trl_drops_and_cuts_as_many(tokenizer, tiny_model, tmp_path):
    import datasets
    import trl

    pairs = [{"prompt": "a " * n, "chosen": "b " * (40 - n), "rejected": "c"} for n in range(1, 40)]
    args = trl.DPOConfig(str(tmp_path), max_length=30, report_to="none", use_cpu=True, bf16=False)
    trainer = trl.DPOTrainer(str(tiny_model), args=args, train_dataset=datasets.Dataset.from_list(pairs))
    found = look_at(pairs, tokenizer)
    cut = cut_by(found, "dpo", 30)
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert len(trainer.train_dataset) == len(pairs) - cut.dropped
    assert 0 < cut.dropped < len(pairs)
    assert int(batch["attention_mask"].sum()) == sum(n.prompt + a for n in found for a in n.answers) - cut.lost


def test_the_suggestion_leaves_ninety_nine_of_a_hundred_rows_whole():
    rows = [Length(n, (10,)) for n in range(100)] + [Length(5000, (10,))]
    found = summarize(rows, len(rows), "sft", 64, context=4096)
    assert found.suggestion == 128
    assert cut_by(rows, "sft", found.suggestion).cut + cut_by(rows, "sft", found.suggestion).dropped <= 1
    assert summarize([Length(9000, (10,))], 1, "sft", 64, context=4096).suggestion == 4096


def test_of_many_rows_a_sample_is_looked_at_and_the_longest_may_be_elsewhere(tokenizer):
    rows = [{"prompt": "one two", "chosen": "three", "rejected": "four"}] * 50
    found = summarize(look_at(rows, tokenizer, most=10), len(rows), "dpo", 77)
    assert (found.rows, found.looked_at, found.kept) == (50, 10, 50)
    assert found.longest == 77
    assert summarize(look_at(rows, tokenizer), 50, "dpo", 77).longest < 20


def test_an_empty_dataset_has_no_lengths():
    found = summarize([], 0, "dpo", 100)
    assert (found.kept, found.histogram, found.suggestion, found.padded) == (0, [], None, 0.0)


def test_the_bars_hold_every_row():
    rows = [Length(n * n, (3,)) for n in range(60)]
    assert sum(count for _, count in summarize(rows, 60, "sft", None).histogram) == 60


def test_padding_is_counted():
    rows = [Length(10, (10,)), Length(90, (10,))] * 10
    assert summarize(rows, 20, "sft", None, batch=1).padded == 60
    assert summarize(rows, 20, "sft", None, batch=20).padded == 100
