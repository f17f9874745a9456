"""Forms and tasks that the tests of the backends share."""

from typing import Any

from pipeline.annotation import Form, Question, Task

STRENGTHS = {"slight": "Slightly", "clear": "Clearly", "strong": "By far"}
LABELS = {"1": "Answer 1", "2": "Answer 2", "tie": "About the same", "both_bad": "Both are bad"}


def choice_form(name: str = "r-choice", **changes: Any) -> Form:
    questions = (
        Question("choice", "label", "Which answer is better?", labels=LABELS),
        Question("strength", "label", "By how much?", labels=STRENGTHS, required=False),
        Question("comment", "text", "Anything else?", required=False),
    )
    fields = {"prompt": "The prompt", "answer_1": "Answer 1", "answer_2": "Answer 2"}
    return Form(**{"name": name, "guidelines": "Choose the better answer.", "fields": fields, "questions": questions, **changes})


def choice_tasks(count: int, **changes: Any) -> list[Task]:
    return [choice_task(n, **changes) for n in range(count)]


def choice_task(number: int, **changes: Any) -> Task:
    fields = {"prompt": f"Question {number}?", "answer_1": f"First answer to {number}.", "answer_2": f"Second answer to {number}."}
    return Task(**{"id": f"{number:04d}e45", "fields": fields, "category": ("maths", "code")[number % 2], **changes})


RANKING = Form(
    "r-ranking",
    "Order the answers.",
    {"prompt": "Prompt", "answer_1": "1", "answer_2": "2", "answer_3": "3"},
    (Question("ranking", "ranking", "From the best to the worst", labels={n: f"Answer {n}" for n in "123"}),),
)

RATING = Form(
    "r-rating",
    "Rate each answer.",
    {"prompt": "Prompt", "answer_1": "1"},
    (Question("helpful.1", "rating", "How helpful is answer 1?", labels={str(n): str(n) for n in range(1, 6)}),),
)

REWRITE = Form(
    "r-rewrite",
    "Make the answer better.",
    {"prompt": "Prompt", "answer_1": "Answer"},
    (Question("rewrite", "text", "A better answer"), Question("comment", "text", "Why?", required=False)),
)
