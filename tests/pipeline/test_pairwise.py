"""The pairwise judge's prompt file: it takes of what the judge offers what it names, and nothing else."""

from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.judges.pairwise import Judge, Settings
from pipeline.records import Comparison, Request, Verdict
from tests.harness.paid import with_model
from tests.harness.shards import answer, prompt

MODEL = {"engine": "scripted", "default": '{{"verdict": "1"}}'}


def judged(folder: Path, prompt_file: str, **settings: object) -> tuple[list[Request], list[Verdict]]:
    """What the judge asked about two answers, and its verdicts."""
    asked: list[Request] = []

    async def work(model):
        reply = model.engine.reply

        async def seen(request):
            asked.append(request)
            return await reply(request)

        model.engine.reply = seen
        question = prompt("Who made you?", reference="Ada")
        a, b = answer(question, "x", "Ada made me."), answer(question, "y", "Bob did.")
        judge = Judge(Settings(model=MODEL, prompt=prompt_file, **settings), model)
        return await judge.judge(question, {a.id: a, b.id: b}, [Comparison.of(question.id, a.id, b.id)])

    return asked, with_model(MODEL, folder / "cache.sqlite", work)


def mine(folder: Path, *inputs: str) -> str:
    file = folder / "mine.md"
    example = ", ".join(f"{name}: x" for name in inputs)
    body = " / ".join(f"{{{{ {name} }}}}" for name in inputs)
    file.write_text(f"---\nid: mine\ninputs: [{', '.join(inputs)}]\nexample: {{{example}}}\n---\n@user\n{body}\n")
    return str(file)


def test_a_prompt_file_is_given_what_it_names_in_both_orders(tmp_path):
    asked, verdicts = judged(tmp_path, mine(tmp_path, "answer_2", "reference", "answer_1"))
    assert sorted(r.messages[-1]["content"] for r in asked) == ["Ada made me. / Ada / Bob did.", "Bob did. / Ada / Ada made me."]
    assert [v.choice for v in verdicts] == ["A", "B"]


def test_the_short_prompt_is_the_same_comparison_in_few_words(tmp_path):
    asked, _ = judged(tmp_path, "judge/short")
    said = asked[0].messages[-1]["content"]
    assert [said.count(text) for text in ("Who made you?", "<reference>\nIt is Ada\n", "Ada made me.", "Bob did.")] == [1, 1, 1, 1]
    assert len(said) < 300


def test_a_prompt_file_that_wants_what_the_judge_has_not_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"wants \['colour'\]; the pairwise judge gives \['answer_1', .*\]: take one"):
        judged(tmp_path, mine(tmp_path, "question", "colour"))


def test_a_judge_with_a_form_of_its_own_is_not_held_to_a_schema(tmp_path):
    held, _ = judged(tmp_path / "a", "judge/pairwise")
    free, verdicts = judged(tmp_path / "b", "judge/pairwise", structured=False)
    assert all(r.schema for r in held)
    assert all(r.schema is None for r in free)
    assert "Verdict: 1" in free[0].messages[-1]["content"]
    assert [v.choice for v in verdicts] == ["A", "B"]
