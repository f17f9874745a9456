"""An Argilla server: a dataset for each form, a record for each task.

Annotators see the fields, the guidelines and the category, nothing else; no model's name goes to the server at all.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, field_validator

from pipeline.annotation import AnnotateSettings, Form, Progress, Response, Status, Task
from pipeline.backends._argilla_changes import changes, next_cursor, read_cursor, response_counts
from pipeline.backends._argilla_client import Client, Missing, Taken
from pipeline.backends._argilla_form import category_body, dataset_body, differences, field_bodies, question_bodies, record_body
from pipeline.backends._argilla_people import Names, find_workspace, make_annotators, make_workspace
from pipeline.errors import InputError, RecipeError

Json = dict[str, Any]


class Settings(AnnotateSettings):
    """An Argilla server, version 2.8."""

    backend: Literal["argilla"]
    url: str | None = None
    """The server's address; ARGILLA_API_URL when left out."""
    api_key_env: str = "ARGILLA_API_KEY"
    """The environment variable that holds an owner's API key."""
    workspace: str = Field("pairsmith", min_length=1)
    """Where the datasets are; made where it is missing."""
    annotators: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default_factory=list)
    """Usernames that are to see the tasks. Those that are missing are made, with passwords in annotate/argilla/logins.json."""
    markdown: bool = False
    """Show prompts and answers as Markdown. What they hold is then rendered, and pictures in it are loaded from where they lie."""
    batch: int = Field(200, ge=1, le=500)
    """Tasks in a request."""
    timeout: float = Field(60.0, gt=0)
    """Seconds until a request counts as lost."""
    retries: int = Field(5, ge=0, le=100)
    """Tries after the first, with longer and longer pauses."""
    read_all_hours: float = Field(24.0, ge=0)
    """A pull stops reading when all new responses are found; after so many hours one reads everything, for edits of old ones."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        return None if url is None else _checked_url(url)


class Backend:
    """The datasets of a run on one server."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._logins = folder / "logins.json"
        self.client = connect(settings)

    def prepare(self, form: Form) -> None:
        s = self.settings
        workspace = make_workspace(self.client, s.workspace)
        make_annotators(self.client, workspace, s.annotators, self._logins)
        found = self._find(form, workspace)
        if found is not None and found["status"] == "draft":
            # Made by a run that was killed before it had published it: nobody can have answered there.
            self.client.call("DELETE", f"datasets/{found['id']}")
            found = None
        if found is None:
            self._make(form, workspace)
        else:
            self._refuse_another(form, found)

    def push(self, form: Form, tasks: Sequence[Task]) -> None:
        dataset = self._dataset(form)["id"]
        suggested = any(task.suggestions for task in tasks)
        ids = {q["name"]: q["id"] for q in self.client.get(f"datasets/{dataset}/questions")["items"]} if suggested else {}
        for start in range(0, len(tasks), self.settings.batch):
            body = {"items": [record_body(form, task, ids) for task in tasks[start : start + self.settings.batch]]}
            self.client.call("PUT", f"datasets/{dataset}/records/bulk", body)

    def pull(self, form: Form, since: str | None) -> tuple[Iterator[Response], str | None]:
        place = f"{self.client.url} {self.settings.workspace}"
        before = read_cursor(since, place)
        dataset = self._dataset(form, before.dataset if before is not None else None)
        if before is not None and before.dataset != dataset["id"]:
            before = None  # another dataset of the same name: all in it is new
        now = next_cursor(self.client, place, dataset, before, timedelta(hours=self.settings.read_all_hours))
        if now == before:
            return iter(()), since
        names = Names(self.client, dataset["workspace_id"])
        return changes(self.client, form, before, now, names.of), now.text()

    def status(self, form: Form) -> Progress:
        """`tasks` and `completed` are the search index's, which may be some seconds behind."""
        dataset = self._dataset(form)["id"]
        progress = self.client.get(f"datasets/{dataset}/progress")
        annotators: dict[str, dict[Status, int]] = {}
        for key, number in response_counts(self.client, dataset).items():
            name, _, status = key.rpartition(" ")
            annotators.setdefault(name, {})[cast(Status, status)] = number
        return Progress(progress["total"], progress["completed"], annotators)

    def close(self) -> None:
        self.client.close()

    def _find(self, form: Form, workspace: str) -> Json | None:
        found = self.client.get("me/datasets", workspace_id=workspace, name=form.name)["items"]
        return found[0] if found else None

    def _dataset(self, form: Form, known: str | None = None) -> Json:
        """What the server says of the dataset: one request where its id is known. InputError where there is none."""
        if known is not None:
            with suppress(Missing):  # deleted; perhaps there is another of its name
                return cast(Json, self.client.get(f"datasets/{known}"))
        workspace = find_workspace(self.client, self.settings.workspace)
        found = self._find(form, workspace) if workspace is not None else None
        if found is None:
            raise InputError(
                f"Argilla at {self.client.url} has no dataset '{form.name}' in workspace '{self.settings.workspace}'; "
                "push tasks first, or mend annotate.workspace"
            )
        return found

    def _make(self, form: Form, workspace: str) -> None:
        self._post("datasets", dataset_body(form, workspace))
        dataset = self._dataset(form)["id"]
        for body in field_bodies(form, self.settings.markdown):
            self._post(f"datasets/{dataset}/fields", body)
        for body in question_bodies(form):
            self._post(f"datasets/{dataset}/questions", body)
        self._post(f"datasets/{dataset}/metadata-properties", category_body())
        try:
            self.client.call("PUT", f"datasets/{dataset}/publish")
        except InputError:
            if self._dataset(form)["status"] != "ready":
                raise

    def _post(self, path: str, body: Json) -> None:
        with suppress(Taken):  # made by a first try whose reply got lost
            self.client.call("POST", path, body)

    def _refuse_another(self, form: Form, found: Json) -> None:
        """A dataset is what its responses were given to. Only its guidelines follow the form."""
        where = f"Argilla has a dataset '{form.name}' in workspace '{self.settings.workspace}'"
        asked = found["distribution"]["min_submitted"]
        if asked != form.min_submitted:
            raise RecipeError(
                f"{where} that asks {asked} people for each task, and annotate.min_submitted wants {form.min_submitted}, which cannot "
                f"change once a response came; set it to {asked}, or give the recipe another name"
            )
        for what, ours in (("fields", field_bodies(form, self.settings.markdown)), ("questions", question_bodies(form))):
            if names := differences(ours, self.client.get(f"datasets/{found['id']}/{what}")["items"]):
                raise RecipeError(
                    f"{where} with other {what} than the recipe wants ({', '.join(names)}); responses to it would not fit: give the "
                    "recipe another name, or delete the dataset in Argilla"
                )
        if found["guidelines"] != (form.guidelines or None):
            self.client.call("PATCH", f"datasets/{found['id']}", {"guidelines": form.guidelines or None})


def connect(settings: Settings) -> Client:
    """A client of the server that the settings or the environment name. RecipeError where they name none."""
    address = settings.url or os.environ.get("ARGILLA_API_URL", "").strip()
    if not address:
        raise RecipeError("annotate.url: found none, wanted the address of an Argilla server; set it, or export ARGILLA_API_URL=…")
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise RecipeError(
            f"Argilla needs an API key, and {settings.api_key_env} is not set; export {settings.api_key_env}=… (My settings, in Argilla)"
        )
    try:
        url = _checked_url(address)
    except ValueError as error:
        raise RecipeError(f"ARGILLA_API_URL: found {address!r}; {error}") from None
    return Client(url, key, settings.api_key_env, settings.timeout, settings.retries)


def _checked_url(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise ValueError("wanted an http(s) address such as http://localhost:6900")
    return url.rstrip("/").removesuffix("/api/v1")
