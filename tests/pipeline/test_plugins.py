"""One file is one plug-in: it is found by its name, keeps its room's contract, and explains what can be set."""

import subprocess
import sys
from inspect import iscoroutinefunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

import pipeline
from pipeline import ROOT
from pipeline.annotation import AnnotateSettings
from pipeline.errors import RecipeError
from pipeline.plugins import Room, load_plugin, plugin_names
from pipeline.settings import ModelSettings, PluginSettings
from pipeline.strategies import StrategySettings

ROOMS: tuple[Room, ...] = get_args(Room)

NAME_KEYS = {"engines": "engine", "judges": "kind", "strategies": "strategy", "gates": None, "backends": "backend"}
"""The field that holds a plug-in's name; a gate's name is the key above its settings."""

BASES: dict[str, type[PluginSettings]] = {
    "engines": ModelSettings,
    "judges": PluginSettings,
    "strategies": StrategySettings,
    "gates": PluginSettings,
    "backends": AnnotateSettings,
}

ALL = [(room, name) for room in ROOMS for name in plugin_names(room)]

every_plugin = pytest.mark.parametrize(("room", "name"), ALL)


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_is_a_plugin_under_its_name(room: Room) -> None:
    files = {f.stem for f in (Path(pipeline.__file__).parent / room).glob("*.py") if not f.stem.startswith("_")}
    assert set(plugin_names(room)) == files != set()
    assert list(plugin_names(room)) == sorted(files)


def test_names_are_found_without_importing_a_plugin() -> None:
    asks = (
        "import sys; from typing import get_args; from pipeline.plugins import Room, plugin_names\n"
        "found = [n for room in get_args(Room) for n in plugin_names(room)]\n"
        "print(len(found), [m for room in get_args(Room) for m in sys.modules if m.startswith(f'pipeline.{room}')])"
    )
    said = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split(" ", 1) == [str(len(ALL)), "[]\n"]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("wanted", ["", "nosuch", "__init__", "../errors", "pairwize.py"])
def test_an_unknown_name_lists_the_choices(room: Room, wanted: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_plugin(room, wanted)
    text = str(refused.value)
    assert f"'{wanted}' in pipeline/{room}; " in text
    assert text.endswith(f"Known: {', '.join(plugin_names(room))}")


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'pairwise'\? Known: "):
        load_plugin("judges", "pairwize")


@every_plugin
def test_every_plugin_has_settings_of_its_rooms_kind(room: Room, name: str) -> None:
    module = load_plugin(room, name)
    key = NAME_KEYS[room]
    assert module.__doc__
    assert issubclass(module.Settings, BASES[room])
    assert module.Settings.__module__ == module.__name__
    assert module.Settings.__doc__
    assert key is None or key in module.Settings.model_fields
    if room in ("judges", "strategies"):
        assert module.Settings.model_fields[key].default == name


@every_plugin
def test_every_plugin_keeps_the_contract_of_its_room(room: Room, name: str) -> None:
    CONTRACTS[room](load_plugin(room, name))


def check_engine(module: ModuleType) -> None:
    assert parameters(module.Engine) == ["name", "settings"]
    assert isinstance(module.Engine.paid, bool)
    assert parameters(module.Engine.reply) == ["self", "request"]
    assert parameters(module.Engine.revision) == ["self"]
    assert all(iscoroutinefunction(getattr(module.Engine, method)) for method in ("start", "reply", "close"))


def check_judge(module: ModuleType) -> None:
    made_of_judges = "judges" in module.Settings.model_fields
    assert parameters(module.Judge) == ["settings", "parts" if made_of_judges else "model"]
    assert isinstance(module.Judge.asks_model, bool)
    assert not module.Judge.asks_model or "model" in module.Settings.model_fields
    assert parameters(module.Judge.judge) == ["self", "prompt", "answers", "comparisons"]
    assert iscoroutinefunction(module.Judge.judge)
    assert parameters(module.Judge.revision) == ["self"]


def check_strategy(module: ModuleType) -> None:
    assert isinstance(module.judged, bool)
    assert parameters(module.select) == ["candidates", "settings"]


def check_gate(module: ModuleType) -> None:
    assert isinstance(module.DEFAULT, bool)
    assert parameters(module.check) == ["pairs", "settings"]
    # A gate that stands without being named has settings that need not be given.
    assert not module.DEFAULT or module.Settings()


def check_backend(module: ModuleType) -> None:
    assert parameters(module.Backend) == ["settings", "folder"]
    assert parameters(module.Backend.prepare) == parameters(module.Backend.status) == ["self", "form"]
    assert parameters(module.Backend.push) == ["self", "form", "tasks"]
    assert parameters(module.Backend.pull) == ["self", "form", "since"]
    assert parameters(module.Backend.close) == ["self"]


CONTRACTS = {"backends": check_backend, "engines": check_engine, "judges": check_judge, "strategies": check_strategy, "gates": check_gate}


def parameters(function: Any) -> list[str]:
    return list(signature(function).parameters)


@every_plugin
def test_every_setting_of_a_plugin_is_explained(room: Room, name: str) -> None:
    # What a plug-in inherits is explained where it is declared; its name's field is the name of its file.
    settings = load_plugin(room, name).Settings
    own = settings.__annotations__.keys() - {NAME_KEYS[room]}
    assert sorted(field for field in own if not settings.model_fields[field].description) == []


def test_every_setting_that_strategies_inherit_is_explained() -> None:
    assert sorted(name for name, field in StrategySettings.model_fields.items() if not field.description) == []
