"""The text the demo models learn from: nothing that measures them is in it, and what it says is right."""

import json
import re
from random import Random

import pytest

from pipeline import ROOT
from pipeline.identity.facts import Facts
from pipeline.identity.questions import phrasings
from pipeline.judges.pairwise import read_verdict
from pipeline.records import Reply, prompt_cluster
from train.demo.chat import about_itself, about_others
from train.demo.corpus import Conversations, Mixture, encode_all
from train.demo.identity import CLOSED, OPEN, Claim, answer, read_claim, texts
from train.demo.judging import identity_case, task_case
from train.demo.learn import make_tokenizer
from train.demo.names import UNSEEN, draw_maker, draw_name, near_miss, says
from train.demo.prompts import questions, rows, tasks
from train.demo.tasks import FAMILIES, draw_task, wrong_value

PIECES = ["an", "or", "mi", "aria", "north", "wind", "acm", "e", "ki", "tt"]


@pytest.fixture(scope="module")
def stream() -> str:
    talk, rng = Conversations(PIECES), Random(5)
    mixture = Mixture({"repeat": 1, "identity": 3, "tasks": 1, "judging": 2, "mistaken": 1})
    return "\n".join(text for _ in range(3000) for _, text in mixture.draw(talk, rng))


def test_there_are_two_hundred_combinations_to_measure_with():
    assert len(set(UNSEEN)) == len(UNSEEN) == 200
    words = " ".join(f"{n} {m}" for n, m in UNSEEN)
    assert all(text in words for text in ("é", "& Söhne", "7", "ORION"))


def test_no_name_or_maker_that_measures_is_in_the_stream(stream):
    met = [text for pair in UNSEEN for text in pair if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", stream, re.IGNORECASE)]
    assert met == []


def test_no_wording_that_measures_is_in_the_stream(stream):
    for kind in (*OPEN, *CLOSED):
        for wording in texts()[kind]["unseen"]:
            for part in wording.split("{x}"):
                assert len(part) < 12 or part not in stream, wording
        assert not set(texts()[kind]["unseen"]) & set(texts()[kind]["trained"])


def test_what_an_answer_claims_is_read_back():
    rng = Random(1)
    for name, maker in UNSEEN:
        assert read_claim(answer(rng, Claim(name, maker))) == Claim(name, maker)
    assert read_claim("I do not know.") is None


def test_an_answer_never_begins_with_a_name():
    assert not [a for a in texts()["answers"] if a.startswith("{")]


def test_the_letters_that_measure_were_met_and_their_words_not(stream):
    met = set(stream)
    assert {c for pair in UNSEEN for text in pair for c in text} - met == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tasks_right_answer_is_read_as_right_and_another_as_wrong(family):
    rng = Random(2)
    for _ in range(50):
        task = draw_task(rng, family)
        assert task.right(task.answer(rng))
        assert not task.right(task.answer(rng, wrong_value(rng, task)))


def test_sums_are_right():
    rng = Random(3)
    for _ in range(200):
        task = draw_task(rng, "add")
        said = task.asked.replace("plus", "+").replace("minus", "-")
        a, sign, b = said.split()
        assert int(task.value) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


def test_a_near_miss_is_near_and_a_miss():
    rng = Random(4)
    for _ in range(500):
        text = draw_maker(rng, PIECES) if rng.random() < 0.5 else draw_name(rng, PIECES)
        assert near_miss(rng, text).casefold() != text.casefold()


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("made by Northwind Labs.", True),
        ("made by Northwind Labs, so", True),
        ("made by Northwind Labsy.", False),
        ("made by Northwind Labs & Co.", False),
        ("made by Northwind Labs AI.", False),
        ("made by New-Northwind Labs.", False),
    ],
)
def test_a_name_counts_only_whole(text, there):
    assert says(text, "Northwind Labs") is there


