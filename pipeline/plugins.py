"""One file is one plug-in, and the file's name is its name in a recipe.

A room is a package of `pipeline` whose `__init__` states the contract; every other file in it is a plug-in, unless
its name begins with an underscore.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from pipeline.errors import RecipeError, choose_from

Room = Literal["engines", "judges", "strategies", "gates", "backends"]

_HERE = Path(__file__).parent


@cache
def plugin_names(room: Room) -> tuple[str, ...]:
    """The plug-ins of a room, found by looking at its files; none is imported."""
    return tuple(sorted(f.stem for f in (_HERE / room).glob("*.py") if not f.stem.startswith("_")))


def load_plugin(room: Room, name: str) -> ModuleType:
    """The module of a plug-in. Raises RecipeError with the choices when there is none of that name."""
    if name not in plugin_names(room):
        raise RecipeError(f"no {room} plug-in '{name}' in pipeline/{room}; {choose_from(name, plugin_names(room))}")
    return import_module(f"pipeline.{room}.{name}")
