"""Who the model is: a name, a maker, and what else may be said of them."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pipeline.errors import InputError, RecipeError
from pipeline.identity.names import normal
from pipeline.recipe import read_yaml

LONGEST = 200
"""Characters of a name, a maker or a fact."""

MOST_FACTS = 100


@dataclass(frozen=True, slots=True)
class Facts:
    """The truth that the dataset teaches. `more` holds further facts by key; what stands in none of them is made up."""

    name: str
    maker: str
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> tuple[str, str]:
        return self.name, self.maker


def facts_of(name: str, maker: str, facts: object = None) -> Facts:
    """Checked facts, the further ones by key, or from the file at a Path. RecipeError for a name or maker that is none; InputError for
    what holds no facts."""
    more = {} if facts is None else read_facts(facts) if isinstance(facts, Path) else check_facts(facts, "facts")
    return Facts(_one_line(name, "name"), _one_line(maker, "maker"), more)


def read_facts(file: Path) -> dict[str, str]:
    """A YAML file of facts: `key: text or number` each. `released`, `founded`, `place`, `parameters`, `cutoff` and `version`
    are asked about; the others may be said."""
    try:
        raw = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"facts: cannot read {file} ({type(error).__name__}); give a YAML file such as `released: spring 2026`") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"facts: {file} is not YAML: {' '.join(str(error).split())}; mend it") from error
    return check_facts(raw, f"facts: {file}")


def check_facts(raw: object, where: str) -> dict[str, str]:
    """Facts by key, each a line of text. InputError, with the place, where they are none."""
    wanted = f"wanted lines such as `released: spring 2026`, at most {MOST_FACTS}"
    if not isinstance(raw, Mapping):
        raise InputError(f"{where} holds {type(raw).__name__}, {wanted}; mend it")
    if len(raw) > MOST_FACTS:
        raise InputError(f"{where} holds {len(raw)} facts, {wanted}; leave some out")
    for key, value in raw.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{where}: '{key}' is {type(value).__name__}, wanted a text or a number; {wanted}")
    return {_one_line(str(key), f"{where}: a key"): _one_line(str(value), f"{where}: {key}") for key, value in raw.items()}


def _one_line(text: str, where: str) -> str:
    """The text without outer and double spaces."""
    line = " ".join(text.split())
    if not normal(line):
        raise RecipeError(f"{where} is empty; give the words that the model shall say, such as Aria")
    if len(line) > LONGEST:
        raise RecipeError(f"{where} has {len(line)} characters; wanted at most {LONGEST}: shorten it")
    if bad := next((c for c in line if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")), None):
        raise RecipeError(f"{where} holds the character U+{ord(bad):04X}, which cannot be shown; leave it out")
    return line
