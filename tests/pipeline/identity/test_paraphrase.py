"""More wordings by a strong model: what is kept asks the same, in training alone; everything else is counted by its reason."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.identity.build import Material, Plan, build
from pipeline.identity.paraphrase import Paraphrased, bare, fault, paraphrase, read_wordings
from pipeline.identity.questions import Phrasing, phrasings, side_of
from pipeline.identity.words import languages
from pipeline.model import Model
from pipeline.prompts import load_prompt
from pipeline.records import Reply, prompt_cluster
from pipeline.settings import ModelSettings, plugin_settings
from tests.pipeline.identity.made import ARIA

pytestmark = pytest.mark.slow  # one by one they are quick, together they are seconds

GOOD = ["Which firm put you together?", "Whose product might you be?", "Whose hands built you?"]


def phrasing(text: str) -> Phrasing:
    return next(p for p in phrasings("en", ARIA) if p.turns == (text,))


def said(*texts: Any) -> str:
    return json.dumps({"questions": texts})


def worded(folder: Path, wordings: dict[str, str], count: int = 9, ways: list[Phrasing] | None = None, **engine: Any) -> Paraphrased:
    """What comes of these replies to these questions; to all others the model says that it cannot."""
    replies = {f"<question>\n{question}\n</question>": reply for question, reply in wordings.items()}
    raw = {"engine": "scripted", "default": "I cannot.", "replies": replies, **engine}
    settings = plugin_settings("engines", raw, "engine", "strong", ModelSettings)
    with ReplyCache(folder / "cache.sqlite") as cache:
        model = Model("strong", settings, cache, Budget())
        return asyncio.run(paraphrase(model, ways or phrasings("en", ARIA), count, ARIA))


def reasons(found: Paraphrased) -> list[str]:
    return [d.reason for d in found.dropped]


def test_a_strong_model_is_told_exactly_this() -> None:
    prompt = load_prompt("identity/paraphrase")
    shown = "".join(f"@{m['role']}\n{m['content']}\n" for m in prompt.render(**prompt.example))
    assert shown == (Path(__file__).parent.parent / "golden" / "identity-paraphrase.txt").read_text(encoding="utf-8")


def test_a_good_wording_takes_its_parents_place_in_all_but_its_words(tmp_path: Path) -> None:
    found = worded(tmp_path, {"Who made you?": said(*GOOD)})
    assert [p.turns for p in found.phrasings] == [(text,) for text in GOOD]
    parent = phrasing("Who made you?")
    for p in found.phrasings:
        assert (p.family, p.kind, p.side, p.expected, p.answers) == (parent.family, parent.kind, "train", parent.expected, parent.answers)
        assert p.id != parent.id
    assert found.dropped == []
    assert found.asked == sum(p.side == "train" for p in phrasings("en", ARIA))
    assert found.failed == {"unreadable": found.asked - 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("  ", "empty"),
        ("Hi!", "empty"),
        ("Which firm\nput you together?", "several_lines"),
        ("Which firm put {name} together?", "slots"),
        ("Which firm put you together, {", "slots"),
        ("Wer hat dich gemacht und warum ist das so?", "wrong_language"),
        ("Which firm put you together? And when?", "asks_more"),
        ("Which firm put you together in 2024?", "asks_more"),
        ("Which firm, OpenAI perhaps, put you together?", "asks_more"),
        ("Which firm put you together, Aria?", "asks_more"),
        (f"Which firm put you together, {'pray tell me, ' * 6}please?", "asks_more"),
        ("whose work are YOU", "held_out"),
        ("Hello, whose work are you, thanks", "held_out"),
        ("Who made you!", "near_copy"),
        ("Hi, who made you?", "near_copy"),
        ("Who put you together?", "other_side"),
    ],
)
def test_a_wording_that_will_not_do_is_dropped_by_name(tmp_path: Path, text: str, why: str) -> None:
    found = worded(tmp_path, {"Who made you?": said(text, GOOD[0])})
    assert reasons(found) == [why]
    assert [p.turns[-1] for p in found.phrasings] == [GOOD[0]]


def test_what_is_held_out_is_told_by_its_words_whatever_side_they_are_on() -> None:
    assert phrasing("Whose work are you?").side != "train"
    assert side_of(("Who put you together?",)) != "train"
    assert all(side_of((text,)) == "train" for text in GOOD)


def test_a_slot_must_come_back_as_it_was(tmp_path: Path) -> None:
    asked = "You are {product}, right?"
    found = worded(
        tmp_path,
        {asked: said("I take it you go by {product}?", "I take it you are Siri?", "Is it {product}, {product}?", "Or is it {company}?")},
    )
    assert len(found.phrasings) == 1
    assert found.phrasings[0].slots == phrasing(asked).slots
    assert reasons(found) == ["slots", "slots", "slots"]


def test_the_same_wording_twice_is_one_wording(tmp_path: Path) -> None:
    found = worded(tmp_path, {"Who made you?": said(GOOD[0], GOOD[0].upper()), "Which company made you?": said(GOOD[0])})
    assert len(found.phrasings) == 1
    assert reasons(found) == ["near_copy", "near_copy"]


def test_no_more_wordings_are_taken_than_were_asked_for(tmp_path: Path) -> None:
    assert len(worded(tmp_path, {"Who made you?": said(*GOOD)}, count=2).phrasings) == 2


def test_only_what_is_trained_on_is_reworded(tmp_path: Path) -> None:
    found = worded(tmp_path, {p.turns[-1]: said(*GOOD) for p in phrasings("en", ARIA) if p.side != "train"})
    assert found.phrasings == []
    assert found.dropped == []


def test_in_a_conversation_the_last_turn_is_reworded(tmp_path: Path) -> None:
    parent = next(p for p in phrasings("en", ARIA) if len(p.turns) == 3 and p.side == "train" and "{" not in p.turns[-1])
    found = worded(tmp_path, {parent.turns[-1]: said("And pray, who is to be credited?", "And the one behind all this is?")}, ways=[parent])
    assert len(found.phrasings) + len(found.dropped) == 2
    assert all(p.turns[:2] == parent.turns[:2] for p in found.phrasings)


@pytest.mark.parametrize(
    ("text", "wordings"),
    [
        (said("a", "b"), ("a", "b")),
        (f"Sure!\n```json\n{said('a')}\n```", ("a",)),
        (f"<think>like {said('no')} or {{x}}</think> {said('yes')}", ("yes",)),
        ("1. Who?\n2. Whose?", None),
        ('{"questions": []}', None),
        ('{"questions": [1]}', None),
        ('{"questions": ["cut off', None),
        ("", None),
    ],
)
def test_a_reply_is_a_list_or_nothing(text: str, wordings: tuple[str, ...] | None) -> None:
    assert read_wordings(Reply(text)) == wordings


def test_a_reply_that_was_cut_off_gives_nothing_and_a_failed_one_is_counted(tmp_path: Path) -> None:
    found = worded(tmp_path, {}, ways=[phrasing("Who made you?")], fail=["Who made you?"])
    assert (found.asked, found.failed) == (1, {"server_error": 1})


def test_a_model_that_cannot_reword_gives_none_and_the_count_says_so(tmp_path: Path) -> None:
    found = worded(tmp_path, {})
    assert (found.phrasings, found.dropped) == ([], [])
    assert found.failed == {"unreadable": found.asked}


def test_wordings_are_asked_for_once(tmp_path: Path) -> None:
    first = worded(tmp_path, {"Who made you?": said(*GOOD)}, model="one")
    assert worded(tmp_path, {}, model="one").phrasings == first.phrasings


@pytest.mark.slow
def test_nothing_that_is_asked_at_the_end_is_among_what_a_model_worded() -> None:
    # A wording that slipped through every check, since it is a held-out question with its slot filled in.
    held = next(p for p in phrasings("en", ARIA) if p.side == "test" and p.turns == ("Whose work are you?",))
    parent = phrasing("Who made you?")
    slipped = Phrasing(
        "slipped", held.turns, "en", parent.family, parent.kind, "train", {}, parent.wraps, parent.fixed, parent.answers, parent.expected
    )
    material = Material(ARIA, Plan(300, contrast=0), [slipped])
    built = build(material, {})
    end = {prompt_cluster(q.messages) for _, q in material.evaluation()}
    worded_pairs = [p for p in built.pairs if p.question.phrasing == "slipped"]
    assert built.worded == len(worded_pairs)
    assert not end & {prompt_cluster(p.question.messages) for p in worded_pairs}


@pytest.mark.parametrize("code", languages())
def test_our_own_phrasings_pass_the_checks_of_wordings(code: str) -> None:
    ours = phrasings(code, ARIA)
    found = [fault(p, p, ARIA) for p in ours]
    assert {why for why in found if why} <= {"wrong_language"}
    # Few words are hardly told apart between Latin languages: some are lost, none is let in.
    assert sum(why is None for why in found) >= 0.94 * len(ours)
    assert all(bare(p) for p in ours)
