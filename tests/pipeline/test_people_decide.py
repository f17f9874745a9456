"""What people decide stands over the judge: in the pairs of the shards that they decided, in the report, the card and the passport."""

import json
from collections import Counter
from pathlib import Path

import pytest

from flows.recipe import run_of
from pipeline.annotate.people import People, PeopleSay, Rewrite, key_of_people, read_people, texts_key, write_people
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.finish import finish
from pipeline.passport.figures import run_figures
from pipeline.passport.inside import read_run
from pipeline.passport.verdicts import Collector
from pipeline.recipe import load_recipe
from pipeline.records import Comparison, content_id
from pipeline.session import Session
from pipeline.stages import collect_shards, run_stage, stages_of
from pipeline.tables import key_of, read_table
from tests.harness.annotators import FakeBackend
from tests.harness.command import write_recipe

pytestmark = pytest.mark.slow

SCRIPTED = {"engine": "scripted", "structured": False}

FAIR = {**SCRIPTED, "replies": {"<answer_1>\na good": "Verdict: 1", "<answer_2>\na good": "Verdict: 2"}}

PAIRWISE = {"kind": "pairwise", "model": FAIR}


class Small:
    """A small recipe's run, built in this process: eight prompts in shards of four, judged, all pairs."""

    def __init__(self, folder: Path, **changes) -> None:
        given = {"judge": PAIRWISE, "pair": {"strategy": "best_worst"}, **changes}
        self.raw = load_recipe(write_recipe(folder, **given))
        self.raw["run"]["shard"] = 4
        self.run = run_of(self.raw, None)
        self.run.begin(self.raw)

    def build(self):
        with Session(self.run) as session:
            for shard in range(collect_shards(session)):
                for stage in stages_of(session):
                    run_stage(session, stage, shard)
            return finish(session)

    def pairs(self):
        return [row for shard in self.run.shards() for row in read_table(shard / "pairs.parquet").to_pylist()]

    def texts(self):
        return [(p["chosen"], p["rejected"]) for p in self.pairs()]

    def dropped(self):
        return Counter(row["reason"] for s in self.run.shards() for row in read_table(s / "pairs.dropped.parquet").to_pylist())

    def answers(self):
        return {row["id"]: row for shard in self.run.shards() for row in read_table(shard / "answers.parquet").to_pylist()}

    def comparisons(self):
        found = [
            row
            for s in self.run.shards()
            if (s / "comparisons.parquet").is_file()
            for row in read_table(s / "comparisons.parquet").to_pylist()
        ]
        return [Comparison(**row) for row in found]

    def keys(self):
        return [key_of(shard / "pairs.parquet") for shard in self.run.shards()]

    def say(self, *decided: tuple[int | Comparison, str], rewrites=(), **fields):
        answers, comparisons = self.answers(), self.comparisons()
        says = {}
        for which, result in decided:
            c = which if isinstance(which, Comparison) else comparisons[which]
            texts = texts_key(answers[c.a]["text"], answers[c.b]["text"])
            says[c.id] = PeopleSay(c.id, c.prompt_id, c.a, c.b, result, "majority", 2, 1.0, texts=texts, **fields)
        write_people(self.run, People(says, rewrites))

    def rewrite(self, answer: str, text: str, annotator: str = "ann") -> Rewrite:
        row = self.answers()[answer]
        return Rewrite(content_id("rewrite", row["prompt_id"], text), row["prompt_id"], answer, text, annotator, texts_key(row["text"]))


@pytest.fixture
def small(tmp_path):
    made = Small(tmp_path)
    made.build()
    return made


def conserved(summary):
    for s in summary["stages"]:
        assert s["in"] - s["out"] == sum(d["rows"] for d in summary["dropped"] if d["stage"] == s["stage"])


def test_people_overrule_the_judge_where_they_decided_and_nowhere_else(small):
    before, keys = small.pairs(), small.keys()
    assert len(before) == 8
    small.say((1, "B"))
    summary = small.build()
    after = small.pairs()
    assert summary["usage"]["total"]["requests"] == 0
    assert [n for n, (x, y) in enumerate(zip(before, after, strict=True)) if x != y] == [1]
    assert (after[1]["chosen"], after[1]["rejected"]) == (before[1]["rejected"], before[1]["chosen"])
    assert (after[1]["source"], after[1]["margin"]) == ("human", 1.0)
    assert summary["pairs"]["by_source"] == {"human": 1, "llm": 7}
    assert summary["people"] == {"decided": 1, "overruled": 1, "both_bad": 0, "unresolved": 0, "rewrites": 0}
    assert "human 1, llm 7" in (small.run.dataset / "README.md").read_text()
    assert "instead of the judge's verdict: 1 times against it" in (small.run.dataset / "README.md").read_text()
    assert "People decided 1 comparisons" in (small.run.path / "report.md").read_text()
    conserved(summary)
    assert small.keys()[0] != keys[0]
    assert small.keys()[1] == keys[1]  # nobody decided anything there


