"""`pairsmith annotate`, as a user runs it: with spreadsheets that go out and come back."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import app
from pipeline.annotate.people import read_outcomes
from pipeline.tables import read_table
from tests.harness.annotators import KINDS, SECRETS, Made, make_run
from tests.harness.command import ROOT, Ended, pairsmith, write_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def annotate(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*args: object) -> Ended:
        code = 0
        try:
            app(["annotate", *map(str, args)], standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


def fill_in(run: Path, says: Callable[[dict[str, str]], dict[str, str]]) -> int:
    """Write into every sheet what somebody says of a row; the number of rows."""
    rows = 0
    for sheet in (run / "annotate" / "csv").rglob("*.csv"):
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
        with sheet.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows({**line, **says(line)} for line in lines)
        rows += len(lines)
    return rows


def first_model(row: dict[str, str]) -> dict[str, str]:
    """Choose the answer of the first model, whose texts end in `i`."""
    return {"choice": "1" if row["answer_1"].endswith("i") else "2"}


def test_sheets_go_out_and_come_back(tmp_path, annotate):
    made = make_run(tmp_path / "run", [*KINDS] * 2, per_day=10)
    pushed = annotate("push", made.run.path)
    assert pushed.code == 0, pushed.err
    assert "10 to made-choice" in pushed.out
    assert "the judge changes its mind with the order" in pushed.out
    assert fill_in(made.run.path, first_model) == 10
    pulled = annotate("pull", made.run.path)
    assert pulled.code == 0, pulled.err
    assert "10 new responses" in pulled.out
    assert "10 comparisons" in pulled.out
    assert {(made.models[s.a], s.result) for s in read_outcomes(made.run).values()} == {(SECRETS[0], "A")}
    status = annotate("status", made.run.path)
    assert "10 of 10 tasks are complete" in status.out


def test_each_command_prints_one_json_object(tmp_path, annotate):
    made = make_run(tmp_path / "run", ["tie"] * 3)
    pushed = annotate("push", made.run.path, "--json")
    assert json.loads(pushed.out)["sent"] == {"made-choice": 3}
    assert json.loads(annotate("pull", made.run.path, "--json").out)["new"] == 0
    status = json.loads(annotate("status", made.run.path, "--json").out)
    assert status["datasets"][0]["tasks"] == 3
    assert status["run"] == str(made.run.path)


def test_a_second_push_of_a_day_sends_nothing(tmp_path, annotate):
    made = make_run(tmp_path / "run", ["tie"] * 3, per_day=2)
    annotate("push", made.run.path)
    again = annotate("push", made.run.path)
    assert "Sent      nothing" in again.out
    assert "Left      1" in again.out


def test_what_goes_out_names_no_model(tmp_path, annotate):
    made = make_run(tmp_path / "run", [*KINDS])
    annotate("push", made.run.path)
    out = [file.read_text(encoding="utf-8-sig") for file in (made.run.path / "annotate" / "csv").rglob("*") if file.is_file()]
    assert len(out) >= 2
    assert [name for name in SECRETS for text in out if name in text] == []


def test_a_run_without_the_part_is_told_what_to_add(tmp_path, annotate):
    made = make_run(tmp_path / "run", ["tie"])
    raw = made.run.recipe()
    del raw["annotate"]
    made.run.begin(raw)
    for command in ("push", "pull", "status"):
        ended = annotate(command, made.run.path)
        assert ended.code == 2
        assert "`annotate: {backend: csv, task: choice, per_day: 100}`" in ended.err
        assert ended.err.count("\n") == 1


def test_a_run_that_is_not_built_is_told_to_be(tmp_path, annotate):
    ended = annotate("push", make_run(tmp_path / "run", []).run.path)
    assert (ended.code, ended.out) == (2, "")
    assert "holds no verdicts yet" in ended.err


def test_two_pushes_at_once_do_not_get_into_each_others_way(tmp_path, annotate):
    made = make_run(tmp_path / "run", ["tie"])
    with made.run.locked():
        ended = annotate("push", made.run.path)
    assert ended.code == 2
    assert "another process is working in" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--cron", "every day"], "wanted five fields"), (["--cron", "0 3 * * *", "--timezone", "Mars/Base"], "time zone")],
)
def test_a_schedule_that_is_none_is_refused_before_anything_starts(tmp_path, annotate, options, said):
    ended = annotate("serve", make_run(tmp_path / "run", ["tie"]).run.path, *options)
    assert ended.code == 2
    assert said in ended.err


def test_the_command_is_found_where_it_is_looked_for(tmp_path):
    ended = pairsmith("annotate", "push", make_run(tmp_path / "run", ["tie"]).run.path, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "1 to made-choice" in ended.out


@pytest.fixture
def built(tmp_path: Path, prefect: None) -> Path:
    judge = {"kind": "pairwise", "structured": False, "model": {"engine": "scripted", "default": "Verdict: 1"}}  # it always flips
    recipe = write_recipe(tmp_path, judge=judge, annotate={"backend": "csv", "per_day": 5})
    ended = pairsmith("build", recipe)
    assert ended.code == 3, ended.err  # no pair is left
    return tmp_path / "run"


@pytest.mark.server
def test_people_make_pairs_where_the_judge_could_not_and_the_service_goes_round(built):
    from flows.annotate_service import annotate

    first = annotate(str(built), [])
    assert (first["pushed"]["sent"], first["built"]["pairs"]) == ({"small-choice": 5}, 0)
    fill_in(built, lambda row: {"choice": "1" if row["answer_1"].startswith("a good answer") else "2"})
    second = annotate(str(built), [])
    assert second["pulled"]["decided"] == 5
    assert second["built"] == {"pairs": 5, "unchanged": False, "requests": 0}
    assert second["pushed"]["sent"] == {}  # as many as a day may have went out
    pairs = [row for shard in sorted((built / "shards").iterdir()) for row in read_table(shard / "pairs.parquet").to_pylist()]
    assert {(p["chosen_model"], p["source"]) for p in pairs} == {("strong", "human")}
    third = annotate(str(built), [])
    assert third["built"] == {"pairs": 5, "unchanged": True, "requests": 0}


def to_away(made: Made, monkeypatch: pytest.MonkeyPatch, **faults: object):
    """A backend that is away for this run's commands and flows."""
    from flows import annotate
    from tests.harness.annotators import FakeBackend

    backend = FakeBackend(**faults)  # type: ignore[arg-type]
    monkeypatch.setattr(annotate, "make_backend", lambda raw, folder: backend)
    return backend