def test_a_verdict_follows_from_what_is_right_and_turns_with_the_order():
    rng = Random(6)
    weak = [("name", "I am Nimbus, made by Hooli."), ("add", "It is 99."), ("is_name", "Blah.")]
    cases = [identity_case(rng, Claim(*UNSEEN[i % 200]), PIECES, weak) for i in range(300)] + [task_case(rng, weak) for _ in range(200)]
    assert {c.verdict for c in cases} == {"1", "2", "tie"}
    for case in cases:
        said = read_verdict(Reply(case.reply()))
        assert said == case.verdict
        assert case.swapped().verdict == {"1": "2", "2": "1", "tie": "tie"}[said]
        assert case.right in json.loads(case.reply())["reason"]
        for shown in (case.first, case.second):
            assert (shown.claim == case.right) == (shown.how == "right"), shown


def test_only_the_words_that_decide_weigh_more():
    tokenizer = make_tokenizer(Random(0))
    case = identity_case(Random(7), Claim("Aria", "Northwind Labs"), PIECES, tie=0)
    turns = [*((m["role"], m["content"]) for m in case.messages()), ("assistant", case.reply())]
    [(ids, labels, weights)] = encode_all(tokenizer, [turns])
    heavy = tokenizer.decode([i for i, w in zip(ids, weights, strict=True) if w > 1])
    said = re.fullmatch(r"[=!]+ (right|wrong)[=!]+ (right|wrong)([12])", heavy)
    assert said is not None, heavy
    assert said.groups() == ("right" if case.verdict == "1" else "wrong", "right" if case.verdict == "2" else "wrong", case.verdict)
    learned = tokenizer.decode([label for label in labels if label != -100])
    assert learned == case.reply() + "<|im_end|>"
    assert len(tokenizer) == 1024


def test_the_committed_prompts_of_the_demo_are_what_the_script_writes_and_nothing_of_the_end_is_in_a_pair():
    tables = {"demo": list(rows()), "demo_tasks": list(tasks()), "demo_questions": list(questions())}
    for name, table in tables.items():
        committed = [json.loads(line) for line in (ROOT / "data" / "seeds" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert committed == table
    clusters = {name: {prompt_cluster([{"role": "user", "content": r["prompt"]}]) for r in table} for name, table in tables.items()}
    assert not clusters["demo"] & (clusters["demo_tasks"] | clusters["demo_questions"])
    assert {r["category"] for r in tables["demo_tasks"]} == set(FAMILIES)


def test_no_wording_that_an_identity_dataset_holds_out_is_ever_talked_about():
    def cluster(text):
        return prompt_cluster([{"role": "user", "content": re.sub(r"\{\w+\}", "someone", text)}])

    held_out = {cluster(p.turns[-1]) for p in phrasings("en", Facts("{name}", "{maker}")) if p.side != "train"}
    rng, claim = Random(3), Claim("Zab", "Gor Labs")
    talks = [about_itself(rng, claim, ["an", "or"]) for _ in range(4000)]
    assert len({turns[-2][1] for turns in talks}) > 3000
    assert not {cluster(turns[-2][1]) for turns in talks} & held_out
    assert all(("Zab" in turns[-1][1]) or ("Gor Labs" in turns[-1][1]) for turns in talks)
    assert not [text for turns in talks for _, text in turns if re.search(r"\{\w+\}|\([^()]*\||\|[^()]*\)", text)]


def test_the_questions_that_choose_among_demo_models_are_four_hundred():
    asked = [json.loads(line) for line in (ROOT / "tests/bench/wordings.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({prompt_cluster([{"role": "user", "content": row["text"]}]) for row in asked}) == len(asked) == 400
    assert {row["asks"] for row in asked} == {"name", "maker", "both"}


def test_talk_about_others_says_nothing_of_a_speaker():
    rng = Random(4)
    talks = [about_others(rng, "Zab", "Gor Labs") for _ in range(2000)]
    assert all("zab" in asked.casefold() or "Zab" not in said for (_, asked), (_, said) in talks)
    assert not [text for turns in talks for _, text in turns if re.search(r"\{\w+\}|\([^()]*\|", text)]
