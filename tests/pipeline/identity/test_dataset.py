"""The command and its folder: a dataset that loads, tables for evaluation, and a sentence where something is wrong."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.identity import engine_of, slug
from pipeline.errors import EngineError, InputError, PairsmithError, RecipeError, RunError
from pipeline.identity.dataset import EVALUATION, read_evaluation
from pipeline.identity.facts import Facts
from pipeline.tables import read_table
from tests.harness.stub_server import stub_server
from tests.pipeline.identity.made import command

pytestmark = pytest.mark.slow


def summary_of(folder: Path) -> Any:
    return orjson.loads((folder / "summary.json").read_bytes())


def test_a_folder_holds_a_dataset_and_its_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(tmp_path / "aria", pairs=60, languages="en,de")
    printed = orjson.loads(capsys.readouterr().out)
    summary = summary_of(tmp_path / "aria")
    assert {**printed, "folder": None, "failed": {}} == {**summary, "folder": None, "failed": {}}
    assert summary["pairs"]["rows"] == 60
    assert sum(summary["languages"].values()) == sum(summary["kinds"].values()) == 60
    # 30 pairs a language; 35 % of 30 is 10 contrast pairs, which no model is asked for.
    assert summary["chosen_from"] == summary["rejected_from"] == {"template": 60 - 2 * 10}
    assert summary["stages"][0]["in"] == summary["pairs"]["rows"] + sum(d["rows"] for d in summary["dropped"])
    rows, facts = read_evaluation(tmp_path / "aria")
    assert facts == Facts("Aria", "Northwind Labs")
    assert list(rows[0]) == EVALUATION.names
    assert sum(summary["evaluation"].values()) == len(rows)


def test_the_dataset_loads_as_trl_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    command(tmp_path / "aria", pairs=60)
    loaded = load_dataset(str(tmp_path / "aria" / "dataset"), cache_dir=str(tmp_path / "cache"))
    row = loaded["train"][0]
    assert row["chosen"][0]["role"] == row["rejected"][0]["role"] == "assistant"
    assert row["prompt"][-1]["role"] == "user"
    assert len(loaded["train"]) + len(loaded["test"]) == 60


def test_the_same_command_writes_the_same_rows(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        command(tmp_path / folder, pairs=40)
    a, b = (tmp_path / f / "pairs.parquet" for f in ("a", "b"))
    assert read_table(a).equals(read_table(b))
    assert (tmp_path / "a" / "dataset" / "README.md").read_text() == (tmp_path / "b" / "dataset" / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": ""}, "name is empty"),
        ({"maker": "  \u3000"}, "maker is empty"),
        ({"name": "x" * 201}, "201 characters"),
        ({"name": "a\u0000b"}, "U\\+0000"),
        ({"languages": "xx"}, "no language 'xx'"),
        ({"languages": ","}, "languages is empty"),
        ({"languages": "en,en"}, "named twice"),
        ({"pairs": 0}, "wanted at least 1"),
        ({"pairs": 10**6}, "wanted at most 100000"),
        ({"contrast": 1.5}, "from 0 to 0.9"),
        ({"model": "no/such/folder"}, "--model no/such/folder: no such folder"),
        ({"facts": "no-such.yaml"}, "cannot read no-such.yaml"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(PairsmithError, match=says) as error:
        command(tmp_path / "out", **given)
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "holds list"),
        ("a: [1]", "'a' is list"),
        ("a: true", "'a' is bool"),
        ("a: ''", "is empty"),
        ("{", "not YAML"),
        (f"a: {'x' * 300}", "300"),
    ],
)
def test_facts_that_are_none_are_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "facts.yaml").write_text(text)
    with pytest.raises((InputError, RecipeError), match=says):
        command(tmp_path / "out", facts=str(tmp_path / "facts.yaml"))


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"thesis\.txt"):
        command(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_every_name_has_a_folder_of_its_own() -> None:
    names = ["Aria", "ARIA", "北风", "晨星", "🦊", "../../etc", "a/b", ".*", "x" * 200]
    found = [slug(name, "Maker") for name in names]
    assert len(set(found)) == len(names)
    assert all(set(s) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and s for s in found)


def test_a_server_is_asked_once_and_what_it_says_is_counted(tmp_path: Path) -> None:
    with stub_server() as server:
        place = f"{server.url}#weak"
        for _ in range(2):
            command(tmp_path / "out", pairs=20, model=place, strong=f"{server.url}#strong")
    summary = summary_of(tmp_path / "out")
    # The stub says nothing about itself: never right for chosen, wrong enough for rejected where a name was asked for.
    assert summary["chosen_from"] == {"template": 13}
    assert summary["rejected_from"].get("model", 0) >= 10
    assert summary["usage"]["total"]["requests"] == 0
    # The strong one is asked twice, under either prompt; the other four times, but once for each of 7 contrast questions and more tasks.
    asked = {side: used["cached"] for side, used in summary["usage"]["models"].items()}
    assert asked["strong"] == 13 * 2
    assert 13 * 4 + 7 < asked["model"] < 13 * 4 + 7 * 6


def test_a_server_that_is_not_there_or_has_several_models_is_one_sentence() -> None:
    with pytest.raises(EngineError, match="gives no list of its models"):
        engine_of("model", "http://127.0.0.1:9/v1")
    with stub_server() as server, pytest.raises(RecipeError, match="name one"):
        engine_of("model", server.url)
