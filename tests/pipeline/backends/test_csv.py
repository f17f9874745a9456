"""Sheets go out, are filled in by spreadsheets with all their habits, and come back."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.annotation import Form, Response, Task, annotate_settings
from pipeline.backends import make_backend
from pipeline.backends._csv_sheet import neutral, restored
from pipeline.backends.csv import Backend
from pipeline.errors import InputError, RecipeError
from tests.pipeline.backends.forms import RANKING, RATING, REWRITE, choice_form, choice_task, choice_tasks

FORM = choice_form()


def sheets(folder: Path, form: Form = FORM, /, *tasks: Task, **settings: Any) -> Backend:
    backend = make_backend({"backend": "csv", **settings}, folder)
    backend.prepare(form)
    if tasks:
        backend.push(form, tasks)
    assert isinstance(backend, Backend)
    return backend


def path_of(folder: Path, form: Form = FORM, annotator: str = "annotator") -> Path:
    return folder / form.name / f"{form.name}-{annotator}.csv"


def rows_of(path: Path, separator: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def save(path: Path, rows: list[dict[str, str]], *, encoding: str = "utf-8-sig", separator: str = ",", saved: int | None = None) -> None:
    """As a spreadsheet saves: quotes only where they are needed."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    if saved is not None:
        os.utime(path, (saved, saved))


def fill(path: Path, *answers: dict[str, str], **how: Any) -> None:
    rows = rows_of(path)
    save(path, [{**row, **(answers[n] if n < len(answers) else {})} for n, row in enumerate(rows)], **how)


def pulled(backend: Backend, form: Form = FORM, since: str | None = None) -> dict[str, Response]:
    responses, _ = backend.pull(form, since)
    return {response.task_id: response for response in responses}


def test_a_sheet_goes_out_with_a_row_for_each_task_and_empty_columns_to_fill_in(tmp_path: Path) -> None:
    sheets(tmp_path, FORM, *choice_tasks(2))
    assert rows_of(path_of(tmp_path)) == [
        {
            "id": f"task-{n:04d}e45",
            "category": category,
            "prompt": f"Question {n}?",
            "answer_1": f"First answer to {n}.",
            "answer_2": f"Second answer to {n}.",
            "choice": "",
            "strength": "",
            "comment": "",
            "discard": "",
        }
        for n, category in enumerate(["maths", "code"])
    ]


def test_the_guidelines_name_every_column_and_what_may_stand_in_it(tmp_path: Path) -> None:
    sheets(tmp_path)
    text = (tmp_path / FORM.name / "guidelines.md").read_text(encoding="utf-8")
    assert text.startswith("Choose the better answer.")
    assert all(f"`{q.name}`" in text and all(f"`{label}`" in text for label in q.labels) for q in FORM.questions)


def test_guidelines_come_in_the_language_of_the_recipe(tmp_path: Path) -> None:
    sheets(tmp_path, language="de")
    assert "muss ausgefüllt sein" in (tmp_path / FORM.name / "guidelines.md").read_text(encoding="utf-8")


def test_a_row_is_submitted_when_what_is_required_is_filled_in_and_a_draft_when_only_other_things_are(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(4))
    fill(path_of(tmp_path), {"choice": "1", "comment": " fine "}, {"strength": "clear"}, {"discard": "x", "choice": "nonsense"})
    said = {i: (r.status, dict(r.values)) for i, r in pulled(backend).items()}
    assert said == {
        "0000e45": ("submitted", {"choice": "1", "comment": "fine"}),
        "0001e45": ("draft", {"strength": "clear"}),
        "0002e45": ("discarded", {}),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_sheet_is_read_however_a_spreadsheet_saved_it(tmp_path: Path, encoding: str, separator: str) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(2))
    fill(path_of(tmp_path), {"choice": "2.0", "comment": 'Zu "lang", naïve;\nund öde'}, encoding=encoding, separator=separator)
    assert pulled(backend)["0000e45"].values == {"choice": "2", "comment": 'Zu "lang", naïve;\nund öde'}


