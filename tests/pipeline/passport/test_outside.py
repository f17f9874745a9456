"""Verdict tables from outside: what is understood, and one sentence for everything else."""

import json
import math
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, RecipeError
from pipeline.passport.outside import VerdictTable, described, named, read_outside, same_tables
from pipeline.passport.verdicts import Collector, Row, Verdicts
from tests.pipeline.passport.made import labelled, rows, verdicts


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def read(tmp_path: Path, *lines: object, by: str | None = None, people: bool = False, **settings: object) -> Verdicts:
    into = Collector()
    path = write(tmp_path / "judged.jsonl", *lines)
    read_outside(VerdictTable.model_validate({"path": str(path), **settings}), into, by, people=people)
    return into.verdicts()


SIMPLE = {"item": 1, "judge": "j", "choice": "A"}


def test_the_plainest_table(tmp_path: Path) -> None:
    v = read(tmp_path, SIMPLE, {**SIMPLE, "item": 2, "choice": "invalid", "order": "BA"})
    assert (v.items, v.judges, v.choice_V.tolist(), v.order_V.tolist()) == (["1", "2"], ["j"], [0, -1], [2, 1])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_other_files_say_the_same(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        path.write_text("item,judge,choice,order,dollars\n1,j,A,AB,0.5\n2,j,tie,,\n")
    else:
        pq.write_table(
            pa.table({"item": [1, 2], "judge": ["j"] * 2, "choice": ["A", "tie"], "order": ["AB", None], "dollars": [0.5, None]}), path
        )
    into = Collector()
    read_outside(VerdictTable(path=str(path)), into, None)
    v = into.verdicts()
    assert (v.choice_V.tolist(), v.order_V.tolist(), v.costs_V3[0, 2]) == ([0, 2], [0, 2], 0.5)
    assert math.isnan(v.costs_V3[1, 2])


def test_the_file_names_a_judge_that_has_no_column(tmp_path: Path) -> None:
    assert read(tmp_path, {"item": 1, "choice": "B"}).judges == ["judged"]


def test_scores_are_choices_and_bad_scores_are_none(tmp_path: Path) -> None:
    scores = [(9, 8), (8, 9.5), (7, 7), (-1, -1), (None, 3)]
    v = read(tmp_path, *({"item": n, "score_a": a, "score_b": b} for n, (a, b) in enumerate(scores)), valid_scores=[0, 10])
    assert v.choice_V.tolist() == [0, 1, 2, -1, -1]


def test_words_patterns_and_expressions(tmp_path: Path) -> None:
    lines = [{"id": n, "said": s, "pair": "x_y", "reply": "ab"} for n, s in enumerate(["1", "2", "Tie", "what?"])]
    v = read(
        tmp_path,
        *lines,
        columns={"item": "id", "choice": "said", "length_a": "length(reply)", "length_b": "`7`", "order": "'BA'"},
        words={"1": "A", "2": "B", "Tie": "tie", "*": "invalid"},
        patterns={"pair": ["^nothing(?P<b_model>.)$", "^(?P<a_model>.)_(?P<b_model>.)$"]},
    )
    assert v.choice_V.tolist() == [0, 1, 2, -1]
    assert (v.models, v.model_I2[0].tolist(), v.length_I2[0].tolist(), v.order_V[0]) == (["x", "y"], [0, 1], [2, 7], 1)


def test_answers_bring_models_and_lengths(tmp_path: Path) -> None:
    answers = write(tmp_path / "answers.jsonl", {"id": "p", "text": " four ", "by": "m1"}, {"id": "q", "text": "sixsix", "by": "m2"})
    table = {"path": str(answers), "columns": {"model": "by"}}
    v = read(tmp_path, {"a": "p", "b": "q", "choice": "A"}, {"a": "q", "b": "p", "choice": "A", "judge": "other"}, answers=table)
    assert (len(v.items), v.models, v.model_I2.tolist(), v.length_I2.tolist()) == (1, ["m1", "m2"], [[0, 1]], [[4, 6]])
    assert labelled(v).tolist() == [[0, 1]]


def test_a_row_with_the_sides_turned_is_turned_back() -> None:
    here = Row("r1", "i", "one", False, "A", "AB", models=("x", "y"), lengths=(1, 2))
    there = Row("r2", "i", "two", False, "A", "AB", models=("y", "x"), lengths=(2, 1))
    tied = Row("r3", "i", "three", False, "tie", "BA", models=("y", "x"))
    v = verdicts([here, there, tied])
    assert (v.choice_V.tolist(), v.order_V.tolist(), v.length_I2.tolist()) == ([0, 1, 2], [0, 1, 0], [[1, 2]])


def test_two_answers_of_one_model_are_told_apart_by_their_ids() -> None:
    here = Row("r1", "i", "one", False, "A", "AB", answers=("p", "q"), models=("x", "x"))
    there = Row("r2", "i", "two", False, "A", "AB", answers=("q", "p"), models=("x", "x"))
    assert verdicts([here, there]).choice_V.tolist() == [0, 1]


def test_items_without_ids_are_known_by_what_was_compared(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "a_model": "x", "b_model": "y", "choice": "A"}
    turned = {"prompt": [{"role": "user", "content": "Why?"}], "a_model": "y", "b_model": "x", "choice": "B", "judge": "two"}
    v = read(tmp_path, row, {**row, "prompt": "How?"}, turned)
    assert (len(v.items), labelled(v)[0].tolist()) == (2, [0, 0])


def test_a_person_who_gave_no_label_says_nothing(tmp_path: Path) -> None:
    lines = [SIMPLE, {**SIMPLE, "item": 2, "choice": None}, {**SIMPLE, "item": 3, "choice": ""}]
    assert len(read(tmp_path, *lines, people=True).item_V) == 1
    assert read(tmp_path, *lines).choice_V.tolist() == [0, -1, -1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [{**SIMPLE, "choice": "left"}],
            "judged.jsonl line 1: the choice 'left' is none of A, B, tie, invalid; say what it means with --words",
        ),
        ([{**SIMPLE, "order": "first"}], "line 1: order is 'first'; wanted AB or BA"),
        ([{**SIMPLE, "source": "me"}], "source is 'me'; wanted llm, human or rule"),
        ([{"item": 1}], "found no `choice` and no `score_a` and `score_b`; the columns are item"),
        ([{"choice": "A", "judge": "j"}], "which comparison is this? Wanted `item`"),
        ([{"item": 1, "score_a": "high", "score_b": 2}], "score_a is 'high'; wanted a number"),
        ([], "the tables hold no verdict; wanted at least one row"),
        ([SIMPLE, "[1]\n"], "line 2: found a list"),
        (
            [{**SIMPLE, "a_model": "x", "b_model": "y"}, {**SIMPLE, "a_model": "x", "b_model": "z"}],
            "item '1' is about other answers than at judged",
        ),
        ([SIMPLE, {**SIMPLE, "source": "human"}], "the judge 'j' is a person in one row and a model in another"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, lines: list[object], said: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, *lines)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_of_as_many_judges_as_rows_is_a_mistake() -> None:
    with pytest.raises(InputError, match="more than 1000 judges"):
        verdicts(rows(*((n, f"judge {n}", "A") for n in range(1001))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- path: x.jsonl\n  wordz: {}\n", "unknown key 't.yaml table 1.wordz'"),
        ("just words", "describes no verdict table"),
        ("a: [", "is not YAML"),
        ("path: x.jsonl\nwords: {left: C}\n", "table 1.words.left"),
    ],
)
def test_a_description_that_does_not_fit(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        described(str(tmp_path / "t.yaml"))


@pytest.mark.parametrize(("pattern", "said"), [("(", "is no regular expression"), ("(?P<winner>.)", "the group 'winner' is no column")])
def test_a_pattern_that_does_not_fit(tmp_path: Path, pattern: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read(tmp_path, SIMPLE, patterns={"choice": [pattern]})


def test_a_rename_concerns_the_tables_that_have_the_column(tmp_path: Path) -> None:
    theirs, ours = write(tmp_path / "t.jsonl", {"id": 1, "choice": "A"}), write(tmp_path / "o.jsonl", SIMPLE)
    given = {"item": "id", "order": "'AB'"}
    assert [named(str(p), given, {}, judge=None, source=None).columns for p in (theirs, ours)] == [given, {"order": "'AB'"}]


def test_the_same_table_twice_is_found_under_any_name(tmp_path: Path) -> None:
    one, copy, other = (write(tmp_path / f"{n}.jsonl", {**SIMPLE, "item": n // 2}) for n in range(3))
    tables = [VerdictTable(path=str(p)) for p in (one, other, copy)]
    assert same_tables(tables[:2]) is None
    assert same_tables(tables) == str(copy)


@pytest.mark.skipif("PAIRSMITH_RECORDED_DATA" in os.environ, reason="the variable is set")
def test_our_descriptions_ask_for_the_recorded_data() -> None:
    with pytest.raises(RecipeError, match="export PAIRSMITH_RECORDED_DATA"):
        described("flows/recipes/verdicts/pandalm.yaml")
