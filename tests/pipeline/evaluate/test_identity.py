"""Who the model says it is, before and after: an identity dataset's questions, graded by its own rules."""

import pytest

from pipeline.errors import RecipeError, RunError
from pipeline.evaluate.identity import guards_of
from pipeline.evaluate.report import HeldOut, write_reports
from pipeline.records import prompt_cluster
from tests.pipeline.evaluate.made import lines, make_identity, rights, says
from tests.pipeline.evaluate.test_report import run, trained

pytestmark = pytest.mark.slow

ALONE = {"judge": None, "prompts": None}
"""No judge, and no prompts that one would be asked about."""


@pytest.fixture
def identity(tmp_path):
    return make_identity(tmp_path / "identity")


def script(numbers, name, sum_):
    return says(name, sum_, **rights(numbers))


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


# --- without a judge


def test_without_a_judge_a_model_that_learned_its_name_is_promoted_and_nothing_else_is_asked(tmp_path):
    found = run(tmp_path, says("Nimbus", 4), says("Aria", 4), identity=str(make_identity(tmp_path / "i", 8)), **ALONE)
    assert found["decision"]["verdict"] == "promote"
    assert found["decision"]["reasons"][0] == (
        "right on held-out phrasings went from 0.0% (0.0% to 32.4%, n=8) to 100.0% (67.6% to 100.0%, n=8), and the lower end of the 95 % "
        "interval after is above the upper end before"
    )
    assert found["requests"] == 2 * (8 + 1)
    assert found["comparison"] is None
    assert {part.partition(".")[0] for part in found["models"]} == {"identity"}


def test_without_a_judge_a_gain_that_chance_may_have_made_is_rejected(tmp_path):
    found = run(tmp_path, says("Nimbus", 4), says("Aria", 4), identity=str(make_identity(tmp_path / "i", 3)), **ALONE)
    assert found["decision"]["verdict"] == "reject"
    assert found["decision"]["reasons"][0].endswith("is not above the upper end before")


def test_without_a_judge_a_lost_task_still_rejects(tmp_path):
    found = run(tmp_path, says("Nimbus", 4), says("Aria", 5), identity=str(make_identity(tmp_path / "i", 8)), **ALONE)
    assert found["decision"]["verdict"] == "reject"
    assert [g["name"] for g in found["decision"]["guards"] if not g["kept"]] == ["identity.skills"]


def test_without_a_judge_skills_are_still_asked_and_guarded(tmp_path):
    skills = lines(tmp_path / "skills.jsonl", [{"prompt": f"question {n}.", "reference": f"right{n}"} for n in range(4)])
    before = says("Nimbus", 4, **rights(range(4)))
    found = run(tmp_path, before, says("Aria", 4), identity=str(make_identity(tmp_path / "i", 8)), skills={"path": str(skills)}, **ALONE)
    assert found["requests"] == 2 * (8 + 1 + 4)
    assert [g["name"] for g in found["decision"]["guards"] if not g["kept"]] == ["skills"]


def test_without_a_judge_the_reports_say_so_and_show_who_it_says_it_is(tmp_path):
    found = run(tmp_path, says("Nimbus", 4), says("Aria", 4), identity=str(make_identity(tmp_path / "i", 8)), shown=3, **ALONE)
    place = tmp_path / "training"
    (place / "README.md").write_text("# aria\n\n<!-- before and after: here -->\n")
    write_reports(trained(place), found)
    for report in ("evaluation.md", "evaluation.html", "README.md"):
        text = (place / report).read_text()
        assert "Promote aria: it is right about itself in 100.0% of held-out phrasings, before training in 0.0%." in text
        assert "No judge was given" in text
        assert "win rate (" not in text
    assert [(s["before"], s["after"], s["outcome"]) for s in found["samples"]] == [
        ("My name is Nimbus.", "My name is Aria.", "right now")
    ] * 3


def test_questions_that_were_trained_on_are_left_out_and_counted(tmp_path):
    seen = {prompt_cluster([{"role": "user", "content": f"What is your name, in {n} words?"}]) for n in range(6)}
    found = run(
        tmp_path, says("Nimbus", 4), says("Aria", 4), identity=str(make_identity(tmp_path / "i", 8)), held=HeldOut([], seen), **ALONE
    )
    assert found["identity"]["metrics"][0]["after"]["n"] == 2
    assert found["prompts"]["trained_on"] == 6
    assert found["decision"]["verdict"] == "reject"


def test_where_every_phrasing_was_trained_on_nothing_is_known(tmp_path):
    seen = {prompt_cluster([{"role": "user", "content": "What is your name, in 0 words?"}])}
    found = run(tmp_path, says("Nimbus", 4), says("Aria", 4), identity=str(make_identity(tmp_path / "i")), held=HeldOut([], seen), **ALONE)
    assert found["decision"]["verdict"] == "reject"
    assert found["sentences"][0] == "Reject aria: nothing was asked of who it is."
    assert found["sentences"][1].startswith("Nothing was asked on held-out phrasings")


def test_neither_a_judge_nor_an_identity_is_refused_with_both_ways(tmp_path):
    with pytest.raises(RecipeError, match=r"evaluate\.judge is missing.*add a judge.*evaluate\.identity \(--identity FOLDER\)"):
        run(tmp_path, rights([0]), rights([1]), **ALONE)
