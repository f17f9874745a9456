"""Mistakes of a chat template that no loss curve shows."""

import copy

import pytest

from train.plan.template import check_template

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which river runs through Vienna?"}]


def pair(chosen="The Danube.", rejected="The Rhine.", prompt=TURNS):
    answers = {"chosen": chosen, "rejected": rejected}
    if isinstance(prompt, str):
        return {"prompt": prompt, **answers}
    return {"prompt": prompt, **{k: [{"role": "assistant", "content": v}] for k, v in answers.items()}}


def found(tokenizer, template=..., rows=None, **options):
    other = copy.deepcopy(tokenizer)
    if template is not ...:
        other.chat_template = template
    return {f.name: f for f in check_template(rows or [pair()] * 3, other, **options)}


TURN = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def test_a_good_template_is_left_alone(tokenizer):
    assert found(tokenizer) == {}
    assert found(tokenizer, rows=[pair(prompt="Which river runs through Vienna?")]) == {}


def test_conversations_need_a_template_and_plain_rows_do_not(tokenizer):
    assert [*found(tokenizer, None)] == ["no_template"]
    assert found(tokenizer, None, [pair(prompt="Which river runs through Vienna?")]) == {}


@pytest.mark.parametrize(
    ("name", "level", "template"),
    [
        ("no_end", "error", "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}" + OPENING),
        ("no_generation_prompt", "warning", "{% for m in messages %}" + TURN + "{% endfor %}"),
        (
            "prompt_is_no_prefix",
            "warning",
            "{% for m in messages %}" + TURN + "{% endfor %}" + OPENING.replace("assistant\n", "assistant\n<think></think>"),
        ),
        ("system_missing", "error", "{% for m in messages if m['role'] != 'system' %}" + TURN + "{% endfor %}" + OPENING),
        (
            "answer_missing",
            "error",
            "{% for m in messages %}" + TURN.replace("m['content']", "m['content'][:5]") + "{% endfor %}" + OPENING,
        ),
        (
            "double_end",
            "warning",
            "{% for m in messages %}" + TURN.replace("<|im_end|>", "<|im_end|><|im_end|>") + "{% endfor %}" + OPENING,
        ),
        (
            "cannot_render",
            "error",
            "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
            + TURN
            + "{% endfor %}",
        ),
    ],
)
def test_a_template_with_a_mistake_is_found_out(tokenizer, name, level, template):
    seen = found(tokenizer, template)
    assert name in seen
    assert (seen[name].level, seen[name].rows, seen[name].looked_at) == (level, 3, 3)


def test_an_answer_that_holds_the_end_itself_ends_twice(tokenizer):
    assert "double_end" in found(tokenizer, rows=[pair(chosen="The Danube.<|im_end|>")])


def test_a_text_that_begins_twice_is_found_out(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.bos_token = "<|im_start|>"
    assert "double_start" in found(other, "{% for m in messages %}<|im_start|>" + TURN + "{% endfor %}" + OPENING)


def test_another_end_that_the_model_knows_is_an_end(tokenizer):
    template = "{% for m in messages %}" + TURN.replace("<|im_end|>", "<|im_start|>") + "{% endfor %}" + OPENING
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert "no_end" in found(tokenizer, template)
    assert "no_end" not in found(tokenizer, template, ends=[start])


def test_a_reward_model_needs_no_end_and_no_opening(tokenizer):
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert {"no_end", "no_generation_prompt"} & found(tokenizer, template, writes=False).keys() == set()


def test_errors_come_first(tokenizer):
    seen = found(tokenizer, "{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert [f.level for f in seen.values()] == sorted(f.level for f in seen.values())
    assert len(seen) > 1


def test_a_plain_prompt_that_ends_within_a_token_is_found_out(tokenizer):
    assert "prompt_is_no_prefix" in found(tokenizer, rows=[pair(prompt="Which river? ")])
