"""`pairsmith annotate`: push, pull and status, once each and without Prefect; serve keeps them going (annotate_service.py)."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console

from pipeline.annotate.candidates import asked_of
from pipeline.annotate.ledger import folder
from pipeline.annotate.pull import Pulled, pull
from pipeline.annotate.push import Pushed, push
from pipeline.annotate.status import status
from pipeline.annotate.status_words import words
from pipeline.backends import Backend, make_backend
from pipeline.runs import Run
from pipeline.settings import Anything

_BECAUSE = {
    "both_bad": "people found no answer good",
    "flipped": "the judge changes its mind with the order",
    "split": "the jury is split",
    "invalid": "no valid verdict",
    "one_order": "judged in one order only",
    "tie_in_one_order": "a tie in one of the orders",
    "tie": "a tie",
    "small_margin": "the scores are close",
    "certain": "nothing is uncertain",
    "random": "drawn by chance, to estimate the judge",
    "all": "there is no judge",
}


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[Run, Backend]]:
    """A run folder, and the backend that its recipe names. Raises RecipeError and RunError."""
    run = Run(Path(path))
    asked = asked_of(run)
    with closing(make_backend(asked.recipe.annotate or {}, folder(run) / asked.settings.backend)) as backend:
        yield run, backend


def push_once(path: str | Path) -> Pushed:
    """Push, alone in the run folder."""
    with opened(path) as (run, backend), run.locked():
        return push(run, backend)


def pull_once(path: str | Path) -> Pulled:
    """Pull, alone in the run folder."""
    with opened(path) as (run, backend), run.locked():
        return pull(run, backend)


def status_once(path: str | Path) -> Anything:
    """The figures of a status."""
    with opened(path) as (run, backend):
        return status(run, backend)


def push_command(path: str, *, as_json: bool) -> None:
    pushed = push_once(path)
    if as_json:
        print_json(path, asdict(pushed))
        return
    say = Console(soft_wrap=True, highlight=False).print
    sent = ", ".join(f"{n} to {name}" for name, n in pushed.sent.items())
    say(f"Sent      {sent or 'nothing'}{f' ({pushed.again} of them chosen before)' if pushed.again else ''}")
    for why, number in pushed.chosen.items():
        say(f"          {number:>5}  {_BECAUSE[why]}")
    if pushed.gone:
        say(f"Gone      {pushed.gone} tasks that were chosen, since the run holds their answers no longer")
    say(f"Left      {pushed.left} that nobody was asked; at most annotate.per_day go out in a day (UTC)")
    if (files := folder(Run(Path(path))) / asked_of(Run(Path(path))).settings.backend).is_dir():
        say(f"Files     {files}")


def pull_command(path: str, *, as_json: bool) -> None:
    pulled = pull_once(path)
    if as_json:
        print_json(path, pulled.to_json())
        return
    say = Console(soft_wrap=True, highlight=False).print
    say(f"Came      {pulled.new} new responses, {pulled.changed} changed ones")
    say(f"In all    {pulled.submitted} submitted, {pulled.drafts} drafts, {pulled.discarded} discarded")
    say(f"Decided   {pulled.decided} comparisons; {pulled.open} wait for more people, on {pulled.unresolved} they do not agree")
    if pulled.rewrites:
        say(f"Rewritten {pulled.rewrites} answers, {pulled.unchanged} of them left as they were")
    if pulled.adjudication:
        say(f"Next      {pulled.adjudication} tasks for adjudication, which the next push sends")
    for number, what in ((pulled.unreadable, "do not fit their form"), (pulled.stale, "are about answers that the run no longer holds"),
                         (len(pulled.unknown), "are to tasks that this run did not send")):  # fmt: skip
        if number:
            say(f"Not used  {number} responses that {what}")
    if pulled.new or pulled.changed:
        say("Then      pairsmith build, the same command as before: it pairs by what people say, and asks no model anything")


def status_command(path: str, *, as_json: bool) -> None:
    figures = status_once(path)
    sentences = words(figures)
    if as_json:
        print_json(path, {**figures, "sentences": sentences})
        return
    for sentence in sentences:
        Console(soft_wrap=True, highlight=False, markup=False).print(sentence)


def print_json(path: str | Path, figures: Anything) -> None:
    """Print figures as one JSON object, with the run folder."""
    sys.stdout.write(orjson.dumps({**figures, "run": str(path)}).decode() + "\n")
    sys.stdout.flush()
