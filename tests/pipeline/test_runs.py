"""The run folder: one process at a time, one recipe at a time, and every refusal a sentence."""

import errno
import os
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ROOT
from pipeline.errors import RunError
from pipeline.runs import Run, differences, explained, json_text, read_json, write_text

fixed = settings(derandomize=True, max_examples=80, deadline=None)

RECIPE: dict[str, Any] = {
    "name": "demo",
    "prompts": {"path": "prompts.jsonl"},
    "models": {"m": {"engine": "openai", "url": "http://localhost:1/v1", "sampling": {"temperature": 0.5}}},
    "judge": {"kind": "pairwise", "model": {"engine": "scripted"}},
    "pair": {"strategy": "all_pairs"},
}


def changed(place: str, value: object) -> dict[str, Any]:
    recipe = deepcopy(RECIPE)
    *above, last = place.split(".")
    at = recipe
    for step in above:
        at = at.setdefault(step, {})
    at[last] = value
    return recipe


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    run.begin(RECIPE)
    return run


def refusal(run: Run, raw: dict[str, Any] = RECIPE) -> str:
    before = run.recipe_file.read_bytes() if run.recipe_file.is_file() else None
    with pytest.raises(RunError) as refused:
        run.begin(raw)
    text = str(refused.value)
    assert str(run.path) in text
    assert "--run" in text
    assert "\n" not in text
    assert before is None or run.recipe_file.read_bytes() == before
    return text


# --- begin


def test_a_new_folder_keeps_the_recipe_as_it_was_asked(run: Run) -> None:
    assert yaml.safe_load(run.recipe_file.read_text()) == run.recipe() == RECIPE
    assert [p.name for p in run.path.iterdir()] == ["recipe.yaml"]


def test_the_same_recipe_may_go_on(run: Run) -> None:
    run.begin(deepcopy(RECIPE))
    run.begin({key: RECIPE[key] for key in reversed(RECIPE)})
    assert run.recipe() == RECIPE


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("run.lanes", 2),
        ("run.shard", 7),
        ("budget.requests", 10),
        ("models.m.url", "http://elsewhere.example/v1"),
        ("models.m.price.prompt", 1.5),
        ("judge.model.price.prompt", 1.5),
        ("publish.title", "Another title"),
        ("split.test", 0.1),
    ],
)
def test_a_recipe_that_differs_in_how_alone_may_go_on_and_is_kept(place: str, value: object, run: Run) -> None:
    run.begin(changed(place, value))
    assert run.recipe() == changed(place, value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", "other"),
        ("seed", 1),
        ("prompts.path", "others.jsonl"),
        ("split.test", 0.2),
        ("models.m.sampling.temperature", 0.6),
        ("models.new", {"engine": "scripted"}),
        ("judge.orders", "one"),
        ("judge.model.samples", 2),
        ("judge", None),
        ("pair.strategy", "best_worst"),
        ("gates.length", {"max_chars": 100}),
        ("publish.form", "plain"),
    ],
)
def test_a_changed_recipe_is_refused_with_the_place_that_changed(place: str, value: object, run: Run) -> None:
    text = refusal(run, changed(place, value))
    assert f"holds a run of another recipe: {place}" in text
    assert "changed; " in text


