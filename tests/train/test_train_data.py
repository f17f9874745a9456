"""What a recipe trains on: every form from every table, no prompt on both sides, nothing left out uncounted."""

import pytest

from pipeline.errors import InputError
from tests.harness.training import as_messages, make_recipe, make_rows, write_rows
from train.data import read_data
from train.rows import cluster_of, rows_of
from train.settings import check_train_recipe


def read(folder, rows, **changes):
    write_rows(folder / "rows.jsonl", rows)
    return read_data(check_train_recipe(make_recipe(folder, folder, **changes)))


def test_a_prompt_that_is_held_out_is_never_trained_on(tmp_path):
    rows = make_rows(40)
    # The same questions again, asked a little differently, and with other answers.
    again = [{**row, "prompt": row["prompt"].upper().replace("?", " ?!"), "chosen": "Indeed."} for row in rows]

    data = read(tmp_path, rows + again)

    train, test = ({cluster_of(row) for row in side} for side in (data.train, data.test))
    assert train
    assert test
    assert not train & test
    assert len(data.train) + len(data.test) == 80


def test_the_datasets_own_test_split_is_kept_and_its_prompts_leave_the_training_rows(tmp_path):
    from pipeline.tables import pa, pq

    rows = make_rows(8)
    folder = tmp_path / "dataset" / "data"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:2]), folder / "test-00000-of-00001.parquet")

    data = read_data(check_train_recipe(make_recipe(tmp_path, tmp_path, data={"path": str(tmp_path / "dataset")})))

    assert (len(data.train), len(data.test)) == (6, 2)
    assert data.dropped == {"prompt_is_held_out": 2}


def test_equal_and_empty_answers_leave_and_are_counted(tmp_path):
    rows = make_rows(10)
    rows[0]["rejected"] = rows[0]["chosen"]
    rows[1]["chosen"] = "  "

    data = read(tmp_path, rows, data={"path": str(tmp_path / "rows.jsonl"), "test_share": 0})

    assert data.dropped == {"equal_texts": 1, "empty": 1}
    assert len(data.train) == 8
    assert data.test == []


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([], {}, "no row to train on"),
        ([{"prompt": "a", "chosen": "b", "rejected": "b"}], {}, "1 equal_texts"),
        ([{"prompt": "a", "chosen": "b"}], {}, "method dpo wants prompt, chosen and rejected"),
        ([{"prompt": "a", "completion": "b", "label": True}] * 3, {"method": "kto"}, "all 3 answers are liked"),
        ([{"prompt": "a", "completion": "b", "label": 0}] * 3, {"method": "kto"}, "all 3 answers are disliked"),
        ([{"prompt": "a", "completion": "b", "label": "maybe"}], {"method": "kto"}, "is no thumb"),
        ([{"prompt": "a", "chosen": "b"}, {"prompt": [{"role": "user", "content": "a"}], "chosen": "b"}], {"method": "sft"}, "one form"),
        ([{"messages": [{"role": "user", "content": "a"}]}], {"method": "sft"}, "does not end with the assistant's turn"),
        ([{"prompt": 3, "chosen": "b", "rejected": "c"}], {}, "wanted a text, or a list of messages"),
    ],
)
def test_data_that_teaches_nothing_is_one_sentence(rows, changes, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read(tmp_path, rows, **{"data": {"path": str(tmp_path / "rows.jsonl"), "test_share": 0}, **changes})


PAIR = {"prompt": "Who?", "chosen": "I.", "rejected": "You."}
MESSAGES = as_messages(PAIR)
WHOLE = {
    "prompt": "Who?",
    "chosen": [*MESSAGES["prompt"], *MESSAGES["chosen"]],
    "rejected": [*MESSAGES["prompt"], *MESSAGES["rejected"]],
}
"""As UltraFeedback has it: the answers bring the conversation along."""


def test_a_pair_is_the_same_in_each_of_its_forms():
    assert rows_of("pairs", "dpo", "row 1", WHOLE) == [MESSAGES]
    assert rows_of("pairs", "dpo", "row 1", {k: v for k, v in WHOLE.items() if k != "prompt"}) == [MESSAGES]
    assert rows_of("pairs", "dpo", "row 1", {**MESSAGES, "prompt": "Who?"}) == [MESSAGES]
    assert rows_of("pairs", "dpo", "row 1", PAIR) == [PAIR]


def test_pairs_serve_the_other_methods():
    assert rows_of("unpaired", "kto", "row 1", PAIR) == [
        {"prompt": "Who?", "completion": "I.", "label": True},
        {"prompt": "Who?", "completion": "You.", "label": False},
    ]
    assert rows_of("demonstrations", "sft", "row 1", PAIR) == [{"prompt": "Who?", "completion": "I."}]


def test_answers_to_two_prompts_are_no_pair():
    other = {**WHOLE, "rejected": [{"role": "user", "content": "What?"}, *MESSAGES["rejected"]]}
    with pytest.raises(InputError, match="answer different prompts"):
        rows_of("pairs", "dpo", "row 1", other)


def test_thumbs_take_turns_and_no_neighbours_answer_one_prompt(tmp_path):
    data = read(tmp_path, make_rows(40), method="kto")

    neighbours = list(zip(data.train, data.train[1:], strict=False))
    assert not [1 for a, b in neighbours if cluster_of(a) == cluster_of(b)]
    halves = data.train[: len(data.train) // 2], data.train[len(data.train) // 2 :]
    assert all(0.4 < sum(row["label"] for row in half) / len(half) < 0.6 for half in halves)


def test_equal_data_has_an_equal_digest_and_other_data_another(tmp_path):
    rows = make_rows(10)
    first, same, other = (read(tmp_path, given).digest for given in (rows, rows, rows[1:]))

    assert first == same != other


def test_max_rows_takes_the_first_ones(tmp_path):
    data = read(tmp_path, make_rows(20), data={"path": str(tmp_path / "rows.jsonl"), "max_rows": 5, "test_share": 0})

    assert [row["prompt"] for row in data.train] == [row["prompt"] for row in make_rows(5)]