@pytest.mark.parametrize("typed", ["tie", "TIE", " About the same "])
def test_a_label_may_be_typed_as_it_is_called_or_as_it_reads(tmp_path: Path, typed: str) -> None:
    backend = sheets(tmp_path, FORM, choice_task(0))
    fill(path_of(tmp_path), {"choice": typed})
    assert pulled(backend)["0000e45"].values == {"choice": "tie"}


def test_a_wrong_value_is_one_sentence_with_file_row_column_and_what_is_allowed(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(2))
    fill(path_of(tmp_path), {}, {"choice": "answer one"})
    with pytest.raises(
        InputError,
        match=r"^r-choice-annotator\.csv, row 3, column 'choice': found 'answer one', wanted one of 1, 2, tie, both_bad; mend the cell$",
    ):
        backend.pull(FORM, None)


def test_a_second_pull_brings_only_what_changed_since(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(3))
    fill(path_of(tmp_path), {"choice": "1"}, {"choice": "2"}, saved=1_700_000_000)
    responses, since = backend.pull(FORM, None)
    assert {(r.task_id, r.updated) for r in responses} == {(f"{n:04d}e45", "2023-11-14T22:13:20.000000+00:00") for n in (0, 1)}
    assert pulled(backend, since=since) == {}
    fill(path_of(tmp_path), {}, {"choice": "tie"}, saved=1_700_000_060)
    assert [(r.task_id, r.values["choice"], r.updated) for r in pulled(backend, since=since).values()] == [
        ("0001e45", "tie", "2023-11-14T22:14:20.000000+00:00")
    ]
    assert len(pulled(backend, since=since)) == 1, "a pull that was not stored is asked again"


def test_an_answer_that_was_taken_back_comes_as_a_draft_that_says_nothing(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, choice_task(0))
    fill(path_of(tmp_path), {"choice": "1"})
    _, since = backend.pull(FORM, None)
    fill(path_of(tmp_path), {"choice": ""})
    assert [(r.status, r.values) for r in pulled(backend, since=since).values()] == [("draft", {})]


def test_a_push_adds_rows_and_loses_nothing_that_was_typed(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(2))
    rows = [{**row, "choice": choice, "my notes": "ask Eva"} for row, choice in zip(rows_of(path_of(tmp_path)), ["1", ""], strict=True)]
    save(path_of(tmp_path), rows[::-1], saved=1_700_000_000)
    backend.push(FORM, [choice_task(1, fields={"prompt": "Mended?", "answer_1": "a", "answer_2": "b"}), choice_task(2)])
    after = {row["id"]: (row["prompt"], row["choice"], row["my notes"]) for row in rows_of(path_of(tmp_path))}
    assert after == {
        "task-0000e45": ("Question 0?", "1", "ask Eva"),
        "task-0001e45": ("Mended?", "", "ask Eva"),
        "task-0002e45": ("Question 2?", "", ""),
    }
    assert pulled(backend)["0000e45"].updated == "2023-11-14T22:13:20.000000+00:00", "when it was typed, not when we pushed"


def test_pushing_twice_writes_nothing(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(3))
    before = path_of(tmp_path).stat().st_ino
    backend.push(FORM, choice_tasks(3))
    assert path_of(tmp_path).stat().st_ino == before


def test_a_row_that_got_lost_on_its_way_is_there_again_after_a_push(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(3))
    save(path_of(tmp_path), rows_of(path_of(tmp_path))[:1])
    backend.push(FORM, [choice_task(3)])
    assert len(rows_of(path_of(tmp_path))) == 4


def test_a_task_goes_to_as_many_annotators_as_the_form_wants_and_stays_with_them(tmp_path: Path) -> None:
    form = choice_form(min_submitted=2)
    sheets(tmp_path, form, *choice_tasks(60), annotators=["anna", "ben", "cem"])

    def held() -> dict[str, set[str]]:
        return {name: {row["id"] for row in rows_of(path_of(tmp_path, form, name))} for name in ("anna", "ben", "cem")}

    before = held()
    assert sum(map(len, before.values())) == 120
    assert all(25 < len(ids) < 55 for ids in before.values())
    sheets(tmp_path, form, *choice_tasks(60), annotators=["anna", "ben", "cem", "dora"])
    assert held() == before
    assert rows_of(path_of(tmp_path, form, "dora")) == []


