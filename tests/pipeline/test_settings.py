"""The recipe: closed, explained, and split into what is made and how. A wrong recipe is one sentence with the place in it."""

import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline import settings as module
from pipeline.errors import RecipeError
from pipeline.plugins import load_plugin, plugin_names
from pipeline.recipe import check_recipe, expand, load_recipe
from pipeline.runs import Run
from pipeline.settings import Anything, Closed, How, Recipe, digest


def recipe(**changes: Any) -> Anything:
    base: Anything = {
        "name": "demo",
        "prompts": {"path": "prompts.jsonl"},
        "models": {"m": {"engine": "scripted", "role": "strong"}, "w": {"engine": "scripted", "role": "weak"}},
        "pair": {"strategy": "all_pairs"},
    }
    return {**base, **changes}


def judged(**model: Any) -> Anything:
    return recipe(judge={"kind": "pairwise", "model": {"engine": "scripted", **model}})


def complaint(raw: Anything) -> str:
    with pytest.raises(RecipeError) as refused:
        check_recipe(raw)
    return single(str(refused.value))


def single(text: str) -> str:
    assert "\n" not in text
    return text


UNKNOWN_KEYS: dict[str, tuple[Anything, str]] = {
    "promts": (recipe(promts={}), "prompts"),
    "prompts.pth": (recipe(prompts={"path": "p", "pth": 1}), "path"),
    "split.tset": (recipe(split={"tset": 0.1}), "test"),
    "publish.licence": (recipe(publish={"licence": "mit"}), "license"),
    "budget.dollar": (recipe(budget={"dollar": 1}), "dollars"),
    "run.shards": (recipe(run={"shards": 1}), "shard"),
    "models.m.smaples": (recipe(models={"m": {"engine": "scripted", "smaples": 2}}), "samples"),
    "models.m.sampling.temprature": (recipe(models={"m": {"engine": "scripted", "sampling": {"temprature": 1}}}), "temperature"),
    "models.m.price.promt": (recipe(models={"m": {"engine": "scripted", "price": {"promt": 1}}}), "prompt"),
    "judge.order": (recipe(judge={"kind": "pairwise", "model": {"engine": "scripted"}, "order": "one"}), "orders"),
    "judge.model.smaples": (judged(smaples=2), "samples"),
    "judge.model.sampling.max_token": (judged(sampling={"max_token": 2}), "max_tokens"),
    "pair.min_margn": (recipe(pair={"strategy": "margin", "min_margin": 1, "min_margn": 2}), "min_margin"),
    "gates.similar.max_ration": (recipe(gates={"similar": {"max_ration": 0.9}}), "max_ratio"),
}


@pytest.mark.parametrize("place", UNKNOWN_KEYS)
def test_an_unknown_key_is_named_with_the_nearest_known_one(place: str) -> None:
    raw, nearest = UNKNOWN_KEYS[place]
    assert f"unknown key '{place}' in the recipe; did you mean '{nearest}'? Known: " in complaint(raw)


UNKNOWN_PLUGINS: dict[str, tuple[Anything, str]] = {
    "scriptd": (recipe(models={"m": {"engine": "scriptd"}}), "engines"),
    "scriped": (judged(engine="scriped"), "engines"),
    "pairwize": (recipe(judge={"kind": "pairwize"}), "judges"),
    "margn": (recipe(pair={"strategy": "margn"}), "strategies"),
    "simlar": (recipe(gates={"simlar": {}}), "gates"),
}


@pytest.mark.parametrize("name", UNKNOWN_PLUGINS)
def test_an_unknown_plugin_is_named_with_the_choices(name: str) -> None:
    raw, room = UNKNOWN_PLUGINS[name]
    text = complaint(raw)
    assert f"'{name}' in pipeline/{room}; did you mean '" in text
    assert [n for n in plugin_names(room) if n not in text] == []  # type: ignore[arg-type]


