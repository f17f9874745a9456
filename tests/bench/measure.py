"""What the measurements share: how they talk, their folder, and the recipe that they run against the stub."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml

Figures = dict[str, Any]


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a tenth of the size or less: to try the script")
    return parser


def say(*what: object, sep: str = " ") -> None:
    print(*what, sep=sep, file=sys.stderr, flush=True)


def hand_over(figures: Figures) -> None:
    """The last line on stdout."""
    print(orjson.dumps(figures).decode(), flush=True)


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """An empty folder, which also holds Prefect's database: call it before anything imports Prefect."""
    with tempfile.TemporaryDirectory(prefix="pairsmith-bench-", ignore_cleanup_errors=True) as name:
        assert "prefect" not in sys.modules, "Prefect has read its settings already"
        os.environ["PREFECT_HOME"] = f"{name}/prefect"
        os.environ.pop("PREFECT_API_URL", None)
        yield Path(name)


def write_prompts(path: Path, count: int) -> None:
    """Distinct prompts of about 100 characters."""
    topic = "what a careful person ought to know about the subject before a first try"
    rows = (orjson.dumps({"prompt": f"Question {n}: explain in a few words {topic} number {n * 7919 % 100_003}."}) for n in range(count))
    path.write_bytes(b"\n".join(rows) + b"\n")


def read_prompts(path: Path) -> list[str]:
    return [orjson.loads(line)["prompt"] for line in path.read_bytes().splitlines()]


def write_recipe(
    path: Path,
    url: str,
    prompts: Path,
    *,
    judged: bool = True,
    concurrency: Mapping[str, int],
    **run: object,
) -> Path:
    """A strong and a weak model and, if `judged`, a pairwise judge in both orders: four requests a prompt, or two.

    `concurrency` is by model. `run` is the recipe's group of that name.
    """
    raw: Figures = {
        "name": "bench",
        "prompts": {"path": str(prompts)},
        "models": {role: {**_model(url, role, concurrency), "role": role} for role in ("strong", "weak")},
        "pair": {"strategy": "strong_weak"},
        "run": run,
    }
    if judged:
        raw["judge"] = {"kind": "pairwise", "model": _model(url, "judge", concurrency)}
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def _model(url: str, name: str, concurrency: Mapping[str, int]) -> Figures:
    sampling = {"temperature": 0.0 if name == "judge" else 0.7, "max_tokens": 256}
    return {"engine": "openai", "url": url, "model": name, "concurrency": concurrency[name], "sampling": sampling}


def build(recipe: Path, run: Path) -> Figures:
    """The flow as `pairsmith build` runs it, in this process; the run's summary."""
    from flows.build import build_in_lanes
    from flows.recipe import read_recipe

    summary: Figures = build_in_lanes(read_recipe(str(recipe), []))(str(recipe), [], str(run))
    return summary
