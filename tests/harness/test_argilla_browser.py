"""The page that annotators see, in a real browser against the real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.argilla import ArgillaServer, password_of
from tests.harness.argilla.browser import AnnotationPage, Browser, require_browser
from tests.harness.test_argilla_server import sdk

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def dataset(argilla_server: ArgillaServer) -> Any:
    require_browser()
    import argilla

    client = sdk(argilla_server)
    argilla.Workspace(name="browser", client=client).create()
    settings = argilla.Settings(
        fields=[argilla.TextField(name="prompt", title="Prompt"), argilla.TextField(name="answer_1", title="Answer 1")],
        questions=[
            argilla.LabelQuestion(name="choice", title="Is it good?", labels={"yes": "It is good", "no": "It is bad"}),
            argilla.RatingQuestion(name="clear", title="How clear?", values=[1, 2, 3, 4, 5], required=False),
            argilla.TextQuestion(name="comment", title="Why?", required=False),
        ],
        guidelines="Read everything first.",
    )
    dataset = argilla.Dataset(name="browser-tasks", workspace="browser", settings=settings, client=client)
    dataset.create()
    dataset.records.log([record(n) for n in range(3)])
    argilla_server.add_annotator("ann", "browser")
    return dataset


def record(n: int) -> Any:
    import argilla

    suggestion = argilla.Suggestion("choice", "no", agent="judge-x")  # sending it changes it: two records cannot share one
    return argilla.Record(id=f"task-{n}", fields={"prompt": f"Question {n}", "answer_1": f"Answer {n}"}, suggestions=[suggestion])


@pytest.fixture(scope="module")
def page(argilla_server: ArgillaServer, dataset: Any) -> Iterator[AnnotationPage]:
    with Browser() as browser:
        page = browser.sign_in(argilla_server.url, "ann", password_of("ann"))
        page.open(dataset.id)
        yield page


def test_an_annotator_reads_and_answers_in_the_browser(argilla_server: ArgillaServer, page: AnnotationPage, tmp_path: Path) -> None:
    page.unfold_guidelines()
    assert {"Read everything first.", "Is it good?", "It is bad", "How clear?", "Why?"} <= set(page.text().replace(" *", "").splitlines())
    assert page.chosen("choice") == ["It is bad"]  # a suggestion is on before anybody has chosen
    first = page.task()
    assert "Question" in first
    assert "judge-x" in page.heard()
    page.choose("choice", "It is good")
    page.choose("clear", "4")
    page.write("comment", "Because.")
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    page.submit()
    assert page.task() not in ("", first)
    page.discard()
    page.submit()  # the suggestion, untouched
    assert page.task() == ""
    said = [response for record in argilla_server.records("browser-tasks") for response in record["responses"]]
    assert sorted(response["status"] for response in said) == ["discarded", "submitted", "submitted"]
    values = [{name: v["value"] for name, v in r["values"].items()} for r in said if r["status"] == "submitted"]
    assert {"choice": "yes", "clear": 4, "comment": "Because."} in values
    assert {"choice": "no"} in values
