"""Whoever loads `current` finds a whole model at any moment, and what was there before stays for a rollback."""

import json
import os
import sys

import pytest

from pipeline.errors import RunError
from pipeline.evaluate.releases import Releases


@pytest.fixture
def releases(tmp_path):
    return Releases(tmp_path / "models")


def weights(folder, text):
    place = folder / f"weights-{text}"
    place.mkdir(exist_ok=True)
    (place / "adapter_model.safetensors").write_text(text)
    (place / "training_args.bin").write_text("a pickle")
    (place / "checkpoint-5").mkdir(exist_ok=True)
    return place


def promote(releases, folder, text):
    with releases.locked():
        release = releases.stage(weights(folder, text), {"name": text, "kind": "adapter"})
        releases.switch(release, "promote")
    return release


def current_text(releases):
    return (releases.home / "current" / "adapter_model.safetensors").read_text()


def test_the_first_promotion_has_nothing_before_it(releases, tmp_path):
    release = promote(releases, tmp_path, "one")
    assert current_text(releases) == "one"
    assert releases.before(release) is None
    assert not (releases.home / "previous").exists()


def test_the_former_model_stays_and_comes_back(releases, tmp_path):
    promote(releases, tmp_path, "one")
    two = promote(releases, tmp_path, "two")
    assert current_text(releases) == "two"
    assert (releases.home / "previous" / "adapter_model.safetensors").read_text() == "one"
    releases.switch(releases.before(two), "rollback")
    assert current_text(releases) == "one"
    assert not (releases.home / "previous").exists()
    history = [json.loads(line) for line in (releases.home / "history.jsonl").read_text().splitlines()]
    assert [(row["what"], row["name"]) for row in history] == [("promote", "one"), ("promote", "two"), ("rollback", "one")]


def test_what_is_promoted_after_a_rollback_goes_back_to_what_was_rolled_back_to(releases, tmp_path):
    promote(releases, tmp_path, "one")
    two = promote(releases, tmp_path, "two")
    releases.switch(releases.before(two), "rollback")
    three = promote(releases, tmp_path, "three")
    assert (three.number, releases.before(three).about["name"]) == (3, "one")


def test_a_release_is_a_copy_without_pickles_and_checkpoints(releases, tmp_path):
    release = promote(releases, tmp_path, "one")
    weights(tmp_path, "one").joinpath("adapter_model.safetensors").write_text("trained again")
    assert current_text(releases) == "one"
    assert sorted(p.name for p in release.path.iterdir()) == ["adapter_model.safetensors", "release.json"]


CHANGES = ("open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "shutil.rmtree", "shutil.copyfile")


def killed_at(call, home, work):
    """Do the work in a process of its own that is gone before its n-th change under `home`; its exit code."""
    if not (child := os.fork()):
        left = [call]

        def dies(event, args):
            changes = event in CHANGES and (event != "open" or args[2] & os.O_CREAT)
            if changes and str(home) in " ".join(map(str, args)):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)

        sys.addaudithook(dies)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_a_process_that_is_killed_before_any_change_leaves_a_whole_current(tmp_path):
    """`current` is the old model or the new one, whole; and the next promotion works."""
    seen = set()
    for call in range(1, 40):
        releases = Releases(tmp_path / f"models-{call}")
        promote(releases, tmp_path, "old")
        code = killed_at(call, releases.home, lambda releases=releases: promote(releases, tmp_path, "new"))
        assert current_text(releases) == releases.current().about["name"]
        seen.add(current_text(releases))
        promote(releases, tmp_path, "later")
        assert current_text(releases) == "later"
        if code == 0:
            break
    assert code == 0, "more changes than were tried"
    assert call > 6
    assert seen == {"old", "new"}


def test_a_folder_of_the_users_is_not_replaced(releases, tmp_path):
    (releases.home / "current").mkdir(parents=True)
    with pytest.raises(RunError, match="is no link of ours"):
        releases.current()


def test_two_processes_do_not_promote_at_once(releases):
    with releases.locked(), pytest.raises(RunError, match="another process is promoting"), Releases(releases.home).locked():
        pass
