"""`pairsmith agree`, as a user runs it: once in a process of its own, else in this one, which is ten times as fast."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.cli import app
from tests.harness.command import Ended, pairsmith
from tests.pipeline.passport.run_folder import write_run


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def agree(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*args: object) -> Ended:
        code = 0
        try:
            app(["agree", *map(str, args)], standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


def judged(path: Path, judge: str = "j", choices: str = "AABBABAB", **more: str) -> Path:
    return write(path, *({"item": n, "judge": judge, "choice": c, "category": f"c{n % 2}", **more} for n, c in enumerate(choices)))


@pytest.mark.slow
def test_two_tables_in_words_and_as_json(tmp_path):
    tables = judged(tmp_path / "one.jsonl"), judged(tmp_path / "two.jsonl", "k", "AABBABBA")
    said = pairsmith("agree", *tables)
    assert said.code == 0, said.err
    assert "j and k agree on 75% of 8 items" in said.out
    assert "at n=8 this agreement is 0.41 to 0.93, and 8 items are too few to tell" in said.out
    ended = pairsmith("agree", *tables, "--json", "--by", "category")
    assert ended.code == 0, ended.err
    assert ended.json["pairs"][0]["raw"]["value"] == 0.75
    assert [g["items"] for g in ended.json["by"]["groups"]] == [4, 4]
    assert ended.out.count("\n") == 1


def test_people_come_in_a_table_of_their_own(tmp_path, agree):
    people = write(tmp_path / "people.csv")
    people.write_text("id,label\n" + "".join(f"{n},{'left' if n < 6 else 'right'}\n" for n in range(8)))
    given = ["--humans", people, "--columns", "item=id", "--columns", "choice=label", "--words", "left=A", "--words", "right=B"]
    ended = agree(judged(tmp_path / "one.jsonl"), *given, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["people"]["people"] == 1
    assert ended.json["judges"][0]["against"]["accuracy"] == {
        "value": 0.5,
        "low": pytest.approx(0.2152, abs=1e-4),
        "high": pytest.approx(0.7848, abs=1e-4),
        "n": 8,
    }


def test_a_run_folder_has_models_lengths_and_categories(tmp_path, agree):
    run, _ = write_run(tmp_path / "run")
    ended = agree(run, "--json", "--by", "category")
    assert ended.code == 0, ended.err
    judge = ended.json["judges"][0]
    assert (judge["verdicts"], judge["items"], judge["flip"]["n"] > 5) == (48, 24, True)
    assert {m["model"] for m in judge["standings"]["models"]} == {"strong", "weak"}
    assert judge["length"]["longer_chosen"]["n"] > 5
    assert [g["value"] for g in ended.json["by"]["groups"]] == ["c0", "c1"]
    tables = agree(run / "shards" / "*" / "verdicts.parquet", "--json")
    assert tables.json["judges"][0]["flip"] == judge["flip"]


@pytest.mark.slow
def test_the_seed_decides_the_resamples(tmp_path, agree):
    run, _ = write_run(tmp_path / "run")
    one, same, other = (agree(run, "--json", "--seed", seed).out for seed in (1, 1, 2))
    assert one == same != other


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_brings_everything_with_it(tmp_path, agree):
    run, _ = write_run(tmp_path / "run")
    page = tmp_path / "page.html"
    ended = agree(run, judged(tmp_path / "t.jsonl", "<script>alert(1)</script>"), "--html", page, "--by", "category")
    assert ended.code == 0, ended.err
    text = page.read_text()
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not [attrs for _, attrs in parsed.tags if {"src", "href"} & set(attrs)]
    assert not [word for word in ("http", "url(", "@import") if word in text]
    assert sum(tag == "circle" for tag, _ in parsed.tags) > 10
    assert "&lt;script&gt;" in text


def test_what_the_user_must_change_is_one_sentence(tmp_path, agree):
    one, other = judged(tmp_path / "one.jsonl"), write(tmp_path / "far.jsonl", {"item": "x", "choice": "A"})
    cases = {
        "is given twice": [one, one],
        "no file at": [tmp_path / "none.jsonl"],
        "none of its 1 items is in the verdict tables (such as 'x' there and '0' here)": [one, "--humans", other],
        "holds no label": [one, "--humans", write(tmp_path / "blank.jsonl", {"item": 1, "choice": None})],
        "--by topic: no item has such a column; did you mean": [one, "--by", "topic"],
        "wanted --columns OURS=THEIRS": [one, "--columns", "item"],
        "'thing' is no column of this table": [one, "--columns", "thing=item"],
        "--words left: wanted --words THEIRS=A": [one, "--words", "left"],
        "holds no verdicts": [write_run(tmp_path / "run", shards=0)[0]],
    }
    for wanted, given in cases.items():
        ended = agree(*given)
        assert (ended.code, wanted.partition("; did")[0] in ended.err) == (2, True), (wanted, ended.err)
        assert ended.err.count("\n") == 1
        assert ended.out == ""


def test_a_copy_of_a_table_is_no_second_opinion(tmp_path, agree):
    one = judged(tmp_path / "one.jsonl")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(one.read_bytes())
    ended = agree(one, copy)
    assert ended.code == 2
    assert "is given twice" in ended.err