@pytest.mark.server
def test_a_backend_that_is_away_for_a_while_is_asked_again(tmp_path, prefect, monkeypatch):
    from flows.annotate_service import push

    made = make_run(tmp_path / "run", ["tie"] * 5)
    backend = to_away(made, monkeypatch, fail_after=2)
    done = push(str(made.run.path), [0.1])
    assert done is not None
    assert (done["sent"], done["again"]) == ({"made-choice": 5}, 5)
    assert len(backend.pushes) == 2
    assert len(backend.all_tasks) == 5


@pytest.mark.server
def test_a_backend_that_stays_away_stops_nothing_else(built, monkeypatch):
    from flows.annotate_service import annotate

    backend = to_away(Made(None), monkeypatch, away=True)  # type: ignore[arg-type]
    summary = annotate(str(built), [0.1])
    assert (summary["pulled"]["new"] if summary["pulled"] else None, summary["pushed"]) == (0, None)
    assert summary["built"]["requests"] == 0
    backend.away = False
    assert annotate(str(built), [])["pushed"]["sent"] == {"small-choice": 5}


def test_an_absent_backend_is_one_sentence_for_a_command(tmp_path, annotate, monkeypatch):
    made = make_run(tmp_path / "run", ["tie"] * 5)
    backend = to_away(made, monkeypatch, away=True)
    ended = annotate("push", made.run.path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "does not answer" in ended.err
    assert backend.closed


@pytest.mark.server
def test_a_server_of_ours_is_found_also_where_prefect_was_imported_before_it():
    """Checking a schedule imports Prefect, which reads the environment once; then it would start a server of its own."""
    code = (
        "import os; os.environ.pop('PREFECT_API_URL', None)\n"
        "from flows.deployments import schedule_of; schedule_of('* * * * *', None)\n"
        "from flows.server import prefect_api\n"
        "from prefect.settings import PREFECT_API_URL\n"
        "with prefect_api() as url: assert PREFECT_API_URL.value() == url, (PREFECT_API_URL.value(), url)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
