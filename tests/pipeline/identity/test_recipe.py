"""The recipe of an identity dataset: it says what the options say, and what is wrong in it is one sentence."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.identity import identity_command, read_identity
from pipeline import ROOT
from pipeline.errors import PairsmithError, RecipeError
from pipeline.identity.recipe import check_identity
from pipeline.tables import read_table
from tests.harness.stub_server import stub_server
from tests.pipeline.identity.made import command

OURS = "flows/recipes/identity.yaml"

SMALL = {"name": "Aria", "maker": "Northwind Labs", "pairs": 20}

STRONG = {"engine": "scripted"}


@pytest.mark.slow
def test_the_recipe_that_we_ship_makes_the_pairs_of_its_options(tmp_path: Path) -> None:
    identity_command(OURS, ["pairs=40", "facts=null"], as_json=True, out=str(tmp_path / "a"))
    command(tmp_path / "b", pairs=40)
    a, b = (read_table(tmp_path / f / "pairs.parquet") for f in ("a", "b"))
    assert a.equals(b)


def test_our_recipe_with_its_comments_taken_away_is_one() -> None:
    text = (ROOT / OURS).read_text(encoding="utf-8")
    whole = "\n".join(
        line.removeprefix("# ") if line.startswith(("# ", "#   ")) and ":" in line else line for line in text.splitlines()[2:]
    )
    from pipeline.recipe import read_yaml

    recipe = check_identity(read_yaml(whole))
    assert recipe.strong is not None
    assert recipe.model is not None
    assert recipe.judge is not None
    assert recipe.keep is not None
    assert recipe.paraphrase > 0


def test_options_hold_over_the_recipe_and_changes() -> None:
    raw = read_identity(OURS, ["pairs=50", "maker=Kestrel"], {"name": "Orban", "pairs": 60, "languages": "en, de", "seed": None})
    assert (raw["name"], raw["maker"], raw["pairs"], raw["languages"], raw["seed"]) == ("Orban", "Kestrel", 60, ["en", "de"], 0)


@pytest.mark.slow
def test_the_folder_keeps_the_recipe_and_it_makes_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "Northwind Labs")
    command(tmp_path / "a", maker="${WHO}", facts=None, pairs=20)
    kept = tmp_path / "a" / "recipe.yaml"
    assert "${WHO}" in kept.read_text(encoding="utf-8")
    identity_command(str(kept), as_json=True, out=str(tmp_path / "b"))
    assert (tmp_path / "b" / "pairs.parquet").read_bytes() == (tmp_path / "a" / "pairs.parquet").read_bytes()


def test_facts_in_the_recipe_are_those_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text("released: 2026\nplace: Oslo\n")
    inside, beside = ({**SMALL, "facts": facts} for facts in ({"released": 2026, "place": "Oslo"}, str(tmp_path / "facts.yaml")))
    assert check_identity(inside).true() == check_identity(beside).true()
    assert check_identity(inside).key() == check_identity(beside).key()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mkaer": "x"}, "unknown key 'mkaer' in the recipe; did you mean 'maker'?"),
        ({"maker": None}, "maker: found None"),
        ({"name": 42}, "name: found 42"),
        ({"pairs": "many"}, "pairs: found 'many'"),
        ({"pairs": 0}, "pairs 0: wanted at least 1"),
        ({"languages": "en"}, "languages: found 'en'"),
        ({"languages": ["xx"]}, "no language 'xx'"),
        ({"facts": {"released": ["2026"]}}, "'released' is list"),
        ({"facts": ["released"]}, "facts"),
        ({"facts": "no-such.yaml"}, "cannot read no-such.yaml"),
        ({"strong": "a-model"}, "strong: found 'a-model'"),
        ({"strong": {}}, "strong: found no 'engine'"),
        ({"strong": {"engine": "opnai"}}, "did you mean 'openai'?"),
        ({"strong": {**STRONG, "smaples": 2}}, "unknown key 'strong.smaples' in the recipe; did you mean 'samples'?"),
        ({"model": {**STRONG, "samples": 0}}, "model.samples"),
        ({"paraphrase": 3}, "there is none; give `strong`"),
        ({"strong": STRONG, "paraphrase": 11}, "paraphrase: found 11"),
        ({"chosen_by": "vote"}, "chosen_by: found 'vote'"),
        ({"chosen_by": "judge"}, "add `strong: …`"),
        ({"chosen_by": "judge", "strong": STRONG, "model": STRONG}, "add `judge: …`"),
        ({"judge": {"kind": "pairwize"}}, "did you mean 'pairwise'?"),
        ({"judge": {"kind": "pairwise", "model": {"engine": "scripted", "url": 1}}}, "judge.model"),
        ({"budget": {"requests": 0}}, "budget.requests"),
        ({"keep": {"path": "mine.jsonl"}}, "there is none; give `model`"),
        ({"keep": {"path": "mine.jsonl"}, "model": STRONG, "contrast": 0}, "contrast 0 there are none"),
        ({"keep": {"path": "mine.jsonl"}, "model": STRONG, "pairs": 1}, "pairs 1 and contrast 0.35 there are none"),
        ({"keep": {"pth": "mine.jsonl"}, "model": STRONG}, "keep.pth"),
        ({"keep": "mine.jsonl", "model": STRONG}, "keep: found 'mine.jsonl'"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_recipe_is_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PairsmithError) as error:
        check_identity({**SMALL, **changes})
    assert says in str(error.value)
    assert error.value.exit_code == 2


def test_two_servers_with_one_models_name_are_told_apart() -> None:
    sides = {
        side: {"engine": "openai", "url": f"http://localhost:{port}/v1", "model": "llm"} for side, port in (("strong", 1), ("model", 2))
    }
    with pytest.raises(RecipeError, match="both called 'llm'"):
        check_identity({**SMALL, **sides})


def test_a_value_from_the_environment_is_in_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_PLACE", "hush")
    with pytest.raises(RecipeError) as error:
        check_identity({**SMALL, "strong": {"engine": "${SECRET_PLACE}"}})
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("recipe", "changes", "options", "says"),
    [
        (None, [], {"maker": "x"}, "--name is missing"),
        (None, [], {"name": "x"}, "--maker is missing"),
        (None, ["pairs=3"], {"name": "x", "maker": "y"}, "there is no recipe to change"),
        ("no/such.yaml", [], {}, "no recipe at no/such.yaml"),
        ("flows/recipes/recorded.yaml", [], {}, "unknown key"),
        (OURS, ["pairs"], {}, "wanted KEY=VALUE"),
    ],
)
def test_a_command_that_lacks_something_is_one_sentence(recipe: str | None, changes: list[str], options: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        read_identity(recipe, changes, options)


def test_what_only_says_how_changes_no_key() -> None:
    plain = check_identity(SMALL)
    how = check_identity({**SMALL, "budget": {"requests": 9}, "out": "somewhere", "cache": "elsewhere"})
    assert plain.key() == how.key()
    assert plain.key() != check_identity({**SMALL, "seed": 1}).key()


@pytest.mark.slow
def test_a_budget_that_is_spent_is_one_sentence_and_more_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    places = {"out": str(tmp_path / "out"), "cache": str(tmp_path / "cache.sqlite")}
    file.write_bytes(orjson.dumps({**SMALL, **places, "strong": STRONG, "budget": {"requests": 5}}))
    with pytest.raises(PairsmithError, match="budget of 5 requests is used up"):
        identity_command(str(file), as_json=True)
    assert not (tmp_path / "out").exists()
    identity_command(str(file), ["budget.requests=1000"], as_json=True)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["usage"]["total"]["cached"] >= 5


@pytest.mark.slow
def test_a_models_own_system_message_stands_in_place_of_ours(tmp_path: Path) -> None:
    with stub_server() as server:
        strong = {"engine": "openai", "url": server.url, "model": "strong", "system": "You are Aria. Northwind Labs made you."}
        recipe = {**SMALL, "strong": strong, "contrast": 0, "out": str(tmp_path / "out"), "cache": str(tmp_path / "cache.sqlite")}
        (tmp_path / "recipe.yaml").write_bytes(orjson.dumps(recipe))
        identity_command(str(tmp_path / "recipe.yaml"), as_json=True)
        stats = server.stats()
    # Once each: there is no shorter prompt of ours to fall back to.
    assert stats["requests"] == 20
    assert [m["content"] for m in stats["last"]["messages"] if m["role"] == "system"] == ["You are Aria. Northwind Labs made you."]
