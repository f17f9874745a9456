"""Where a promoted model lives, so that whoever loads `current` finds a whole one at any moment, a crash included.

    releases/0003/    a copy of the weights, and release.json: of which training, and which release it took the place of
    current           a link to a release; exchanged by one rename, which is all that a promotion does
    previous          a link to what a rollback goes back to; for people, since release.json says the same
    history.jsonl     what happened when

A link and not a copy: a folder cannot be exchanged for another in one step, a link can.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipeline import ROOT
from pipeline.errors import RunError
from pipeline.fingerprint import folder_fingerprint
from pipeline.runs import explained, json_text, read_json, write_text
from pipeline.settings import Anything

HOME = ROOT / "data" / "models"

_SKIPPED = ("checkpoint-*", "*.bin", "*.pt", "*.pkl")
"""Never part of a release: what only a training goes on from, and pickles."""


@dataclass(frozen=True, slots=True)
class Release:
    """One promoted model."""

    path: Path
    about: Anything
    """Of its release.json: number, name, base, kind (adapter or model), weights (a fingerprint), before (a number or None), decision."""

    @property
    def number(self) -> int:
        return int(self.about["number"])


class Releases:
    """The promoted models under one folder."""

    def __init__(self, home: Path = HOME) -> None:
        self.home = home.expanduser().absolute()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder alone. RunError at once where another process promotes."""
        from filelock import FileLock, Timeout

        with explained(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.home / ".lock", timeout=0):
                yield
        except Timeout:
            raise RunError(f"another process is promoting in {self.home}; wait for it and run the same command again") from None

    def current(self) -> Release | None:
        """What is promoted now; None where nothing is."""
        link = self.home / "current"
        if not link.is_symlink():
            if link.exists():
                raise RunError(f"{link} is no link of ours; move it away, or give another folder with --models")
            return None
        return self._release(link.resolve())

    def before(self, release: Release) -> Release | None:
        """The release that one took the place of."""
        number = release.about["before"]
        return None if number is None else self._release(self._place(number))

    def stage(self, weights: Path, about: Anything) -> Release:
        """Copy weights into a release of their own, whole or not at all. It is not `current` yet."""
        current = self.current()
        number = max((int(p.name) for p in (self.home / "releases").glob("[0-9]*")), default=0) + 1
        place = self._place(number)
        half = place.with_name(f".{place.name}.making")
        shutil.rmtree(half, ignore_errors=True)
        with explained(self.home):
            shutil.copytree(weights, half, ignore=shutil.ignore_patterns(*_SKIPPED))
            made = {**about, "number": number, "weights": folder_fingerprint(half), "before": current.number if current else None}
            write_text(half / "release.json", json_text(made))
            half.rename(place)
        return Release(place, made)

    def drop(self, release: Release) -> None:
        """Remove a staged release that nobody wants."""
        shutil.rmtree(release.path, ignore_errors=True)

    def switch(self, release: Release, why: str) -> None:
        """Make a release `current`. The rename of the link is the moment at which it happens."""
        with explained(self.home):
            self._link("current", release)
            before = self.before(release)
            if before is not None:
                self._link("previous", before)
            else:
                (self.home / "previous").unlink(missing_ok=True)
            row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "what": why, **release.about}
            with (self.home / "history.jsonl").open("ab") as file:
                file.write(orjson.dumps(row) + b"\n")

    def _link(self, name: str, release: Release) -> None:
        temporary = self.home / f".{name}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(release.path.relative_to(self.home), target_is_directory=True)
        temporary.replace(self.home / name)

    def _place(self, number: int) -> Path:
        return self.home / "releases" / f"{number:04d}"

    def _release(self, path: Path) -> Release:
        about = read_json(path / "release.json")
        if about is None:
            raise RunError(f"{path} holds no release.json, so it is no release of ours or was removed; promote a training again")
        return Release(path, about)