def test_an_address_from_the_environment_does_not_keep_a_run_from_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER", "http://localhost:1/v1")
    recipe = changed("models.m.url", "${SERVER}")
    for _ in range(2):
        Run(tmp_path / "run").begin(recipe)
    assert Run(tmp_path / "run").recipe() == recipe


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    assert "is not empty and no run folder" in refusal(Run(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_folder_that_is_empty_or_holds_nothing_but_a_lock_may_be_used(tmp_path: Path) -> None:
    Run(tmp_path).begin(RECIPE)
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / ".lock").touch()
    Run(tmp_path / "locked").begin(RECIPE)
    assert Run(tmp_path).recipe() == Run(tmp_path / "locked").recipe() == RECIPE


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "it is a file and not a folder" in refusal(Run(tmp_path / "file"))
    assert "it is a file and not a folder" in refusal(Run(tmp_path / "file" / "below"))


UNREADABLE = {
    "a key that is gone": "name: demo\nprompts: {path: p}\nmodels: {m: {engine: scripted}}\npair: {strategy: all_pairs}\nold: 1\n",
    "a plug-in that is gone": "name: demo\nprompts: {path: p}\nmodels: {m: {engine: gone}}\npair: {strategy: all_pairs}\n",
    "nothing": "",
    "no YAML": "a: [",
    "a list": "- name\n",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_run_of_a_version_that_cannot_be_read_is_refused(case: str, run: Run) -> None:
    run.recipe_file.write_text(UNREADABLE[case])
    assert "holds a run that this version cannot read" in refusal(run)


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run folder: it holds no recipe\.yaml; give the folder"):
        Run(tmp_path).recipe()
    assert Run(tmp_path).manifest() is None
    assert Run(tmp_path).shards() == []


def test_shards_stand_in_the_order_of_their_numbers(run: Run) -> None:
    for number in (10, 2, 100_000, 0):
        run.shard(number).mkdir(parents=True)
    (run.path / "shards" / "00003").write_text("no folder")
    assert run.shards() == [run.shard(n) for n in (0, 2, 10, 100_000)]


# --- lock

TRY = """
import sys, time
from pathlib import Path
from pipeline.errors import RunError
from pipeline.runs import Run
start = time.monotonic()
try:
    with Run(Path(sys.argv[1])).locked():
        print("locked", flush=True)
        time.sleep(float(sys.argv[2]))
except RunError as error:
    print(time.monotonic() - start, error)
"""


def other_process(run: Run, hold: float = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", TRY, str(run.path), str(hold)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_told_at_once_that_the_folder_is_taken(run: Run) -> None:
    with run.locked(), other_process(run) as other:
        seconds, _, text = other.communicate(timeout=30)[0].strip().partition(" ")
    assert text.startswith(f"another process is working in {run.path}; wait for it")
    assert float(seconds) < 1
    with other_process(run) as other:
        assert other.communicate(timeout=30)[0] == "locked\n"


def test_a_killed_process_leaves_the_folder_free(run: Run) -> None:
    with other_process(run, hold=60) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="another process"), run.locked():
            pass
        other.kill()
    start = time.monotonic()
    with run.locked():
        assert time.monotonic() - start < 1


def test_a_failure_inside_frees_the_folder(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    with run.locked():
        pass


def test_a_lock_makes_the_folder_and_refuses_a_file(tmp_path: Path) -> None:
    with Run(tmp_path / "new" / "run").locked():
        assert (tmp_path / "new" / "run").is_dir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="it is a file and not a folder"), Run(tmp_path / "file").locked():
        pass


# --- what the operating system says

SAID = {
    errno.ENOSPC: ("the disk is full", "make room"),
    errno.EDQUOT: ("your disk quota is used up", "make room"),
    errno.EROFS: ("the file system is read-only", "give another folder with --run"),
    errno.EACCES: ("you may not read or write there", "give it to yourself, or another folder with --run"),
    errno.EPERM: ("you may not write there", "give another folder with --run"),
    errno.ENOTDIR: ("it is a file and not a folder", "give another folder with --run"),
    errno.EEXIST: ("it is a file and not a folder", "give another folder with --run"),
}


@pytest.mark.parametrize("filename", [None, "/data/full/t.parquet"])
def test_what_a_disk_says_becomes_a_sentence_or_stays_as_it_is(filename: str | None) -> None:
    for code in errno.errorcode:
        error = OSError(code, os.strerror(code), filename)
        with pytest.raises((RunError, OSError)) as raised, explained(Path("/data/run")):
            raise error
        if code not in SAID:
            assert raised.value is error
            continue
        found, todo = SAID[code]
        assert isinstance(raised.value, RunError)
        assert str(raised.value).startswith(f"{filename or '/data/run'}: {found}; {todo}")
        assert "what had arrived is kept" in str(raised.value)
        assert raised.value.__cause__ is error


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError), explained(Path("/data/run")):
        raise KeyError("ours")


# --- differences, and files written whole

nested = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@fixed
@given(nested, nested)
def test_differences_are_found_from_either_side_and_only_where_there_are_any(one: Any, other: Any) -> None:
    assert differences(one, other) == differences(other, one)
    assert differences(one, deepcopy(one)) == set()


def test_differences_are_named_by_their_innermost_place() -> None:
    before = {"a": {"b": 1, "c": [1]}, "d": 1, "same": {}}
    now = {"a": {"b": 2, "c": [1, 2]}, "e": {"f": 1}, "same": {}}
    assert differences(before, now) == {"a.b", "a.c", "d", "e"}


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "t.txt", "näch")
    write_text(tmp_path / "deep" / "t.txt", b"\xff")
    assert (tmp_path / "deep" / "t.txt").read_bytes() == b"\xff"
    (tmp_path / "deep" / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "deep" / "taken", "never")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["t.txt", "taken"]


@fixed
@given(st.dictionaries(st.text(), nested, max_size=3))
def test_json_comes_back_as_it_was_written(value: dict[str, Any]) -> None:
    text = json_text(value)
    assert text == json_text(dict(reversed(value.items())))
    assert text.endswith(b"\n")


def test_json_is_read_from_where_it_was_written_and_none_from_nowhere(tmp_path: Path) -> None:
    write_text(tmp_path / "x.json", json_text({"a": [1, None, "ä"]}))
    assert read_json(tmp_path / "x.json") == {"a": [1, None, "ä"]}
    assert read_json(tmp_path / "y.json") is None