def test_a_label_redoes_the_pairs_of_its_shard_alone(small):
    stamps = [(s / "pairs.parquet").stat().st_mtime_ns for s in small.run.shards()]
    small.say((1, "A"))
    small.build()
    after = [(s / "pairs.parquet").stat().st_mtime_ns for s in small.run.shards()]
    assert (after[0] != stamps[0], after[1] != stamps[1]) == (True, False)
    again = small.build()
    assert again["unchanged"] is True
    assert [(s / "pairs.parquet").stat().st_mtime_ns for s in small.run.shards()] == after


def test_the_key_is_constant_without_people_and_follows_what_they_say(small):
    assert key_of_people(small.run) == ""
    small.say((0, "A"), (5, "tie"))
    both, c = key_of_people(small.run), small.comparisons()
    assert key_of_people(small.run, [c[0].prompt_id]) not in ("", both)
    assert key_of_people(small.run, [c[1].prompt_id]) == ""
    first = key_of_people(small.run, [c[0].prompt_id])
    small.say((0, "A"), (5, "B"))
    assert key_of_people(small.run) != both
    assert key_of_people(small.run, [c[0].prompt_id]) == first


@pytest.mark.parametrize(("result", "reason"), [("tie", "tie"), ("both_bad", "both_bad"), ("unresolved", "people_disagree")])
def test_what_people_do_not_find_better_never_pairs_and_says_why(small, result, reason):
    small.say((2, result))
    summary = small.build()
    assert len(small.pairs()) == 7
    assert small.dropped() == {reason: 1}
    conserved(summary)


def test_words_that_changed_under_an_id_take_their_decision_with_them(small):
    c = small.comparisons()[0]
    write_people(
        small.run, People({c.id: PeopleSay(c.id, c.prompt_id, c.a, c.b, "B", "majority", 1, 1.0, texts=texts_key("other", "words"))})
    )
    small.build()
    assert [p["source"] for p in small.pairs()] == ["llm"] * 8


def rubric(good: int, draw: int):
    model = {"engine": "scripted", "structured": False, "replies": {"a good answer": f"good: {good}"}, "default": f"good: {draw}"}
    return {"kind": "rubric", "model": model, "criteria": {"good": ""}}


@pytest.mark.parametrize("judge", [(5, 2), (2, 5), (3, 3)])
@pytest.mark.parametrize("strategy", ["best_worst", "all_pairs", {"strategy": "margin", "min_margin": 2}])
@pytest.mark.parametrize("said", ["A", "B"])
def test_people_pair_also_where_a_judge_gave_scores_of_its_own(tmp_path, judge, strategy, said):
    pair = strategy if isinstance(strategy, dict) else {"strategy": strategy}
    small = Small(tmp_path, judge=rubric(*judge), pair=pair)
    small.build()
    before = small.pairs()
    small.say((3, said))
    summary = small.build()
    assert [p for p in small.pairs() if p["source"] == "llm"] == [p for n, p in enumerate(before) if n != 3]
    (mine,) = [p for p in small.pairs() if p["source"] == "human"]
    c, answers = small.comparisons()[3], small.answers()
    assert (mine["chosen"], mine["rejected"]) == tuple(answers[i]["text"] for i in ((c.a, c.b) if said == "A" else (c.b, c.a)))
    # The judge's scores where they go with people; where they go against them nothing is made of them.
    agrees = judge[0] > judge[1] if said == "A" else judge[1] > judge[0]
    assert mine["margin"] == (3.0 if agrees else 0.0)
    conserved(summary)


def test_an_invalid_verdict_is_made_good_by_people(tmp_path):
    small = Small(tmp_path, judge={"kind": "pairwise", "model": {**SCRIPTED, "default": "no idea"}})
    assert small.build()["pairs"]["rows"] == 0
    small.say((0, "A"), (7, "B"))
    summary = small.build()
    assert [p["source"] for p in small.pairs()] == ["human", "human"]
    assert small.dropped() == {"invalid": 6}
    assert summary["people"]["overruled"] == 0
    conserved(summary)


