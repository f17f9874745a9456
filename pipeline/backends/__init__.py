"""What a backend is: a place where people see tasks and say something of them.

A plug-in file defines `Settings(AnnotateSettings)` and `Backend`, built from them. It may be asked again after any failure:
`prepare` and `push` leave what is there as it is, and a task whose id is there already is replaced, not added. It raises
BackendAway where it cannot be reached (after its own retries), and InputError or RecipeError where a person must change
something.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline.annotation import Form, Progress, Response, Task, annotate_settings
from pipeline.plugins import load_plugin
from pipeline.settings import Anything


class Backend(Protocol):
    """Works for one run folder; `folder` in it is the backend's own, for files that go out and come back."""

    def __init__(self, settings: Any, folder: Path) -> None: ...

    def prepare(self, form: Form) -> None:
        """Make what the form needs (workspace, annotators, dataset) where it is missing."""

    def push(self, form: Form, tasks: Sequence[Task]) -> None:
        """Put the tasks there, all of them or as many as went before an error: then it is asked again with all."""

    def pull(self, form: Form, since: str | None) -> tuple[Iterator[Response], str | None]:
        """Responses that are new or changed since an earlier pull, at least these, in any order and some of them twice; and
        what to give as `since` for this form next time, once they are all stored. None as `since` brings everything. The
        responses are read as they are taken, so BackendAway may come in their midst."""

    def status(self, form: Form) -> Progress:
        """How far the dataset is."""

    def close(self) -> None:
        """Give connections back."""


def make_backend(raw: Anything, folder: Path) -> Backend:
    """The backend of a recipe's `annotate` part."""
    backend: Backend = load_plugin("backends", raw["backend"]).Backend(annotate_settings(raw), folder)
    return backend
