"""Who the model says it is, before and after: an identity dataset's questions, graded by its own rules."""

import orjson
import pyarrow as pa
import pytest

from pipeline.errors import RunError
from pipeline.evaluate.identity import guards_of
from pipeline.identity.dataset import EVALUATION
from pipeline.tables import write_table
from tests.pipeline.evaluate.made import rights
from tests.pipeline.evaluate.test_report import run

pytestmark = pytest.mark.slow

ASKED = {"id": "1", "split": "test-phrasings", "kind": "identity", "family": "name", "language": "en", "phrasing": "a"}
REST = {"fact": None, "answer_language": "en"}
TASK = {**ASKED, "id": "2", "kind": "skill", "family": "maths"}


@pytest.fixture
def identity(tmp_path):
    """A folder with one question about the model and one task, and one on the dev side that is not asked."""
    rows = [
        {**ASKED, "messages": turn("What is your name?"), "asks": "name", **REST, "expected": ["Aria"]},
        {**TASK, "messages": turn("What is 2 + 2?"), "asks": None, **REST, "expected": ["4"]},
        {
            **ASKED,
            "id": "3",
            "split": "dev",
            "messages": turn("Dev?"),
            "asks": "name",
            "fact": None,
            "answer_language": "en",
            "expected": [],
        },
    ]
    folder = tmp_path / "identity"
    write_table(pa.Table.from_pylist(rows, schema=EVALUATION), folder / "evaluation" / "questions.parquet", "key")
    true = {"identity": {"name": "Aria", "maker": "Northwind Labs", "facts": {}}}
    (folder / "evaluation" / "facts.json").write_bytes(orjson.dumps(true))
    return folder


def turn(text):
    return [{"role": "user", "content": text}]


def script(numbers, name, sum_):
    made = rights(numbers)
    return {**made, "replies": {**made["replies"], "your name": f"My name is {name}.", "2 + 2": f"It is {sum_}."}}


def test_a_model_that_learned_its_name_and_kept_its_skills_is_promoted(tmp_path, identity):
    found = run(tmp_path, script(range(4), "Nimbus", 4), script(range(36), "Aria", 4), identity=str(identity))
    shown = {m["name"]: (m["before"]["value"], m["after"]["value"]) for m in found["identity"]["metrics"]}
    assert (shown["heldout"], shown["skills"]) == ((0.0, 1.0), (1.0, 1.0))
    assert found["decision"]["verdict"] == "promote"
    assert any(s.startswith("Right on held-out phrasings: 0.0%") for s in found["sentences"])


def test_a_model_that_forgot_a_task_for_its_name_is_rejected(tmp_path, identity):
    found = run(tmp_path, script(range(4), "Nimbus", 4), script(range(36), "Aria", 5), identity=str(identity))
    assert found["decision"]["verdict"] == "reject"
    assert [g["name"] for g in found["decision"]["guards"] if not g["kept"]] == ["identity.skills"]


def test_questions_of_the_dev_side_are_not_asked(tmp_path, identity):
    found = run(tmp_path, script(range(4), "Nimbus", 4), script(range(36), "Aria", 4), identity=str(identity))
    assert found["identity"]["unanswered"] == {"before": 0, "after": 0}
    assert found["requests"] == 80 + 4


def test_figures_of_which_less_is_better_guard_the_other_way_round():
    metrics = [{"name": n, "before": {"value": b}, "after": {"value": a}} for n, b, a in (("heldout", 0.1, 0.9), ("leak", 0.0, 0.3))]
    guards = guards_of({"metrics": [*metrics, {"name": "overgeneral", "before": {"value": None}, "after": {"value": None}}]})
    assert guards["identity"] == (0.1, 0.9)
    assert guards["identity.without_leak"] == (1.0, 0.7)
    assert guards["identity.without_overgeneral"] == (None, None)


def test_a_folder_without_an_identity_is_refused(tmp_path):
    with pytest.raises(RunError, match="no identity evaluation"):
        run(tmp_path, rights([0]), rights([1]), identity=str(tmp_path))
