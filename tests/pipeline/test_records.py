"""Ids are hashes of content and of nothing else; a split is a function of the words of a prompt and of nothing else."""

import hashlib
import json
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Comparison, Message, Prompt, Reply, content_id, prompt_cluster, prompt_id, question_of, split_of

fixed = settings(derandomize=True, max_examples=80, deadline=None)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


TIMES = "What is 7 × 8?"

conversations = st.lists(
    st.builds(lambda role, content: Message(role=role, content=content), st.sampled_from(["system", "user", "assistant"]), st.text()),
    min_size=1,
    max_size=4,
)


def test_ids_never_change_between_versions() -> None:
    # Stored replies, published rows and splits are filed under these: a new value here orphans every dataset ever made.
    assert prompt_id([user(TIMES)]) == "899f1fcac04d0056c763"
    assert prompt_id([system("Be brief."), user(TIMES)]) == "9a8e4db302af0d86f63b"
    assert prompt_cluster([user(TIMES)]) == "273326525dd6f717aec6"
    assert content_id("a", 1, None) == "0ae764bffd3a17b6454c"
    assert Comparison.of("p", "a", "b").id == "2ec91f196666a2b4bd3b"


def test_an_id_can_be_recomputed_with_any_json_library() -> None:
    canonical = json.dumps([[["user", TIMES]]], separators=(",", ":"), ensure_ascii=False)
    assert prompt_id([user(TIMES)]) == hashlib.sha256(canonical.encode()).hexdigest()[:20]


@fixed
@given(conversations)
def test_a_prompt_id_hangs_on_roles_and_contents_alone(messages: list[Message]) -> None:
    rewritten = [{"content": m["content"], "name": "ignored", "role": m["role"]} for m in messages]
    assert prompt_id(rewritten) == prompt_id(tuple(messages))  # type: ignore[arg-type]


@fixed
@given(conversations, conversations)
def test_two_prompts_have_one_id_only_when_they_are_equal(one: list[Message], other: list[Message]) -> None:
    assert (prompt_id(one) == prompt_id(other)) == (one == other)


def test_the_sides_of_a_comparison_are_part_of_its_id() -> None:
    ids = {Comparison.of(p, a, b).id for p, (a, b) in product("pq", permutations("xyz", 2))}
    assert len(ids) == 12


def test_a_mapping_has_one_id_in_whatever_order_its_keys_were_set() -> None:
    assert content_id({"b": 1, "a": 2}) == content_id({"a": 2, "b": 1}) != content_id({"a": 1, "b": 2})


NEAR_COPIES = (
    "What is 7 × 8?",
    "what is 7 × 8",
    "WHAT IS 7 × 8 ???",
    "  What\tis\n7 × 8 ?",
    "Ｗｈａｔ\u3000ｉｓ ７ × ８？",
    "What_is_7_×_8!",
    "«What is 7 × 8»",
)


@pytest.mark.parametrize("text", NEAR_COPIES)
def test_near_copies_are_one_cluster(text: str) -> None:
    assert prompt_cluster([user(text)]) == prompt_cluster([user(NEAR_COPIES[0])])


@fixed
@given(st.text(st.characters(max_codepoint=127), min_size=1))
def test_case_and_surrounding_space_never_make_a_new_cluster(text: str) -> None:
    clusters = {prompt_cluster([user(t)]) for t in (text, text.upper(), text.lower(), text.swapcase(), f" {text}\n")}
    # Where there is no word at all the characters themselves count, space included.
    assert len(clusters) == 1 or not any(c.isalnum() for c in text)


def test_the_system_turn_and_what_the_assistant_said_are_no_part_of_the_cluster() -> None:
    plain = prompt_cluster([user(TIMES)])
    assert prompt_cluster([system("Be brief."), user(TIMES)]) == plain
    assert prompt_cluster([user("Hi"), assistant("Hello!"), user(TIMES)]) == prompt_cluster([user("Hi"), assistant("Hm."), user(TIMES)])


@pytest.mark.parametrize("other", ["What is 7 × 9?", "What is 78?", "Was ist 7 × 8?", "is What 7 × 8?", ""])
def test_other_words_are_another_cluster(other: str) -> None:
    assert prompt_cluster([user(other)]) != prompt_cluster([user(TIMES)])


def test_prompts_without_a_word_are_not_all_one_cluster() -> None:
    assert len({prompt_cluster([user(t)]) for t in ("???", "!!!", "🙂", "🙃", "")}) == 5


@fixed
@given(st.text(), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_larger_test_share_never_moves_a_prompt_back_to_train(text: str, one: float, other: float) -> None:
    cluster = prompt_cluster([user(text)])
    assert (split_of(cluster, min(one, other)), split_of(cluster, max(one, other))) != ("test", "train")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5])
def test_the_share_of_test_prompts_is_about_the_one_asked_for(share: float) -> None:
    clusters = [prompt_cluster([user(f"Question number {n}")]) for n in range(10_000)]
    tests = sum(split_of(cluster, share) == "test" for cluster in clusters)
    spread = (10_000 * share * (1 - share)) ** 0.5
    assert abs(tests - 10_000 * share) <= 4 * spread


def test_a_single_question_is_shown_without_its_role() -> None:
    assert question_of([user(TIMES)]) == question_of([system("Be brief."), user(TIMES)]) == TIMES


def test_a_conversation_is_shown_with_its_roles_and_without_the_system_turn() -> None:
    messages = (system("Be brief."), user("Hi"), assistant("Hello!"), user(TIMES))
    assert Prompt("p", messages).question == f"user: Hi\n\nassistant: Hello!\n\nuser: {TIMES}"


replies = st.builds(
    Reply,
    text=st.text(),
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    prompt_tokens=st.integers(0, 10**9),
    completion_tokens=st.integers(0, 10**9),
    source=st.sampled_from(["model", "human"]),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    recorded_id=st.none() | st.text(),
)


@fixed
@given(replies)
def test_a_stored_reply_comes_back_as_it_was(reply: Reply) -> None:
    assert Reply.from_json(reply.to_json()) == reply