WRONG: dict[str, tuple[Anything, tuple[str, ...]]] = {
    "a text for a number": (recipe(seed="many"), ("seed: ", "found 'many'", "wanted a valid integer")),
    "a fraction for a count": (recipe(seed=1.5), ("seed: ", "found 1.5", "wanted a valid integer")),
    "a number for a text": (recipe(name=5), ("name: ", "found 5", "wanted a valid string")),
    "a text for a group": (recipe(prompts="p.jsonl"), ("prompts: ", "found 'p.jsonl'", "wanted")),
    "a text for a list": (recipe(publish={"language": "en"}), ("publish.language: ", "found 'en'", "wanted a valid list")),
    "out of range": (recipe(split={"test": 2}), ("split.test: ", "found 2", "wanted less than or equal to 0.9")),
    "not a number": (recipe(split={"test": float("nan")}), ("split.test: ", "found nan")),
    "none of the choices": (recipe(prompts={"path": "p", "bad_rows": "skip"}), ("prompts.bad_rows: ", "'skip'", "'stop' or 'drop'")),
    "a column that is no name": (recipe(prompts={"path": "p", "columns": {"id": 1}}), ("prompts.columns.id: ", "found 1")),
    "a name with a space": (recipe(name="my data"), ("name: ", "found 'my data'")),
    "a model's name with a space": (recipe(models={"a b": {"engine": "scripted"}}), ("model name 'a b'", "letters, digits")),
    "no model at all": (recipe(models={}), ("models: ", "at least 1")),
    "a model without settings": (recipe(models={"m": None}), ("models.m: ", "found None", "wanted")),
    "a model without an engine": (recipe(models={"m": {}}), ("models.m: ", "no 'engine'", "add `engine: …`")),
    "samples in words": (recipe(models={"m": {"engine": "scripted", "samples": "two"}}), ("models.m.samples: ", "'two'", "integer")),
    "a deep wrong type": (recipe(models={"m": {"engine": "scripted", "sampling": {"top_p": 7}}}), ("models.m.sampling.top_p: ", "7")),
    "an address that is none": (recipe(models={"m": {"engine": "openai", "url": "localhost"}}), ("models.m.url: ", "http")),
    "a judge as a text": (recipe(judge="pairwise"), ("judge: ", "found 'pairwise'", "wanted")),
    "a judge without a model": (recipe(judge={"kind": "pairwise"}), ("'judge.model'", "add it")),
    "a judge's model as a text": (recipe(judge={"kind": "pairwise", "model": "gpt"}), ("judge.model: ", "found 'gpt'")),
    "a judge's model without engine": (recipe(judge={"kind": "pairwise", "model": {}}), ("judge.model: ", "no 'engine'")),
    "a rule that is none": (recipe(judge={"kind": "rule", "pattern": "("}), ("judge.pattern", "'('", "mend it")),
    "no strategy": (recipe(pair={}), ("pair: ", "no 'strategy'", "add `strategy: …`")),
    "a lacking key": (recipe(pair={"strategy": "margin"}), ("'pair.min_margin'", "add it")),
    "a gate as a number": (recipe(gates={"similar": 3}), ("gates.similar: ", "found 3")),
    "a gate's wrong type": (recipe(gates={"similar": {"max_ratio": "x"}}), ("gates.similar.max_ratio: ", "'x'", "number")),
    "gates as a list": (recipe(gates=["similar"]), ("gates: ", "['similar']", "wanted")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_named_with_its_place_and_what_was_wanted(case: str) -> None:
    raw, words = WRONG[case]
    text = complaint(raw)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("lacking", ["name", "prompts", "models", "pair"])
def test_a_recipe_lacks_nothing_it_needs(lacking: str) -> None:
    raw = recipe()
    del raw[lacking]
    assert complaint(raw) == f"the recipe lacks '{lacking}'; add it"


@pytest.mark.parametrize(("given", "stands"), [(None, True), (True, True), ({}, True), (False, False)])
def test_a_gate_may_be_named_without_settings_or_switched_off(given: object, stands: bool) -> None:
    check_recipe(recipe(gates={"length": given}))
    assert (module.gate_settings("length", given) is not None) is stands  # type: ignore[arg-type]


def test_a_date_is_a_revision(tmp_path: Path) -> None:
    # YAML has dates of its own; the documentation of `revision` says that it may be one.
    text = "name: n\nprompts: {path: p}\nmodels: {m: {engine: scripted, revision: 2026-01-31}}\npair: {strategy: all_pairs}"
    assert check_recipe(load(tmp_path, text)).model("m").revision == "2026-01-31"
    assert check_recipe(load(tmp_path, text, "models.m.revision=2026-02-01")).model("m").revision == "2026-02-01"


def test_every_field_of_a_recipe_is_explained() -> None:
    kinds = [k for k in vars(module).values() if isinstance(k, type) and issubclass(k, Closed)]
    bare = [f"{k.__name__}.{name}" for k in kinds for name, field in k.model_fields.items() if not field.description]
    assert bare == []


# --- what and how


CANDIDATES: tuple[Any, ...] = (
    False, True, 1, 2, 3, 4, 0.25, 0.5, "x", "cpu", "http://elsewhere.example/v1", ["x"], [1, 2], {"x": "y"}, {"x": "A"}, None,
    {"backend": "csv"},
    [{"kind": "rubric", "model": {"engine": "scripted"}, "criteria": {name: ""}} for name in "xy"],
)  # fmt: skip

BESIDE: dict[str, Anything] = {"api_key_env": {"url": "http://elsewhere.example/v1"}}
"""What a field needs beside it, where it is refused alone. These say how, so they change nothing that is asked."""

NAMES = {"engine", "kind", "strategy"}
"""Fields that hold a plug-in's name."""

NEEDED: dict[tuple[str, str], Anything] = {
    ("engines", "recorded"): {"path": "answers.jsonl"},
    ("judges", "first"): {"judges": [{"kind": "rule", "pattern": "yes"}, {"kind": "pairwise", "model": {"engine": "scripted"}}]},
    ("judges", "jury"): {"judges": [{"kind": "pairwise", "model": {"engine": "scripted", "model": name}} for name in "xy"]},
    ("judges", "listwise"): {"model": {"engine": "scripted"}},
    ("judges", "pairwise"): {"model": {"engine": "scripted"}},
    ("judges", "recorded"): {"path": "verdicts.jsonl"},
    ("judges", "reward"): {"model": "some/reward-model"},
    ("judges", "rubric"): {"model": {"engine": "scripted"}, "criteria": {"good": "It is good."}},
    ("judges", "rule"): {"pattern": "yes"},
    ("strategies", "margin"): {"min_margin": 0.1},
}
"""What a plug-in's settings cannot be without."""

PLACES: dict[str, Callable[[str], tuple[Anything, tuple[str, ...]]]] = {
    "engines": lambda name: (recipe(models={"m": {"engine": name, **NEEDED.get(("engines", name), {})}}), ("models", "m")),
    "judge's engines": lambda name: (judged(engine=name, **NEEDED.get(("engines", name), {})), ("judge", "model")),
    "judges": lambda name: (recipe(judge={"kind": name, **NEEDED.get(("judges", name), {})}), ("judge",)),
    "strategies": lambda name: (recipe(pair={"strategy": name, **NEEDED.get(("strategies", name), {})}), ("pair",)),
    "gates": lambda name: (recipe(gates={name: {}}), ("gates", name)),
}

PLUGINS = [(place, name) for place in PLACES for name in plugin_names(place.removeprefix("judge's "))]  # type: ignore[arg-type]


@pytest.mark.parametrize(("place", "name"), PLUGINS)
def test_what_is_asked_leaves_out_exactly_the_plugin_fields_marked_how(place: str, name: str) -> None:
    raw, path = PLACES[place](name)
    kind = load_plugin(place.removeprefix("judge's "), name).Settings  # type: ignore[arg-type]
    assert misjudged(raw, kind, path) == []


def test_what_is_asked_leaves_out_exactly_the_recipe_fields_marked_how() -> None:
    assert misjudged(recipe(), Recipe, ()) == []


def misjudged(raw: Anything, kind: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The fields whose change is noticed though they say how, or is not though they say what."""
    before = digest(check_recipe(raw).what())
    return [
        ".".join(place)
        for place, field, how in leaves(kind, path, how=False)
        if (digest(check_recipe(changed(raw, place, field)).what()) == before) is not how
    ]


def leaves(kind: type[BaseModel], path: tuple[str, ...], *, how: bool) -> Iterator[tuple[tuple[str, ...], FieldInfo, bool]]:
    """Every field below, with its place and whether it or a group around it is marked `How`. Plug-ins have tests of their own."""
    for name, field in kind.model_fields.items():
        place, marked = (*path, name), how or How in field.metadata
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, place, how=marked)
        elif name not in NAMES and place not in {("models",), ("judge",), ("judge", "model"), ("pair",), ("gates",)}:
            yield place, field, marked


def changed(raw: Anything, place: tuple[str, ...], field: FieldInfo) -> Anything:
    """The recipe with another value of this field: the first candidate that the recipe takes and that is not the default."""
    literals = [v for part in (field.annotation, *get_args(field.annotation)) for v in get_args(part) if isinstance(v, str)]
    *above, last = place
    for candidate, beside in product((*literals, *CANDIDATES), ({}, BESIDE.get(last, {}))):
        other = deepcopy(raw)
        at = other
        for step in above:
            at = at.setdefault(step, {})
        default = field.get_default(call_default_factory=True) if not field.is_required() else at.get(last)
        if candidate in (default, at.get(last)):
            continue
        at |= {last: candidate, **beside}
        try:
            check_recipe(other)
        except RecipeError:
            continue
        return other
    pytest.fail(f"no candidate is another value of {'.'.join(place)}; add one to CANDIDATES")


def test_another_plugin_is_another_recipe() -> None:
    for place in PLACES:
        whats = [digest(check_recipe(PLACES[p](name)[0]).what()) for p, name in PLUGINS if p == place]
        assert len(set(whats)) == len(whats)


def test_the_order_in_which_models_are_named_is_no_part_of_what_is_asked() -> None:
    a, b = {"engine": "scripted"}, {"engine": "scripted", "samples": 2}
    assert check_recipe(recipe(models={"a": a, "b": b})).what() == check_recipe(recipe(models={"b": b, "a": a})).what()


# --- labels


def test_a_model_is_called_what_its_engine_calls_it_and_else_by_its_own_name() -> None:
    checked = check_recipe(recipe(models={"strong": {"engine": "scripted", "model": "qwen3"}, "weak": {"engine": "scripted"}}))
    assert [checked.label(n) for n in checked.models] == ["qwen3", "weak"]


@pytest.mark.parametrize("called", product(["", "a", "b", "x"], repeat=3))
def test_no_two_models_of_a_recipe_have_one_label(called: tuple[str, ...]) -> None:
    models = {name: {"engine": "scripted", "model": model} for name, model in zip("abc", called, strict=True)}
    checked = check_recipe(recipe(models=models))
    labels = {name: checked.label(name) for name in "abc"}
    assert len(set(labels.values())) == 3
    assert all(labels[n].startswith(models[n]["model"] or n) for n in "abc")


# --- files, changes, environment


def load(folder: Path, text: str | bytes, *changes: str) -> Anything:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path, changes)


@pytest.mark.parametrize("text", [b"", b"- a", b"just words", b"a: [", b"\xff\xfe", b"a: !!python/name:os.system x"])
def test_a_file_that_is_no_recipe_is_refused_in_a_sentence(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path / "recipe.yaml"))) as refused:
        load(tmp_path, text)
    single(str(refused.value))


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(RecipeError, match=r"no recipe at nowhere\.yaml; give the path"):
        load_recipe(Path("nowhere.yaml"))


CHANGES: dict[str, tuple[str, Anything]] = {
    "a.b=2": ("a: {b: 1, c: 3}", {"a": {"b": 2, "c": 3}}),
    "a.b.c=x": ("d: 1", {"a": {"b": {"c": "x"}}, "d": 1}),
    "a=false": ("a: {b: 1}", {"a": False}),
    "a=[1, x]": ("a: 1", {"a": [1, "x"]}),
    "a={b: 0.5}": ("a: 1", {"a": {"b": 0.5}}),
    "a.b=k=v": ("{a: {}}", {"a": {"b": "k=v"}}),
    " a.b = 2": ("a: {b: 1}", {"a": {"b": 2}}),
    "a=": ("a: 1", {"a": None}),
    "gates.similar=false": ("gates:", {"gates": {"similar": False}}),
    "models.gpt-3.5:v1.samples=2": ("models: {gpt-3.5:v1: {samples: 1}}", {"models": {"gpt-3.5:v1": {"samples": 2}}}),
    "models.a.samples=2": ("models: {a: &t {samples: 1}, b: *t}", {"models": {"a": {"samples": 2}, "b": {"samples": 1}}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_value_of_a_recipe_can_be_changed(change: str, tmp_path: Path) -> None:
    text, wanted = CHANGES[change]
    assert load(tmp_path, text, change) == wanted


def test_changes_are_applied_in_their_order(tmp_path: Path) -> None:
    assert load(tmp_path, "a: 1", "a=2", "a=3", "b.c=1", "b.d=2") == {"a": 3, "b": {"c": 1, "d": 2}}


@pytest.mark.parametrize(("change", "words"), [("x", "KEY=VALUE"), ("=1", "KEY=VALUE"), ("a.b=1", "'a' is a value"), ("b=[1", "YAML")])
def test_a_change_that_cannot_be_made_is_named(change: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--set {re.escape(change)}: .*{words}") as refused:
        load(tmp_path, "a: 1", change)
    single(str(refused.value))


def test_the_environment_is_filled_in_wherever_a_text_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/data")
    monkeypatch.setenv("WHO", "${HERE}")
    raw = {"a": "${HERE}/x-${HERE}", "b": [{"c": "${WHO}"}], "d": 1, "e": "$HERE {HERE} ${}", "${HERE}": None}
    assert expand(raw) == {"a": "/data/x-/data", "b": [{"c": "${HERE}"}], "d": 1, "e": "$HERE {HERE} ${}", "${HERE}": None}


def test_a_variable_that_is_not_set_is_named() -> None:
    assert "NOT_SET_ANYWHERE" not in os.environ
    text = complaint(recipe(prompts={"path": "${NOT_SET_ANYWHERE}/p.jsonl"}))
    assert "${NOT_SET_ANYWHERE}" in text
    assert "export NOT_SET_ANYWHERE=…" in text


def test_no_value_from_the_environment_reaches_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "hunter2-place")
    raw = load(tmp_path, "name: n\nprompts: {path: '${PLACE}/p.jsonl'}\nmodels: {m: {engine: scripted}}\npair: {strategy: all_pairs}")
    checked = check_recipe(raw)
    Run(tmp_path / "run").begin(raw)
    Run(tmp_path / "run").begin(raw)
    assert checked.prompts.path == "hunter2-place/p.jsonl"
    assert raw["prompts"]["path"] == "${PLACE}/p.jsonl"
    files = [f for f in (tmp_path / "run").rglob("*") if f.is_file()]
    assert files
    assert [f.name for f in files if b"hunter2" in f.read_bytes()] == []


def test_the_judges_name_is_its_own_and_its_settings_are_named_where_they_stand() -> None:
    models = {"judge": {"engine": "scripted", "role": "strong"}, "w": {"engine": "scripted", "role": "weak"}}
    assert "judge's own" in complaint(recipe(models=models))
    assert (module.place_of("judge"), module.place_of("strong")) == ("judge.model", "models.strong")
