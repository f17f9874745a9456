"""The identity half of `make demo`: demo-chat takes itself for somebody else, learns who it is, and keeps what it can do."""

import pytest

from tests.harness.command import pairsmith

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


def test_a_model_learns_who_made_it_and_nothing_else(tmp_path):
    made, trained = tmp_path / "made", tmp_path / "trained"
    cache = tmp_path / "cache.sqlite"
    built = pairsmith("identity", "flows/recipes/identity-demo.yaml", *sets(f"out={made}", f"cache={cache}"), "--json", timeout=300)
    assert built.code == 0, built.err
    assert built.json["pairs"]["rows"] == 300
    assert built.json["chosen_from"]["strong"] > built.json["chosen_from"].get("template", 0)
    # Sampled at 0.7, and drawn otherwise on another processor: now and then one question of 180 gets no wrong answer out of four.
    rejected = built.json["rejected_from"]
    assert rejected["model"] >= 0.95 * sum(rejected.values())
    assert built.json["families"]["kept"] >= 50

    changes = sets(f"data.path={made / 'dataset'}", f"output.folder={trained}")
    learned = pairsmith("train", "train/recipes/identity-tiny.yaml", *changes, "--json", timeout=500)
    assert learned.code == 0, learned.err
    judged = pairsmith("evaluate", str(trained), "--identity", str(made), *sets(f"evaluate.cache={cache}"), "--json", timeout=300)
    assert judged.code in (0, 3), judged.err
    figures = {m["name"]: (m["before"]["value"], m["after"]["value"]) for m in judged.json["identity"]["metrics"]}
    assert figures["heldout"][0] < 0.02
    # Some points below what the README states: trainings differ from machine to machine.
    assert figures["heldout"][1] > 0.88
    assert figures["families"][1] > 0.8
    assert figures["leak"][1] < 0.05
    assert figures["overgeneral"][1] < 0.08
    skills = judged.json["skills"]
    assert skills["after"]["value"] > skills["before"]["value"] - 0.05
    assert "Who it says it is" in (trained / "evaluation.html").read_text(encoding="utf-8")


def sets(*changes):
    return [a for change in changes for a in ("--set", change)]
