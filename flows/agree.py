"""`pairsmith agree`: the passport of judges, from verdict tables of ours or anybody's."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console

from flows.passport_tables import console_for_tables, print_passport
from pipeline.errors import InputError, RecipeError, choose_from
from pipeline.passport.figures import passport
from pipeline.passport.inside import read_run
from pipeline.passport.outside import VerdictTable, described, named, read_outside, same_tables
from pipeline.passport.verdicts import Collector, Verdicts
from pipeline.passport.words import in_sentences
from pipeline.records import Source
from pipeline.runs import Run, write_text

RESAMPLES = 1000


def agree_command(
    verdicts: Sequence[str],
    humans: str | None,
    by: str | None,
    columns: Sequence[str],
    words: Sequence[str],
    html: str | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    errors = Console(stderr=True, soft_wrap=True)
    found = collect(verdicts, humans, by, _pairs("--columns", columns), _pairs("--words", words))
    with errors.status("Counting, and resampling for the intervals"):
        figures = passport(found, by=by, seed=seed, resamples=RESAMPLES)
    figures["sentences"] = in_sentences(figures)
    if html:
        from pipeline.passport.page import html_page

        write_text(Path(html), html_page(figures))
        errors.print(f"Page      {html}", highlight=False)
    if as_json:
        sys.stdout.write(orjson.dumps(figures).decode() + "\n")
    else:
        print_passport(console_for_tables(), figures)


def collect(verdicts: Sequence[str], humans: str | None, by: str | None, columns: dict[str, str], words: dict[str, str]) -> Verdicts:
    """The verdicts of run folders, described tables and files. Raises PairsmithError where one cannot be read, where the
    same is given twice, or where people share no item with anybody."""
    into, has, tables = Collector(), set[str](), list[VerdictTable]()
    if twice := [p for n, p in enumerate(verdicts) if Path(p).absolute() in [Path(q).absolute() for q in verdicts[:n]]]:
        raise RecipeError(f"{twice[0]} is given twice; its verdicts would count twice: name it once")
    for path in verdicts:
        if (Path(path) / "recipe.yaml").is_file():
            has |= read_run(Run(Path(path)), into, by)
        else:
            tables += _tables(path, columns, words)
    people = _tables(humans, columns, words, judge="people", source="human") if humans else []
    if again := same_tables(tables + people):
        raise RecipeError(f"the table {again} is given twice; its verdicts would count twice: name it once")
    for table in tables:
        has |= read_outside(table, into, by)
    judged = set(into.items)
    for table in people:
        has |= read_outside(table, into, by, people=True)
    found = into.verdicts()
    if humans and not found.person_J.any():
        raise InputError(f"{humans} holds no label; wanted at least one row with an item and a choice")
    if humans and judged:
        _shared(found, judged, humans)
    if by is not None and not found.groups:
        raise InputError(f"--by {by}: no item has such a column; {choose_from(by, has)}")
    return found


def _tables(
    path: str, columns: dict[str, str], words: dict[str, str], *, judge: str | None = None, source: Source | None = None
) -> list[VerdictTable]:
    if Path(path).suffix in (".yaml", ".yml"):
        return described(path)
    return [named(path, columns, words, judge=judge, source=source)]


def _shared(found: Verdicts, judged: set[str], humans: str) -> None:
    """People who share no item with the judges say nothing of them: most likely the ids differ."""
    theirs = {found.items[i] for i in found.item_V[found.person_J[found.judge_V]]}
    if theirs and not theirs & judged:
        there, here = min(theirs), min(judged)
        raise InputError(
            f"{humans}: none of its {len(theirs)} items is in the verdict tables (such as {there[:40]!r} there and {here[:40]!r} here); "
            "give both the same `item`, or rename the column that holds it with --columns item=THEIRS"
        )


def _pairs(option: Literal["--columns", "--words"], given: Sequence[str]) -> dict[str, str]:
    """`a=b` options as a dict. An expression may hold further equals signs, and so may a table's word."""
    pairs: dict[str, str] = {}
    for text in given:
        one, equals, other = text.partition("=") if option == "--columns" else text.rpartition("=")
        if not equals or not one.strip() or not other.strip():
            wanted = "OURS=THEIRS, such as --columns item=id" if option == "--columns" else "THEIRS=A (or B, tie, invalid)"
            raise RecipeError(f"{option} {text}: wanted {option} {wanted}")
        pairs[one.strip()] = other.strip()
    return pairs
