"""Closed shapes, and data held against them: the checked object, or one sentence on the first thing that is wrong."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from pipeline.errors import RecipeError, choose_from

S = TypeVar("S", bound=BaseModel)


class _How:
    """Marks a field that says how, not what."""


How = _How()

Anything = dict[str, Any]


class Closed(BaseModel):
    """A settings object with a closed shape."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def what_of(settings: BaseModel) -> Anything:
    """The settings without the fields that only say how, in a form that can be compared and hashed."""
    fields = type(settings).model_fields.items()
    values = {key: getattr(settings, key) for key, field in fields if How not in field.metadata}
    return {key: what_of(value) if isinstance(value, BaseModel) else value for key, value in values.items()}


def check(kind: type[S], data: Any, where: str) -> S:
    """Validate, or raise RecipeError with one sentence on the first thing that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_sentence(kind, error, where)) from error


def _sentence(kind: type[BaseModel], error: ValidationError, where: str) -> str:
    errors = error.errors(include_url=False)
    # A misspelt key is also a missing one: the key that is there says more than the one that is not.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place = ".".join([where, *map(str, first["loc"])]).strip(".")
    if first["type"] == "extra_forbidden":
        *above, key = first["loc"]
        fields = _fields_at(kind, above)
        return f"unknown key '{place}' in the recipe; {choose_from(str(key), fields)}"
    if first["type"] == "missing":
        return f"the recipe lacks '{place}'; add it"
    text = first["msg"].removeprefix("Value error, ").replace("Input should be", "wanted")
    found = "" if isinstance(first["input"], dict) else f"found {first['input']!r}; "
    return f"{place or 'the recipe'}: {found}{text}"


def _fields_at(kind: type[BaseModel], above: Sequence[str | int]) -> Mapping[str, FieldInfo]:
    steps = iter(above)
    for step in steps:
        annotation: Any = kind.model_fields[str(step)].annotation
        if held := get_args(annotation):  # a group for each name, as a rubric's criteria are
            next(steps, None)
            annotation = get_args(held[-1])[0] if get_origin(held[-1]) is Annotated else held[-1]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return {}
        kind = annotation
    return kind.model_fields
