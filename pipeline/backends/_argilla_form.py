"""A form, its tasks and the responses to it, as Argilla's API has them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast

from pipeline.annotation import Form, Question, Response, Task, Value

Json = dict[str, Any]

_KINDS = {"label": "label_selection", "rating": "rating", "ranking": "ranking", "text": "text"}
_AT_ONCE = 20
"""Labels of a question that are shown before a click on "more"."""


def dataset_body(form: Form, workspace: str) -> Json:
    overlap = {"strategy": "overlap", "min_submitted": form.min_submitted}
    return {"name": form.name, "guidelines": form.guidelines or None, "distribution": overlap, "workspace_id": workspace}


def field_bodies(form: Form, markdown: bool) -> list[Json]:
    """The first field is in every task; another, such as a reference, may be missing."""
    settings = {"type": "text", "use_markdown": markdown}
    return [{"name": name, "title": title, "required": n == 0, "settings": settings} for n, (name, title) in enumerate(form.fields.items())]


def question_bodies(form: Form) -> list[Json]:
    return [
        {"name": q.name, "title": q.title, "description": q.description or None, "required": q.required, "settings": _settings(q)}
        for q in form.questions
    ]


def category_body() -> Json:
    """The one thing beside its fields that annotators see of a task."""
    return {"name": "category", "title": "Category", "settings": {"type": "terms"}, "visible_for_annotators": True}


def _settings(question: Question) -> Json:
    kind = _KINDS[question.kind]
    if question.kind == "text":
        return {"type": kind, "use_markdown": False}
    if question.kind == "rating":
        return {"type": kind, "options": [{"value": int(value)} for value in question.labels]}
    options = [{"value": value, "text": text} for value, text in question.labels.items()]
    shown = {"visible_options": min(len(options), _AT_ONCE)} if question.kind == "label" and len(options) > 2 else {}
    return {"type": kind, "options": options, **shown}


def differences(wanted: list[Json], found: list[Json]) -> list[str]:
    """The names of fields or questions that are not the same; what a server adds by itself aside."""
    ours, theirs = {b["name"]: _comparable(b) for b in wanted}, {b["name"]: _comparable(b) for b in found}
    return [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]


def _comparable(body: Json) -> list[Any]:
    settings = body["settings"]
    options = [(o["value"], o.get("text") or str(o["value"])) for o in settings.get("options") or []]
    said = [body["title"], body.get("description") or "", body["required"]]
    return [*said, settings["type"], settings.get("use_markdown", False), options]


def record_body(form: Form, task: Task, question_ids: Mapping[str, str]) -> Json:
    suggestions = [
        {"question_id": question_ids[q.name], "value": _outward(q, task.suggestions[q.name]), "type": "model"}
        for q in form.questions
        if q.name in task.suggestions
    ]
    metadata = {"category": task.category} if task.category is not None else {}
    return {"external_id": task.id, "fields": dict(task.fields), "metadata": metadata, "suggestions": suggestions}


def response_of(form: Form, task_id: str, annotator: str, raw: Json) -> Response:
    """A response as the API or a webhook gives it. Its `values` may be null, where a task was discarded."""
    given = raw.get("values") or {}
    values = {q.name: value for q in form.questions if q.name in given and (value := _inward(q, given[q.name].get("value"))) is not None}
    return Response(task_id, annotator, raw["status"], values, moment(raw["updated_at"]).isoformat(timespec="microseconds"))


def moment(text: str) -> datetime:
    """Argilla's times are in UTC and do not say so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _outward(question: Question, value: Value) -> Any:
    if question.kind != "ranking":
        return int(cast(str, value)) if question.kind == "rating" else value
    ranks = enumerate(cast(tuple[str, ...], value), start=1)
    return [{"value": label, "rank": rank} for rank, labels in ranks for label in labels.split("=")]


def _inward(question: Question, value: Any) -> Value | None:
    """None where nothing is said: a ranking that someone has only begun has labels without a rank."""
    if question.kind != "ranking":
        return cast(Value, value)
    if any(item.get("rank") is None for item in value):
        return None
    ranked = sorted(value, key=lambda item: (item["rank"], item["value"]))
    return tuple("=".join(item["value"] for item in group) for _, group in groupby(ranked, key=lambda item: item["rank"]))
