"""The run folder: what was asked, with what, and what came out.

    recipe.yaml          the merged recipe as it was asked
    collect.dropped      what left before the shards
    shards/00000/…       one folder a shard: prompts, answers, comparisons, verdicts, pairs, and what each stage dropped
    dataset/             the published dataset
    report.md            the run in words; summary.json holds the same figures
    manifest.json        written last: its key says what the dataset was made of

One process works in a run folder at a time; a lock says so.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline.errors import PairsmithError, RunError
from pipeline.recipe import check_recipe, read_yaml
from pipeline.settings import Anything, digest

FORMAT = 1
"""Of the run folder: of its files and their names."""


@cache
def code_digest() -> str:
    """A hash of this package's source, part of every stage's key: tables that other code made are made again (and nothing
    is asked again, since replies are kept by what was asked)."""
    state = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        state.update(file.read_bytes())
    return state.hexdigest()


class Run:
    """The paths of a run folder and what may be read from it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    def shard(self, number: int) -> Path:
        return self.path / "shards" / f"{number:05d}"

    def shards(self) -> list[Path]:
        return sorted(p for p in (self.path / "shards").glob("[0-9]*") if p.is_dir())

    def recipe(self) -> Anything:
        """The merged recipe as it was asked. RunError where this is no run folder."""
        try:
            raw = read_yaml(self.recipe_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.path} is no run folder: it holds no recipe.yaml; give the folder that `pairsmith build` named") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{self.recipe_file} is not YAML: {' '.join(str(error).split())}; remove the folder or give another") from error
        if not isinstance(raw, dict):
            raise RunError(f"{self.recipe_file} holds no recipe; remove the folder or give another")
        return raw

    def manifest(self) -> Anything | None:
        """What the finished run wrote last; None while it is unfinished."""
        return read_json(self.manifest_file)

    def begin(self, raw: Anything) -> None:
        """Make the folder, or accept one that an equal recipe made: equal but for how the work is done (see settings)."""
        with explained(self.path):
            if self.recipe_file.exists():
                self._accept(raw)
            elif self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
                raise RunError(f"{self.path} is not empty and no run folder; give another with --run")
            write_text(self.recipe_file, yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))

    def _accept(self, raw: Anything) -> None:
        try:
            before = check_recipe(self.recipe()).what()
        except PairsmithError as error:
            raise RunError(f"{self.path} holds a run that this version cannot read ({error}); give another folder with --run") from error
        now = check_recipe(raw).what()
        if changed := sorted(differences(before, now)):
            raise RunError(
                f"{self.path} holds a run of another recipe: {', '.join(changed[:5])} changed; give this one a folder of its own "
                "with --run (replies that are paid for are found there too), or remove the old one"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone. RunError at once where another process has it."""
        from filelock import FileLock, Timeout

        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            with explained(self.path), lock:
                yield
        except Timeout:
            raise RunError(f"another process is working in {self.path}; wait for it, or give this run another folder with --run") from None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what an operating system says of a disk or folder into a sentence."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; make room and run the same command again",
            errno.EDQUOT: "your disk quota is used up; make room and run the same command again",
            errno.EROFS: "the file system is read-only; give another folder with --run",
            errno.EACCES: "you may not read or write there; give it to yourself, or another folder with --run",
            errno.EPERM: "you may not write there; give another folder with --run",
            errno.ENOTDIR: "it is a file and not a folder; give another folder with --run",
            errno.EEXIST: "it is a file and not a folder; give another folder with --run",
        }
        if error.errno not in reasons:
            raise
        raise RunError(f"{error.filename or path}: {reasons[error.errno]}; what had arrived is kept") from error


def differences(before: Any, now: Any, place: str = "") -> set[str]:
    """The dotted places at which two nested settings differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = before.keys() | now.keys()
        found = (differences(before.get(k), now.get(k), f"{place}.{k}".strip(".")) for k in keys)
        return set().union(*found)
    return set() if digest(before) == digest(now) else {place}


def write_text(path: Path, text: str | bytes) -> None:
    """Write under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(text.encode() if isinstance(text, str) else text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Anything | None:
    """A JSON object that we wrote; None where there is none."""
    try:
        return dict(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def json_text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS) + b"\n"