def test_more_people_wanted_for_a_task_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="found 1, and min_submitted wants 2"):
        sheets(tmp_path, choice_form(min_submitted=2))


def test_status_counts_by_annotator_and_what_is_complete(tmp_path: Path) -> None:
    form = choice_form(min_submitted=2)
    backend = sheets(tmp_path, form, *choice_tasks(3), annotators=["anna", "ben"])
    fill(path_of(tmp_path, form, "anna"), {"choice": "1"}, {"choice": "2"}, {"discard": "ja"})
    fill(path_of(tmp_path, form, "ben"), {"choice": "1"}, {"strength": "clear"})
    progress = backend.status(form)
    assert (progress.tasks, progress.completed) == (3, 1)
    assert progress.annotators == {"anna": {"submitted": 2, "discarded": 1}, "ben": {"submitted": 1, "draft": 1}}


DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|" /C calc"!A0', "＝1+1"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_cell_goes_out_that_a_spreadsheet_would_run(tmp_path: Path, text: str) -> None:
    fields = {"prompt": text, "answer_1": text, "answer_2": text}
    sheets(tmp_path, FORM, choice_task(0, fields=fields, category=text))
    row = rows_of(path_of(tmp_path))[0]
    assert {row["prompt"], row["answer_1"], row["answer_2"], row["category"]} == {f"'{text}"}


@given(st.text(alphabet="'=+-@\t\r\n ab"))
def test_an_apostrophe_that_was_put_before_a_cell_is_taken_off_and_no_other(text: str) -> None:
    assert restored(neutral(text)) == text
    assert neutral(text)[:1] not in set("=+-@\t\r\n")


def test_a_proposed_text_is_edited_in_its_cell_and_counts_once_it_is_changed(tmp_path: Path) -> None:
    texts = ["- one\n- two", "plain"]
    tasks = [choice_task(n, fields={"prompt": "p", "answer_1": text}, suggestions={"rewrite": text}) for n, text in enumerate(texts)]
    backend = sheets(tmp_path, REWRITE, *tasks)
    path = path_of(tmp_path, REWRITE)
    assert [row["rewrite"] for row in rows_of(path)] == ["'- one\n- two", "plain"]
    fill(path, {"rewrite": "'- one\r\n- two"})
    assert pulled(backend, REWRITE) == {}, "a spreadsheet's own line ends are no edit"
    fill(path, {"rewrite": "'- one\r\n- two\r\n- three"})
    assert {i: dict(r.values) for i, r in pulled(backend, REWRITE).items()} == {"0000e45": {"rewrite": "- one\n- two\n- three"}}


def test_a_proposed_text_that_was_emptied_says_nothing(tmp_path: Path) -> None:
    backend = sheets(tmp_path, REWRITE, choice_task(0, fields={"prompt": "p", "answer_1": "a"}, suggestions={"rewrite": "a"}))
    fill(path_of(tmp_path, REWRITE), {"rewrite": ""})
    assert pulled(backend, REWRITE) == {}


def test_a_text_that_excel_may_have_cut_off_is_not_taken(tmp_path: Path) -> None:
    backend = sheets(tmp_path, REWRITE, choice_task(0, fields={"prompt": "p", "answer_1": "a"}))
    fill(path_of(tmp_path, REWRITE), {"rewrite": "x" * 32_767})
    with pytest.raises(InputError, match="row 2, column 'rewrite': found a text of 32767 characters"):
        backend.pull(REWRITE, None)


def test_a_suggested_label_stands_beside_the_cell_and_is_no_answer(tmp_path: Path) -> None:
    backend = sheets(tmp_path, FORM, choice_task(0, suggestions={"choice": "2"}))
    row = rows_of(path_of(tmp_path))[0]
    assert (row["suggested choice"], row["choice"]) == ("2", "")
    assert pulled(backend) == {}


