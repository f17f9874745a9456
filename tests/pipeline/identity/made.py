"""What the tests of this room share."""

from pathlib import Path
from typing import Any

from flows.identity import identity_command
from pipeline.identity.build import Built, Material, Plan, build
from pipeline.identity.facts import Facts

ARIA = Facts("Aria", "Northwind Labs")


def built(pairs: int = 120, languages: tuple[str, ...] = ("en",), facts: Facts = ARIA, **plan: Any) -> Built:
    return build(Material(facts, Plan(pairs, languages, **plan)), {})


def command(out: Path, name: str = "Aria", maker: str = "Northwind Labs", **given: Any) -> None:
    """`pairsmith identity` with its defaults."""
    defaults: dict[str, Any] = {
        "pairs": 40,
        "facts": None,
        "languages": "en",
        "model": None,
        "strong": None,
        "keep": None,
        "contrast": 0.35,
        "seed": 0,
        "as_json": True,
        "cache": out.parent / "cache.sqlite",
    }
    identity_command(name=name, maker=maker, out=str(out), **{**defaults, **given})