def test_a_weak_answer_that_people_prefer_is_no_strong_weak_pair(tmp_path):
    small = Small(tmp_path, pair={"strategy": "strong_weak"})
    small.build()
    small.say((0, "B"), (1, "A"))
    conserved(small.build())
    sources = [p["source"] for p in small.pairs()]
    assert Counter(sources) == {"human": 2, "llm": 6}
    c, answers = small.comparisons()[0], small.answers()
    assert (small.pairs()[0]["chosen"], small.pairs()[0]["rejected"]) == (answers[c.b]["text"], answers[c.a]["text"])


# --- without a judge


def compared(small):
    by_prompt = {}
    for row in small.answers().values():
        by_prompt.setdefault(row["prompt_id"], []).append(row["id"])
    return [Comparison.of(p, *ids) for p, ids in by_prompt.items()]


def test_without_a_judge_people_are_the_judge(tmp_path):
    small = Small(tmp_path, judge=None, pair={"strategy": "all_pairs"})
    assert small.build()["pairs"]["rows"] == 0
    c = compared(small)
    small.say((c[0], "A"), (c[5], "B"), (c[6], "both_bad"))
    summary = small.build()
    answers = small.answers()
    assert small.texts() == [(answers[c[0].a]["text"], answers[c[0].b]["text"]), (answers[c[5].b]["text"], answers[c[5].a]["text"])]
    assert {p["source"] for p in small.pairs()} == {"human"}
    assert small.dropped() == {"unscored": 5, "both_bad": 1}
    conserved(summary)


def test_without_a_judge_the_strategys_word_stands_where_people_say_nothing(tmp_path):
    small = Small(tmp_path, judge=None, pair={"strategy": "strong_weak"})
    small.build()
    before, c = small.texts(), compared(small)
    small.say((c[0], "A"), (c[1], "B"), (c[2], "tie"))
    conserved(small.build())
    assert [p["source"] for p in small.pairs()] == ["human"] + ["strength"] * 5
    assert small.texts() == [before[0], *before[3:]]
    assert small.dropped() == {"people_prefer_other": 1, "tie": 1}


# --- rewrites


def test_a_rewrite_stands_instead_of_what_the_strategy_proposes(small):
    before, c = small.pairs(), small.comparisons()[2]
    small.say(rewrites=[small.rewrite(c.a, "  a better answer, by a person\n")])
    summary = small.build()
    after = small.pairs()
    assert len(after) == 8
    assert [n for n, (x, y) in enumerate(zip(before, after, strict=True)) if x != y] == [2]
    found = {name: after[2][name] for name in ("chosen", "chosen_model", "rejected", "rejected_model", "source", "score_chosen", "margin")}
    assert found == {
        "chosen": "a better answer, by a person",
        "chosen_model": "people",
        "rejected": small.answers()[c.a]["text"],
        "rejected_model": "strong",
        "source": "human",
        "score_chosen": None,
        "margin": None,
    }
    assert summary["people"]["rewrites"] == 1
    conserved(summary)
    assert small.build()["unchanged"] is True


def test_an_unchanged_text_is_no_pair_and_the_strategy_goes_on(small):
    before, c = small.pairs(), small.comparisons()[2]
    text = small.answers()[c.a]["text"]
    small.say(rewrites=[small.rewrite(c.a, f" {text}\n")])
    conserved(small.build())
    assert small.pairs() == before
    assert small.dropped() == {"unchanged": 1}


def test_two_people_who_rewrite_make_two_pairs_and_one_if_they_wrote_the_same(small):
    c = small.comparisons()
    edits = [("a text", "ann"), ("another text, much longer", "bob"), ("a text", "eve")]
    small.say((5, "B"), rewrites=[small.rewrite(c[5].b, text, who) for text, who in edits])
    conserved(small.build())
    mine = [p for p in small.pairs() if p["prompt_id"] == c[5].prompt_id]
    assert [p["chosen"] for p in mine] == ["a text", "another text, much longer"]
    assert [p["chosen_model"] for p in mine] == ["people", "people"]


def test_an_answer_that_is_gone_makes_no_pair_of_its_rewrite(small):
    c = small.comparisons()[0]
    edit = small.rewrite(c.a, "a better answer")
    small.say(rewrites=[Rewrite(edit.id, edit.prompt_id, edit.answer_id, edit.text, "ann", texts_key("what it was"))])
    conserved(small.build())
    assert small.dropped() == {"answer_gone": 1}
    assert len(small.pairs()) == 8


def test_a_shard_that_people_rewrote_whole(small):
    small.say(rewrites=[small.rewrite(c.b, f"written by a person, number {n}") for n, c in enumerate(small.comparisons())])
    summary = small.build()
    assert summary["pairs"]["by_source"] == {"human": 8}
    assert summary["dataset"]["default"]["train"] + summary["dataset"]["default"]["test"] == 8
    conserved(summary)


