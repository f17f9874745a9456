"""Whatever a user gets wrong about a judge is one sentence with what was found, what was wanted and what to do."""

from pathlib import Path

import pytest

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.errors import PairsmithError, RecipeError
from pipeline.judges import make_judge
from pipeline.model import Model
from pipeline.recipe import check_recipe
from pipeline.settings import judge_models, place_of
from tests.harness.command import pairsmith, write_recipe

MODEL = {"engine": "scripted"}
PAIRWISE = {"kind": "pairwise", "model": MODEL}


def rubric(**fields):
    return {"kind": "rubric", "model": MODEL, "criteria": {"good": "It is good."}, **fields}


def jury(*judges):
    return {"kind": "jury", "judges": list(judges)}


def other(model, **fields):
    return {"kind": "pairwise", "model": {**MODEL, "model": model}, **fields}


BAD = {
    "a rubric without criteria": (rubric(criteria={}), ("judge: ", "without criteria", "give at least one")),
    "no criteria at all": ({"kind": "rubric", "model": MODEL}, ("lacks 'judge.criteria'", "add it")),
    "criteria as a list": (rubric(criteria=["good"]), ("judge.criteria: ", "wanted a valid dictionary")),
    "weights that are all zero": (rubric(criteria={"a": {"weight": 0}, "b": {"weight": 0}}), ("weights of all criteria are 0", "above 0")),
    "a negative weight": (rubric(criteria={"a": {"weight": -1}}), ("judge.criteria.a.weight", "found -1", "greater than or equal to 0")),
    "a weight that is no number": (rubric(criteria={"a": {"weight": float("nan")}}), ("judge.criteria.a.weight", "nan")),
    "an anchor above the scale": (rubric(criteria={"a": {"anchors": {1: "x", 7: "y"}}}), ("'a'", "anchor at 7", "1 to 5", "move one")),
    "an anchor below the scale": (rubric(criteria={"a": {"anchors": {0: "x"}}}), ("anchor at 0",)),
    "an anchor between two scores": (rubric(criteria={"a": {"anchors": {1.5: "x"}}}), ("judge.criteria.a.anchors", "1.5", "integer")),
    "a scale upside down": (rubric(scale=[5, 1]), ("`scale` is [5, 1]", "worst < best")),
    "a scale of one score": (rubric(scale=[3, 3]), ("`scale` is [3, 3]",)),
    "a scale below zero": (rubric(scale=[-2, 2]), ("`scale` is [-2, 2]", "0 <= worst")),
    "a criterion that no reply can hold": (rubric(criteria={"is it good?": ""}), ("'is it good?'", "letters")),
    "a criterion called reason": (rubric(criteria={"reason": ""}), ("'reason'", "not `reason`")),
    "two criteria that differ in case": (rubric(criteria={"Good": "", "good": ""}), ("differ in case", "rename")),
    "an unknown key of a criterion": (
        rubric(criteria={"a": {"wieght": 1}}),
        ("unknown key 'judge.criteria.a.wieght'", "did you mean 'weight'?"),
    ),
    "no samples": (rubric(samples=0), ("judge.samples", "found 0")),
    "a negative distance": (rubric(tie_within=-1), ("judge.tie_within", "found -1")),
    "a ranking of one": ({"kind": "listwise", "model": MODEL, "at_once": 1}, ("`at_once` is 1", "at least 2", "raise it")),
    "an order without its reverse": ({"kind": "listwise", "model": MODEL, "repetitions": 3}, ("`repetitions` is 3", "even")),
    "one repetition": ({"kind": "listwise", "model": MODEL, "repetitions": 1}, ("judge.repetitions", "found 1")),
    "a jury of one": (jury(PAIRWISE), ("judge: ", "at least two", "holds 1")),
    "a jury of none": (jury(), ("at least two", "holds 0")),
    "a jury without jurors": ({"kind": "jury"}, ("lacks 'judge.judges'",)),
    "jurors with one name": (jury(other("x", name="n"), other("y", name="n")), ("called 'n'", "`name` of its own")),
    "a name that is another's number": (jury(other("x", name="2"), other("y")), ("called '2'",)),
    "jurors of one name in the tables": (jury(other("x"), other("x", reason=False)), ("both called 'pairwise:x'", "give each a `name`")),
    "a juror that is heard twice": (jury(other("x", name="a"), other("x", name="b")), ("jurors a and b are the same", "weight")),
    "a name with a dot": (jury(other("x", name="a.b"), other("y")), ("judge.judges.0.name", "found 'a.b'")),
    "votes that all weigh nothing": (jury(other("x", weight=0), other("y", weight=0)), ("weights of all jurors are 0", "above 0")),
    "a vote below zero": (jury(other("x", weight=-0.5), other("y")), ("juror 1", "weight -0.5", "0 or more")),
    "a juror that is a rule": (jury(PAIRWISE, {"kind": "rule", "pattern": "x"}), ("juror 2", "asks no model", "kind: first")),
    "a juror that is a table": (jury(PAIRWISE, {"kind": "recorded", "path": "v.jsonl", "name": "t"}), ("juror t", "asks no model")),
    "a juror without a model": (jury(PAIRWISE, {"kind": "pairwise"}), ("lacks 'judge.judges.2.model'", "add it")),
    "a juror without a kind": (jury(PAIRWISE, {"model": MODEL}), ("lacks 'judge.judges.1.kind'", "add it")),
    "a juror of an unknown kind": (jury(PAIRWISE, {"kind": "rubrik"}), ("'rubrik'", "did you mean 'rubric'?")),
    "an unknown key of a juror": (jury(PAIRWISE, {**PAIRWISE, "name": "x", "promt": 1}), ("'judge.judges.x.promt'", "'prompt'")),
    "a wrong value of a juror": (jury(PAIRWISE, {**PAIRWISE, "orders": "all"}), ("judge.judges.2.orders", "'all'")),
    "a juror's model with a wrong value": (
        jury(PAIRWISE, {"kind": "pairwise", "name": "x", "model": {**MODEL, "samples": 0}}),
        ("judge.judges.x.model.samples", "found 0"),
    ),
    "a jury in a jury": (jury(other("x"), {**jury(other("y"), other("z")), "name": "inner"}), ("juror inner", "jury itself", "outer")),
    "one judge in line": ({"kind": "first", "judges": [PAIRWISE]}, ("at least two", "holds 1")),
    "a reward model as a group": ({"kind": "reward", "model": MODEL}, ("judge.model", "wanted a valid string")),
    "a reward model's folder that is not there": (
        {"kind": "reward", "model": "./none"},
        ("the judge reward:./none", "no folder none", "give"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_of_a_judge_are_one_sentence(case):
    raw, words = BAD[case]
    text = refusal(raw)
    assert [word for word in words if word not in text] == [], text


def refusal(raw):
    with pytest.raises(PairsmithError) as refused:
        made(raw)
    text = str(refused.value)
    assert "\n" not in text
    assert refused.value.exit_code == 2
    return text


def made(raw):
    recipe = {"name": "n", "prompts": {"path": "p"}, "models": {"answers": MODEL}, "pair": {"strategy": "all_pairs"}, "judge": raw}
    judge = check_recipe(recipe).judge
    with ReplyCache(Path(":memory:")) as cache:
        return make_judge(judge, {name: Model(name, s, cache, Budget()) for name, s in judge_models(judge).items()})


@pytest.mark.parametrize(
    ("kind", "inputs", "missing"),
    [
        ("pairwise", ["question", "answer_1"], r"\['answer_2'\]"),
        ("rubric", ["question", "answer"], r"\['criteria'\]"),
        ("rubric", ["question", "criteria"], r"\['answer'\]"),
        ("listwise", ["question"], r"\['answers'\]"),
    ],
)
def test_a_prompt_file_that_never_shows_what_is_judged_is_refused(kind, inputs, missing, tmp_path):
    body = "".join(f"{{{{ {name} }}}}" for name in inputs)
    example = ", ".join(f"{name}: x" for name in inputs)
    (tmp_path / "p.md").write_text(f"---\nid: p\ninputs: [{', '.join(inputs)}]\nexample: {{{example}}}\n---\n@user\n{body}\n")
    raw = {"kind": kind, "model": MODEL, "prompt": str(tmp_path / "p.md"), **({"criteria": {"a": ""}} if kind == "rubric" else {})}
    with pytest.raises(RecipeError, match=rf"judge\.prompt: .*p\.md has the inputs .* and never shows {missing}"):
        made(raw)
    with pytest.raises(RecipeError, match=r"judge\.judges\.strict\.prompt: "):
        made(jury(PAIRWISE, {**raw, "name": "strict"}))


def test_a_prompt_file_of_another_judge_is_refused():
    with pytest.raises(RecipeError, match=r"judge/pairwise wants \['answer_1', 'answer_2', 'criterion'\]; the rubric judge gives"):
        made(rubric(prompt="judge/pairwise"))


def test_a_name_below_the_judges_is_its_own():
    recipe = {"name": "n", "prompts": {"path": "p"}, "models": {"judge.x": MODEL}, "pair": {"strategy": "all_pairs"}}
    with pytest.raises(RecipeError, match=r"'judge\.x' is the judge's own"):
        check_recipe(recipe)
    assert place_of("judge.x") == "judge.judges.x.model"
    assert place_of("judge.2.x") == "judge.judges.2.judges.x.model"


def test_two_jurors_at_two_addresses_with_one_name_are_refused():
    jurors = [{"kind": "pairwise", "name": n, "model": {"engine": "openai", "model": "m", "url": f"http://{n}.example/v1"}} for n in "xy"]
    assert "'judge.x' and 'judge.y' are both called 'm'" in refusal(jury(*jurors))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("judge", "words"),
    [(rubric(criteria={}), "without criteria"), (jury(PAIRWISE), "at least two"), (jury(PAIRWISE, {"kind": "pairwise"}), "judge.judges.2")],
)
def test_the_command_says_it_and_ends_with_2(judge, words, tmp_path):
    ended = pairsmith("build", write_recipe(tmp_path, judge=judge))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert words in ended.err
