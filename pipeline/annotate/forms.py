"""What people are shown: a file of prompts/annotate becomes a form, and texts become a task's fields.

    prompts/annotate/LANGUAGE/KIND.md
    ---
    fields: {prompt: …, reference: …, answer: "Answer {number}"}      # titles
    questions: {choice: {title: …, description: …, labels: {…}}, …}
    adjudication: …                                                   # what is said of tasks on which people did not agree
    ---
    The guidelines, in Markdown.

Texts from outside are values of fields. None of them is read as a template.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

from pydantic import Field

from pipeline.annotation import AnnotateSettings, Form, Question, TaskKind
from pipeline.check import Closed, check
from pipeline.errors import RecipeError, choose_from
from pipeline.prompts import load_guidelines, prompt_names
from pipeline.records import Prompt

_MOST_ANSWERS: Mapping[TaskKind, int] = {"choice": 2, "ranking": 6, "rating": 6, "rewrite": 1}


class Words(Closed):
    """The words of one question."""

    title: str
    """What is asked."""
    description: str = ""
    """What stands below it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Value: what the annotator reads."""
    label: str | None = None
    """Of a ranking: what the annotator reads for an answer, with {number}."""


class FieldTitles(Closed):
    """The titles of what is shown."""

    prompt: str
    """Of the question."""
    reference: str
    """Of an answer that is known to be good, where the prompt has one."""
    answer: str
    """Of an answer, with {number} where there are several."""


class FormFile(Closed):
    """The front matter of a file in prompts/annotate."""

    about: str = ""
    """For whoever reads the file."""
    fields: FieldTitles
    """The titles of what is shown."""
    questions: dict[str, Words]
    """The words of the questions, by name."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Of a rating: the criterion that is asked for where the recipe names none."""
    adjudication: str
    """What is said before the guidelines when people did not agree."""


def most_answers(kind: TaskKind) -> int:
    """The most answers that one task of a kind shows."""
    return _MOST_ANSWERS[kind]


def form_name(recipe: str, kind: TaskKind, round_: int, answers: int) -> str:
    """The name of a form. Rankings and ratings of as many answers share one: a backend asks for each of them in every task."""
    several = f"-of-{answers}" if kind in ("ranking", "rating") else ""
    return f"{recipe}-{kind}{several}{'-adjudication' if round_ else ''}"


def form_of(
    settings: AnnotateSettings,
    name: str,
    *,
    round: int = 0,  # noqa: A002 - the word for it
    answers: int = 2,
) -> Form:
    """The form of a recipe's tasks of this kind; `name` is the recipe's. RecipeError where the language has no such file."""
    kind = settings.task
    words, guidelines = _read(settings.language, kind)
    shown = 1 if kind == "rewrite" else answers
    return Form(
        name=form_name(name, kind, round, shown),
        guidelines=f"{words.adjudication}\n\n{guidelines}" if round else guidelines,
        fields={
            "prompt": words.fields.prompt,
            "reference": words.fields.reference,
            **{f"answer_{n}": words.fields.answer.format(number=n) for n in range(1, shown + 1)},
        },
        questions=tuple(_questions(words, settings, shown)),
        min_submitted=1 if round else settings.min_submitted,
    )


def fields_of(prompt: Prompt, texts: Sequence[str]) -> dict[str, str]:
    """The fields of a task: the question, its reference where it has one, and the answers in the order in which they are shown."""
    reference = {"reference": prompt.reference} if prompt.reference else {}
    return {"prompt": prompt.question, **reference, **{f"answer_{n}": text for n, text in enumerate(texts, 1)}}


def criteria_of(settings: AnnotateSettings) -> dict[str, str]:
    """What a rating asks for: a criterion's name and its sentence; the language's own where the recipe names none."""
    return settings.criteria or _read(settings.language, "rating")[0].criteria


_ASKED: Mapping[TaskKind, tuple[str, ...]] = {
    "choice": ("choice", "strength", "comment"),
    "ranking": ("ranking", "comment"),
    "rating": ("rating", "comment"),
    "rewrite": ("rewrite", "comment"),
}


def _read(language: str, kind: TaskKind) -> tuple[FormFile, str]:
    name = f"{language}/{kind}"
    known = sorted({name.split("/")[1] for name in prompt_names(for_people=True)})
    if language not in known:
        raise RecipeError(f"annotate.language: found '{language}', wanted a folder of prompts/annotate; {choose_from(language, known)}")
    head, guidelines = load_guidelines(name)
    try:
        words = check(FormFile, head, "")
    except RecipeError as error:
        raise RecipeError(f"prompts/annotate/{name}.md: {str(error).replace('the recipe', 'the front matter')}") from error
    if missing := [question for question in _ASKED[kind] if question not in words.questions]:
        raise RecipeError(f"prompts/annotate/{name}.md: no question '{missing[0]}'; {choose_from(missing[0], words.questions)}")
    return words, guidelines


def _questions(words: FormFile, settings: AnnotateSettings, answers: int) -> Iterable[Question]:
    said, kind = words.questions, settings.task
    numbers = range(1, answers + 1)
    if kind == "choice":
        yield _question("choice", "label", said["choice"])
        yield _question("strength", "label", said["strength"], required=False)
    elif kind == "ranking":
        each = said["ranking"].label or "{number}"
        yield Question(
            "ranking", "ranking", said["ranking"].title, said["ranking"].description, {str(n): each.format(number=n) for n in numbers}
        )
    elif kind == "rating":
        rating = said["rating"]
        for criterion, sentence in criteria_of(settings).items():
            for n in numbers:
                yield Question(f"{criterion}.{n}", "rating", rating.title.format(number=n, criterion=criterion), sentence, rating.labels)
    else:
        yield _question("rewrite", "text", said["rewrite"])
    yield _question("comment", "text", said["comment"], required=False)


def _question(name: str, kind: str, words: Words, *, required: bool = True) -> Question:
    return Question(name, cast(Literal["label", "text"], kind), words.title, words.description, words.labels, required)