@pytest.mark.parametrize(
    ("typed", "read"), [("2 > 1 > 3", ("2", "1", "3")), ("2>1=3", ("2", "1=3")), ("Answer 3, answer 2; 1", ("3", "2", "1"))]
)
def test_a_ranking_is_read_from_the_best_to_the_worst(tmp_path: Path, typed: str, read: tuple[str, ...]) -> None:
    backend = sheets(tmp_path, RANKING, choice_task(0, fields={"prompt": "p"}))
    fill(path_of(tmp_path, RANKING), {"ranking": typed})
    assert pulled(backend, RANKING)["0000e45"].values == {"ranking": read}


@pytest.mark.parametrize("typed", ["1 > 2", "1 > 2 > 2", "1 > 2 > 3 > 4", "213"])
def test_a_ranking_that_does_not_hold_every_answer_once_is_refused(tmp_path: Path, typed: str) -> None:
    backend = sheets(tmp_path, RANKING, choice_task(0, fields={"prompt": "p"}))
    fill(path_of(tmp_path, RANKING), {"ranking": typed})
    with pytest.raises(InputError, match="wanted all of 1, 2, 3 once, the best first, such as 1 > 2 > 3"):
        backend.pull(RANKING, None)


@pytest.mark.parametrize(("typed", "read"), [("4", 4), ("4.0", 4)])
def test_a_rating_is_a_whole_number(tmp_path: Path, typed: str, read: int) -> None:
    backend = sheets(tmp_path, RATING, choice_task(0, fields={"prompt": "p", "answer_1": "a"}))
    fill(path_of(tmp_path, RATING), {"helpful.1": typed})
    assert pulled(backend, RATING)["0000e45"].values == {"helpful.1": read}


def test_two_forms_with_names_that_run_together_keep_their_sheets_apart(tmp_path: Path) -> None:
    other = choice_form("r-choice-adjudication")
    sheets(tmp_path, FORM, choice_task(0), annotators=["adjudication-anna"])
    backend = sheets(tmp_path, other, choice_task(1), annotators=["anna"])
    fill(path_of(tmp_path, FORM, "adjudication-anna"), {"choice": "1"})
    assert pulled(backend, other) == {}


def test_a_shared_folder_may_hold_the_sheets(tmp_path: Path) -> None:
    sheets(tmp_path / "run", FORM, choice_task(0), folder=str(tmp_path / "shared"))
    assert path_of(tmp_path / "shared").exists()
    assert not (tmp_path / "run").exists()


def _second_copy(path: Path) -> None:
    path.with_name("r-choice-annotator (1).csv").write_bytes(path.read_bytes())


def _workbook(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 a zip file")


def _no_column(path: Path) -> None:
    save(path, [{k: v for k, v in row.items() if k != "choice"} for row in rows_of(path)])


def _row_twice(path: Path) -> None:
    save(path, rows_of(path)[:1] * 2)


def _other_id(path: Path) -> None:
    save(path, [{**row, "id": "1.00E+45"} for row in rows_of(path)[:1]])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_second_copy, r"annotator \(1\)\.csv is nobody's sheet; wanted r-choice-ANNOTATOR\.csv with one of annotator"),
        (_workbook, "is an Excel workbook under the name of a CSV file; save it as CSV"),
        (_no_column, "found no column 'choice' in its first row"),
        (_row_twice, "rows 2 and 3 hold the same task 'task-0000e45'; remove one of them"),
        (_other_id, r"row 2: found the id '1\.00E\+45', wanted one of the 2 tasks"),
    ],
)
def test_a_sheet_that_came_back_spoilt_is_refused_in_a_sentence(tmp_path: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    backend = sheets(tmp_path, FORM, *choice_tasks(2))
    spoil(path_of(tmp_path))
    with pytest.raises(InputError, match=sentence):
        backend.pull(FORM, None)


def test_an_annotator_whose_name_would_leave_the_folder_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"annotate\.annotators\.0"):
        annotate_settings({"backend": "csv", "annotators": ["../../etc/passwd"]})
