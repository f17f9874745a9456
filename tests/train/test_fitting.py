"""What max_length leaves of the rows: nothing is cut or dropped in silence."""

import pytest

from pipeline.errors import InputError
from tests.harness.training import make_recipe
from train.data import Data
from train.lengths import fit
from train.settings import check_train_recipe


class Letters:
    """A tokenizer of one token a letter, and one at the end of every text."""

    eos_token = "$"

    def __call__(self, texts, add_special_tokens):
        return {"input_ids": [list(text) for text in texts]}


def row(prompt, chosen, rejected):
    return {"prompt": "p" * prompt, "chosen": "c" * chosen, "rejected": "r" * rejected}


ROWS = [row(3, 4, 5), row(3, 9, 5), row(12, 1, 1), row(2, 2, 2)]
"""In tokens, with the end: 9, 13, 14, 5; the third one's prompt alone is 12."""


def fitted(tmp_path, longest, **changes):
    recipe = check_train_recipe(make_recipe(tmp_path, tmp_path, **changes))
    return fit(Data(ROWS, ROWS[:1], {"empty": 1}, "none"), recipe, Letters(), longest)


def test_a_prompt_that_fills_max_length_stops_the_training(tmp_path):
    with pytest.raises(InputError, match=r"1 of 5 prompts fill trainer\.max_length \(10 tokens\) by themselves, the longest with 12"):
        fitted(tmp_path, 10)


def test_or_is_left_out_and_counted_and_cut_answers_are_counted_too(tmp_path):
    found = fitted(tmp_path, 10, data={"path": "x", "too_long": "drop"})

    assert found.data.train == [ROWS[0], ROWS[1], ROWS[3]]
    assert found.data.dropped == {"empty": 1, "prompt_too_long": 1}
    assert found.cut == 1
    assert found.tokens == (5 + 10 + 3) / 3


def test_a_reward_model_sees_whole_rows_only(tmp_path):
    found = fitted(tmp_path, 10, data={"path": "x", "too_long": "drop"}, method="reward")

    assert found.data.train == [ROWS[0], ROWS[3]]
    assert found.data.dropped == {"empty": 1, "prompt_too_long": 1, "longer_than_max_length": 1}
    assert found.cut == 0


def test_with_room_enough_all_stay_as_they_are(tmp_path):
    for longest in (14, None):
        found = fitted(tmp_path, longest)
        assert (found.data.train, found.cut, found.data.dropped) == (ROWS, 0, {"empty": 1})


def test_nothing_that_fits_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no row fits into"):
        fitted(tmp_path, 2, data={"path": "x", "too_long": "drop"})
