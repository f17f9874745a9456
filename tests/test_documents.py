"""The documents say what the code does: every column, every command, every make target; and no machine's own paths."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import fields

import pyarrow as pa
import pytest
import typer

from flows.cli import app
from pipeline import ROOT
from pipeline.annotate.ledger import SCHEMA as LEDGER
from pipeline.annotate.people import PeopleSay, Rewrite
from pipeline.annotate.responses import SCHEMA as RESPONSES
from pipeline.collect import UNDERSTOOD as PROMPT_COLUMNS
from pipeline.engines.recorded import UNDERSTOOD as ANSWER_COLUMNS
from pipeline.identity.dataset import EVALUATION
from pipeline.judges.recorded import UNDERSTOOD as VERDICT_COLUMNS
from pipeline.publish import COLUMNS
from pipeline.records import Answer, Comparison, Pair, Prompt, Verdict
from pipeline.tables import SCHEMAS, Dropped

TABLES: dict[str, type] = {
    "Prompts": Prompt,
    "Answers": Answer,
    "Comparisons": Comparison,
    "Verdicts": Verdict,
    "Pairs": Pair,
    "Dropped": Dropped,
}

FEEDBACK_COLUMNS = ("prompt", "response", "rating", "event_id", "time", "user", "model", "conversation", "comment", "edited")

WANTED: Mapping[str, set[str]] = {
    **{heading: set(SCHEMAS[kind].names) for heading, kind in TABLES.items()},
    **{f"Dataset: {config}": set(columns) for config, columns in COLUMNS.items()},
    "People: tasks": set(LEDGER.names),
    "People: responses": set(RESPONSES.names),
    "People: outcomes": {f.name for f in fields(PeopleSay)},
    "People: rewrites": {f.name for f in fields(Rewrite)},
    "Identity: questions": set(EVALUATION.names),
    "Outside: prompts": {"prompt", *PROMPT_COLUMNS},
    "Outside: answers": {"text", *ANSWER_COLUMNS},
    "Outside: verdicts": set(VERDICT_COLUMNS),
    "Outside: feedback": set(FEEDBACK_COLUMNS),
}
"""The heading of a table in data/README.md, and its columns."""


def documented() -> dict[str, set[str]]:
    """Heading: the names in backticks in the first cells of the tables below it."""
    found: dict[str, set[str]] = {}
    heading = ""
    for line in (ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines():
        if title := re.match(r"#{2,4} +(.+?) *$", line):
            heading = title[1]
            found.setdefault(heading, set())
        elif heading and line.startswith("|"):
            found[heading].update(re.findall(r"`([^`]+)`", line.split("|")[1]))
    return found


def test_every_table_of_ours_has_a_heading() -> None:
    assert set(TABLES.values()) == SCHEMAS.keys()
    assert [heading for heading in WANTED if heading not in documented()] == []


@pytest.mark.parametrize("heading", WANTED)
def test_every_column_is_documented_and_no_other(heading: str) -> None:
    written = documented().get(heading, set())
    assert {"missing": sorted(WANTED[heading] - written), "unknown": sorted(written - WANTED[heading])} == {"missing": [], "unknown": []}


# --- commands


def commands_in(document: str) -> Iterator[list[str]]:
    """Every command line of a Markdown document, in words: from code blocks, and from code in running text."""
    text = re.sub(r"\\\n\s*", " ", document)
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in [*(line for block in blocks for line in block.splitlines()), *spans]:
        for part in re.split(r"&&|\|\||[;|]", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # not a command line: an apostrophe, a piece of YAML
                continue
            while words and (words[0] in ("$", "time", "exec") or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])):
                words = words[1:]
            if words:
                yield words


def subcommands(of: str) -> list[tuple[str, ...]]:
    """What follows a program's name wherever the README calls it, options and values left out."""
    calls = commands_in((ROOT / "README.md").read_text(encoding="utf-8"))
    return [tuple(w for w in words[1:] if not re.search(r"^-|=", w)) for words in calls if words[0].rpartition("/")[2] == of]


def test_commands_are_found_in_blocks_and_in_running_text() -> None:
    block = "```bash\n$ KEY=1 pairsmith build x.yaml \\\n  --set a.b=c  # note\ncd x && make -j2 quick lint\n```\n"
    document = f"Run `make demo`, or\n\n{block}it's `a: b`.\n"
    assert list(commands_in(document)) == [
        ["pairsmith", "build", "x.yaml", "--set", "a.b=c"],
        ["cd", "x"],
        ["make", "-j2", "quick", "lint"],
        ["make", "demo"],
        ["a:", "b"],
    ]


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {target for words in subcommands("make") for target in words}
    assert named
    assert sorted(named - targets) == []


def test_every_command_in_the_readme_exists() -> None:
    group = typer.main.get_command(app)
    known = set(group.commands)  # type: ignore[attr-defined]
    named = {words[0] for words in subcommands("pairsmith") if words}
    assert named
    assert sorted(named - known) == []


def test_every_option_in_the_readme_exists() -> None:
    group = typer.main.get_command(app)
    unknown = []
    for words in commands_in((ROOT / "README.md").read_text(encoding="utf-8")):
        if words[0].rpartition("/")[2] == "pairsmith" and len(words) > 1 and words[1] in group.commands:  # type: ignore[attr-defined]
            command = group.commands[words[1]]  # type: ignore[attr-defined]
            command = getattr(command, "commands", {}).get(words[2], command) if len(words) > 2 else command
            known = {name for p in command.params for name in p.opts} | {"--help"}
            given = [w.partition("=")[0] for w in words[2:] if w.startswith("--")]
            unknown += [f"{words[1]} {option}" for option in given if option not in known]
    assert unknown == []


# --- paths

OWN_PATHS = re.compile(rb"(?<!:/)(?<![\w.~$}\])>-])/(?:work|root)(?=[/\s\"'`,;:)]|$)")
"""An absolute path into the place where this was written or tested."""


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout, so nobody knows which files belong to it")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    files = [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    assert len(files) > 50
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
        if OWN_PATHS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("place", ["work", "root"])
def test_only_absolute_paths_count(place: str) -> None:
    own = [f"cd /{place}/main", f"path: '/{place}/x'", f"A=/{place}", f"file:///{place}/x", f"`/{place}`", f"(/{place}/x)"]
    others = [f"a/{place}/b", f"https://host/{place}/x", f"https://{place}/x", f"${{HOME}}/{place}/x", f"/{place}ing/x", f"../{place}/x"]
    assert [text for text in own if not OWN_PATHS.search(text.encode())] == []
    assert [text for text in others if OWN_PATHS.search(text.encode())] == []


def test_the_plug_in_that_contributing_shows_works() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = text.split("```python\n")[1].split("```")[0]
    gate: dict[str, object] = {"__name__": "shown"}
    exec(compile(source, "CONTRIBUTING.md", "exec"), gate)
    pairs = pa.table({"chosen": ["I'm sorry, but no.", "Canberra."], "rejected": ["a", "b"]})
    assert gate["check"](pairs, gate["Settings"]()).to_pylist() == ["refusal", None]  # type: ignore[operator]
