"""The command `pairsmith`, run as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *map(str, args)]


def pairsmith(*args: object, cwd: Path = ROOT, timeout: float = 240, **environment: str) -> Ended:
    """Run it to its end. Its modules are found from anywhere, as they are after an install."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command(*args), cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    return Ended(done.returncode, done.stdout, done.stderr)


def write_recipe(folder: Path, **changes: Any) -> Path:
    """A small recipe with scripted models in `folder`: eight prompts, strong and weak, no judge. None removes a key."""
    prompts = folder / "prompts.jsonl"
    if not prompts.exists():
        prompts.write_text("".join(json.dumps({"prompt": f"question {i}", "id": i}) + "\n" for i in range(8)))
    recipe = {
        "name": "small",
        "prompts": {"path": str(prompts)},
        "models": {
            "strong": {"engine": "scripted", "role": "strong", "default": "a good answer to {question}, at length"},
            "weak": {"engine": "scripted", "role": "weak", "default": "{draw}"},
        },
        "pair": {"strategy": "strong_weak"},
        "run": {"folder": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
        **changes,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}, sort_keys=False))
    return file
