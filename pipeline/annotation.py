"""What people are asked: a form, its tasks, and their responses; and what a recipe says of it.

Whoever shows tasks to people (Argilla, a spreadsheet) is a plug-in of pipeline/backends and knows no more than this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from pipeline.settings import Anything, PluginSettings, plugin_settings

TaskKind = Literal["choice", "ranking", "rating", "rewrite"]
"""Which of two answers is better; all answers in order; a score for each answer and criterion; a better text, written or edited."""

Status = Literal["submitted", "draft", "discarded"]

Value = str | int | tuple[str, ...]
"""A label, a score, a text; or labels from the best to the worst, those of one rank joined by `=`."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to say of a task."""

    name: str
    kind: Literal["label", "rating", "ranking", "text"]
    title: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Value: what the annotator reads; in the order in which they stand. Of a rating the values are whole numbers."""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Form:
    """What all tasks of a dataset have in common."""

    name: str
    """Of the dataset, where the backend keeps it."""
    guidelines: str
    fields: Mapping[str, str]
    """Name: title, in the order in which they stand."""
    questions: tuple[Question, ...]
    min_submitted: int = 1
    """Annotators whose responses complete a task."""


@dataclass(frozen=True, slots=True)
class Task:
    """What an annotator sees. Nothing in it says who wrote an answer, or what a judge thinks, but `suggestions`."""

    id: str
    """The same for the same task in every push: a backend that knows it replaces it."""
    fields: Mapping[str, str]
    category: str | None = None
    suggestions: Mapping[str, Value] = field(default_factory=dict)
    """Question: the answer that stands there already."""


@dataclass(frozen=True, slots=True)
class Response:
    """What one annotator said of one task. `values` are by question; those of a draft or a discard may be missing."""

    task_id: str
    annotator: str
    status: Status
    values: Mapping[str, Value]
    updated: str
    """When, as ISO 8601 in UTC."""
    seconds: float | None = None
    """How long it took, where the backend knows."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a dataset is, as its backend says."""

    tasks: int
    completed: int
    annotators: Mapping[str, Mapping[Status, int]]


class AnnotateSettings(PluginSettings):
    """What every backend understands; its own fields are in its file in pipeline/backends."""

    backend: str
    """The plug-in in pipeline/backends."""
    task: TaskKind = "choice"
    """What people are asked: `choice` of two answers, `ranking` or `rating` of all answers to a prompt, or a `rewrite`."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Of a `rating`: a criterion's name, and the sentence that explains it to an annotator."""
    language: str = "en"
    """Of the guidelines and questions: a folder in prompts/annotate."""
    per_day: int = Field(100, ge=1, le=1_000_000)
    """Tasks sent in a day (UTC) at most."""
    random_share: float = Field(0.2, ge=0, le=1)
    """Share of the tasks that is drawn by chance, evenly over categories: it estimates the judge; the others are the uncertain ones."""
    margin: float | None = Field(None, ge=0)
    """A comparison whose scores differ by less is uncertain too."""
    min_submitted: int = Field(1, ge=1, le=100)
    """People who label a task. It cannot change once the first response came (Argilla)."""
    suggestions: bool = False
    """Show the judge's choice as a suggestion. An untouched suggestion is submitted as the person's own, so people lean to it."""
    control_share: float = Field(0.3, ge=0, le=1)
    """Of the tasks with suggestions on: the share that shows none, against which the leaning is measured."""
    consensus: Literal["majority", "dawid_skene"] = "majority"
    """How several people's responses to a task become one: by number, or weighted by how reliable each one is."""
    adjudication: bool = True
    """Send tasks on which people could not agree to one more round."""


def annotate_settings(raw: Anything) -> AnnotateSettings:
    """The checked settings of a recipe's `annotate` part. Raises RecipeError."""
    return plugin_settings("backends", raw, "backend", "annotate", AnnotateSettings)