# --- the whole way, and the passport


def flipping(tmp_path, **passport):
    """Half of the comparisons flip, since the judge always takes the first answer of questions 0 to 3."""
    first = {f"question {n}": "Verdict: 1" for n in range(4)}
    judge = {"kind": "pairwise", "model": {**SCRIPTED, "replies": {**first}, "default": "Verdict: tie"}, "passport": passport}
    return Small(tmp_path, judge=judge, annotate={"backend": "csv", "random_share": 0.0, "control_share": 0.0})


def test_people_decide_what_the_judge_left_open_and_the_run_is_published(tmp_path):
    small = flipping(tmp_path, max_flip=0.1, otherwise="people")
    refused = small.build()["refused"]
    assert len(refused) == 2
    assert "50.0%" in refused[0]
    assert refused[1] == "8 comparisons that the judge left open wait for people: `pairsmith annotate push RUN` sends them"
    assert not small.run.dataset.exists()
    backend = FakeBackend()
    assert push(small.run, backend, day="2026-01-01").chosen == {"flipped": 4, "tie": 4}
    flipped = [i for i, task in backend.all_tasks.items() if task.fields["prompt"] in ("question 0", "question 1")]
    good = "a good answer"
    backend.answer("ann", lambda t: {"choice": "1" if t.fields["answer_1"].startswith(good) else "2"}, only=flipped)
    assert pull(small.run, backend).decided == 2
    refused = small.build()["refused"]
    assert "33.3%" in refused[0]
    assert "where no person decided" in refused[0]
    backend.answer("ann", lambda t: {"choice": "1" if t.fields["answer_1"].startswith(good) else "2"})
    assert pull(small.run, backend).decided == 8
    summary = small.build()
    assert summary["refused"] == []
    assert summary["pairs"]["by_source"] == {"human": 8}
    assert all(chosen.startswith(good) for chosen, _ in small.texts())
    assert small.run.dataset.is_dir()


def test_a_run_that_stops_at_a_missed_figure_does_so_whatever_people_decided(tmp_path):
    small = flipping(tmp_path, max_flip=0.1)
    small.build()
    small.say(*((n, "A") for n in range(8)))
    (refused,) = small.build()["refused"]
    assert "50.0%" in refused
    assert "annotate" not in refused


def test_people_are_persons_in_the_passport_of_the_run(tmp_path):
    small = Small(tmp_path, annotate={"backend": "csv", "random_share": 0.5})
    small.build()
    backend = FakeBackend()
    push(small.run, backend, day="2026-01-01")
    backend.answer("ann", lambda t: {"choice": "1" if t.fields["answer_1"].startswith("a good answer") else "2"})
    backend.answer("pairwise:judge", {"choice": "tie"})  # somebody with the judge's name
    pull(small.run, backend)
    into = Collector()
    read_run(small.run, into, None)
    v = into.verdicts()
    assert sorted(zip(v.judges, v.person_J.tolist(), strict=True)) == [
        ("ann", True), ("pairwise:judge", False), ("pairwise:judge (a person)", True),
    ]  # fmt: skip
    (judge,) = run_figures(small.run)["judges"]
    assert judge["against"]["raw"]["n"] == 0  # one for, one tie: no majority
    backend.answer("eve", lambda t: {"choice": "1" if t.fields["answer_1"].startswith("a good answer") else "2"})
    pull(small.run, backend)
    (judge,) = run_figures(small.run)["judges"]
    assert (judge["against"]["raw"]["value"], judge["against"]["raw"]["n"]) == (1.0, 4)  # of the 8, those drawn by chance


def test_the_judge_is_held_to_its_agreement_with_people(tmp_path):
    judge = {**PAIRWISE, "passport": {"min_agreement": 0.9}}
    small = Small(tmp_path, judge=judge, annotate={"backend": "csv"})
    assert "cannot be measured" in small.build()["refused"][0]
    backend = FakeBackend()
    push(small.run, backend, day="2026-01-01")
    backend.answer("ann", lambda t: {"choice": "2" if t.fields["answer_1"].startswith("a good answer") else "1"})
    pull(small.run, backend)
    assert "the agreement is 0.00" in small.build()["refused"][0]
    backend.answer("ann", lambda t: {"choice": "1" if t.fields["answer_1"].startswith("a good answer") else "2"})
    pull(small.run, backend)
    assert small.build()["refused"] == []


def test_a_run_whose_people_said_nothing_is_as_it_was(small):
    summary = json.loads((small.run.path / "summary.json").read_text())
    assert summary["people"] is None
    assert not read_people(small.run)
    assert "eople" not in (small.run.dataset / "README.md").read_text()
