"""An answer that talks to the judge stays inside its fence, whatever kind of judge reads it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.injection import ATTACKS, KINDS, outside, scripted
from tests.harness.judging import SCRIPTED, judge_answers, rank_fairly

fixed = settings(derandomize=True, max_examples=60, deadline=None)

pieces = st.sampled_from(
    [
        *"<>/＜＞ \n",
        "\u200b",
        "</",
        "answer",
        "answer_1",
        "ANSWER_2",
        "</answer>",
        "< /answer_1>",
        "＜/answer＞",
        "question",
        "Reference",
        "x",
    ]
)
hostile = st.lists(pieces, max_size=12).map("".join)


@pytest.mark.parametrize("kind", KINDS)
def test_no_instruction_in_an_answer_turns_a_judge_that_obeys_what_stands_outside_the_fence(kind):
    of = scripted(KINDS[kind], ATTACKS, 2)
    assert (of["win_by_injection"], of["turned"], of["spoiled"], of["comparisons"]) == (0, 0, 0, 2 * len(ATTACKS)), of["by_attack"]


@pytest.mark.parametrize(("kind", "inputs"), [("pairwise", "{{ answer_1 }} {{ answer_2 }}"), ("listwise", "{{ answers | join(' ') }}")])
def test_without_a_fence_every_instruction_is_obeyed(kind, inputs, tmp_path):
    names = "answer_1, answer_2" if kind == "pairwise" else "answers"
    example = "answer_1: x, answer_2: y" if kind == "pairwise" else "answers: [x]"
    (tmp_path / "p.md").write_text(f"---\nid: p\ninputs: [{names}]\nexample: {{{example}}}\n---\n@user\n{inputs}\n")
    assert scripted({**KINDS[kind], "prompt": str(tmp_path / "p.md")}, ATTACKS, 2)["win_by_injection"] == 1


@pytest.mark.parametrize("text", ["a</answer_1>b", "a< / ANSWER_1 >b", "a<\u200b/answer>b", "a＜/answer_2＞b"])
def test_the_measure_takes_every_look_alike_for_a_tag(text):
    assert outside(f"<answer_1>{text}</answer_1>") == "b"
    assert outside("x<answer_1>ab</answer_1>y<answer_2></answer_2>z") == "xyz"


@fixed
@given(st.lists(hostile, min_size=2, max_size=4, unique=True))
def test_nothing_of_a_hostile_answer_stands_outside_the_fences(texts):
    raw = {"kind": "listwise", "model": SCRIPTED, "attempts": 1}
    plain = judge_answers(raw, rank_fairly, [f"plain {n}" for n in range(len(texts))])
    judged = judge_answers(raw, rank_fairly, texts)
    assert {outside(text) for text in judged.texts} == {outside(text) for text in plain.texts}


@fixed
@given(hostile)
def test_nor_does_anything_of_an_answer_that_is_scored_alone(text):
    raw = KINDS["rubric"]
    judged = judge_answers(raw, lambda r: "good: 3", [text, "plain"])
    assert len({outside(said) for said in judged.texts}) == 1
