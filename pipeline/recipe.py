"""Read a recipe: YAML, `a.b=c` changes, values from the environment; then everything in it is checked."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.annotation import annotate_settings
from pipeline.check import check
from pipeline.errors import RecipeError
from pipeline.settings import Anything, ModelSettings, PluginSettings, Recipe, gate_settings, judge_models, plugin_settings


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Anything:
    """Read a recipe and apply `a.b=c` changes: the merged recipe as it was asked, nothing expanded, nothing checked.

    This form is what a run folder keeps: values from the environment never reach a file. `check_recipe` makes it usable.
    """
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no recipe at {path}; give the path of a YAML file, such as flows/recipes/recorded.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"the recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"the recipe {path} holds no settings; wanted at least name, prompts, models and pair")
    for change in changes:
        _apply(raw, change)
    return raw


def check_recipe(raw: Anything) -> Recipe:
    """A recipe whose every part was checked, the plug-ins' own settings included. Raises RecipeError with one sentence."""
    try:
        return _checked(expand(raw))
    except RecipeError as error:
        raise RecipeError(unexpanded(raw, str(error))) from error


def _checked(raw: Anything) -> Recipe:
    recipe = check(Recipe, raw, "")
    recipe.what()
    judges = judge_models(recipe.judge) if recipe.judge else {}
    check_one_place_each({**{n: recipe.model(n) for n in recipe.models}, **judges})
    _check_roles(recipe, plugin_settings("strategies", recipe.pair, "strategy", "pair", PluginSettings))
    for gate, given in recipe.gates.items():
        gate_settings(gate, given)
    if recipe.annotate is not None:
        annotate_settings(recipe.annotate)
    return recipe


def _check_roles(recipe: Recipe, pair: PluginSettings) -> None:
    roles = {name: recipe.model(name).role for name in recipe.models}
    if getattr(pair, "meeting", None) == "strong_weak" and not {"strong", "weak"} <= set(roles.values()):
        raise RecipeError(
            f"strategy '{recipe.pair['strategy']}' sets strong answers against weak ones, and the roles found are {roles}; "
            "give at least one model `role: strong` and one `role: weak`"
        )


def check_one_place_each(models: Mapping[str, ModelSettings]) -> None:
    """Replies are filed under a model's name and revision: two servers that give different models one name must say so."""
    places: dict[tuple[str, str | None], tuple[str, str]] = {}
    for name, settings in models.items():
        url = getattr(settings, "url", None)
        first, place = places.setdefault((settings.model or name, settings.revision), (name, url or ""))
        if url is not None and url != place:
            raise RecipeError(
                f"models '{first}' and '{name}' are both called '{settings.model or name}' and live at {place} and {url}; if they "
                "differ, give each its own `revision`, else their replies would be taken for the same model's"
            )


def expand(value: Any) -> Any:
    """Replace `${NAME}` in every text of a recipe by the environment's value; RecipeError where it is not set."""
    if isinstance(value, dict):
        return {k: expand(v) for k, v in value.items()}
    if isinstance(value, list):
        return [expand(v) for v in value]
    return re.sub(r"\$\{(\w+)\}", _variable, value) if isinstance(value, str) else value


def unexpanded(raw: Any, sentence: str) -> str:
    """The sentence with the environment's values named instead of shown: one of them may be a secret."""
    for name in re.findall(r"\$\{(\w+)\}", str(raw)):
        if value := os.environ.get(name):
            sentence = sentence.replace(value, f"${{{name}}}")
    return sentence


def _variable(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise RecipeError(f"the recipe uses ${{{name}}}, and no such environment variable is set; export {name}=…")
    return os.environ[name]


def _apply(raw: Anything, change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"--set {change}: wanted KEY=VALUE, such as --set pair.strategy=margin")
    at: Any = raw
    *above, last = _steps(raw, path.strip())
    for step in above:
        if isinstance(at, dict) and at.get(step) is None:
            at[step] = {}
        at = at[step] if isinstance(at, dict) else None
    if not isinstance(at, dict):
        raise RecipeError(f"--set {change}: '{'.'.join(above)}' is a value in the recipe, not a group of settings")
    try:
        at[last] = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {change}: the value is not YAML: {' '.join(str(error).split())}") from error


def _steps(raw: Any, path: str) -> list[str]:
    """The keys on the way to a value. A key that is there may hold dots, as the names of models do."""
    steps: list[str] = []
    parts = path.split(".")
    while parts:
        joined = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        step = next((key for key in joined if isinstance(raw, dict) and key in raw), parts[0])
        steps.append(step)
        parts = parts[step.count(".") + 1 :]
        raw = raw.get(step) if isinstance(raw, dict) else None
    return steps


class _Loader(yaml.SafeLoader):
    """YAML without dates, since a revision such as 2026-01-31 is a text; and without keys that stand there twice."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"the key '{twice[0]}' stands there twice", problem_mark=node.start_mark)
        super().flatten_mapping(node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """The value of a YAML text, every part of it its own: what an alias repeats can be changed in one place alone."""
    return _own_copy(_Loader(text).get_single_data())


def _own_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _own_copy(item) for key, item in value.items()}
    return [_own_copy(item) for item in value] if isinstance(value, list) else value
