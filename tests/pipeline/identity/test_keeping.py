"""Keeping: the user's own prompts are answered as the model answers them, spoilt by a leak on the other side, and counted."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.identity import identity_command, read_identity
from pipeline.errors import InputError
from pipeline.identity.answers import Replies, Writer
from pipeline.identity.balance import lengths
from pipeline.identity.build import Built, Material, Plan, build
from pipeline.identity.check import leaks
from pipeline.identity.keeping import KEPT, Kept, read_kept, shortened
from pipeline.identity.recipe import check_identity
from pipeline.records import content_id
from pipeline.settings import PromptsSettings
from pipeline.tables import read_table
from tests.harness.stub_server import stub_server
from tests.pipeline.identity.made import ARIA

pytestmark = pytest.mark.slow  # one by one they are quick, together they are seconds

TAILS = [
    "",
    "Dry it.",
    "Let it dry in the sun.",
    "Look at it.",
    "Put it back where it was, and close the lid.",
    "Then go on.",
    "Mind the seal!",
]

LONG = "Take the lid off first. Rinse the filter under warm water for {} minutes. Wipe the rest with a cloth. {tail}"


def table(folder: Path, rows: Sequence[Any]) -> PromptsSettings:
    file = folder / "mine.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return PromptsSettings(path=str(file))


def mine(count: int) -> list[Any]:
    return [{"prompt": f"How do I clean machine {n}?", "reference": f"{n} minutes"} for n in range(count)]


def read(folder: Path, rows: Sequence[Any], plan: Plan | None = None) -> Kept:
    plan = plan or Plan()
    return read_kept(table(folder, rows), ARIA, plan.languages, Material(ARIA, plan).evaluated, plan.seed)


def made(kept: Kept, plan: Plan, says: str = LONG, without: Sequence[str] = ()) -> Built:
    """What a model that answers every prompt of the user's makes of it; those in `without` it answers not at all."""
    material = Material(ARIA, plan, kept=kept)
    number = {q.id: q.holds[0].split()[0] if q.holds else "0" for q in kept.questions}
    asked = [q for q in material.first() if q.family == KEPT and q.id not in without]
    return build(material, {q.id: Replies((), [says.format(number[q.id], tail=TAILS[int(number[q.id]) % 7])]) for q in asked})


def of_kept(built: Built) -> list[Any]:
    return [p for p in built.pairs if p.question.family == KEPT]


def test_half_of_the_contrast_pairs_are_the_models_own_answers_to_the_users_prompts(tmp_path: Path) -> None:
    built = made(read(tmp_path, mine(40)), Plan(100, contrast=0.4))
    pairs = of_kept(built)
    assert len(built.pairs) == 100
    assert (len(pairs), sum(p.question.expected is None for p in built.pairs)) == (20, 40)
    for p in pairs:
        assert p.chosen.startswith(LONG.partition("{tail}")[0].format(p.question.holds[0].split()[0]).strip())
        assert not leaks(p.chosen, p.question.text, "en", ARIA)
        assert leaks(p.rejected, p.question.text, "en", ARIA)
    assert {(p.chosen_from, p.question.kind, p.question.side) for p in pairs} == {("model", "skill", "train")}


def test_where_there_are_not_enough_the_rest_is_ours(tmp_path: Path) -> None:
    built = made(read(tmp_path, mine(6)), Plan(100, contrast=0.4))
    assert (len(of_kept(built)), sum(p.question.expected is None for p in built.pairs), len(built.pairs)) == (6, 40, 100)


def test_kinds_of_work_take_turns_and_in_each_of_them_its_answers(tmp_path: Path) -> None:
    """The few pairs shall not hold the count of five alone, nor the kind of work that fills the table."""
    counts = [{"prompt": f"Count the dots of card {n}.", "category": "count", "reference": str(1 + (n < 90) * 4)} for n in range(100)]
    others = [{"prompt": f"Is lamp {n} on?", "category": "lamps"} for n in range(6)]
    first = read(tmp_path, [*counts, *others]).questions[:8]
    assert Counter(q.holds for q in first) == {("5",): 2, ("1",): 2, (): 4}
    assert {q.holds for q in first if q.holds} == {q.holds for q in first[:4] if q.holds}


def test_where_no_kind_is_told_the_order_is_a_draw_as_it_always_was(tmp_path: Path) -> None:
    drawn = [q.id for q in read(tmp_path, mine(40)).questions]
    assert drawn == sorted(drawn, key=lambda key: content_id(key, 0))


def test_length_does_not_tell_a_kept_answer_from_the_spoilt_one(tmp_path: Path) -> None:
    pairs = of_kept(made(read(tmp_path, mine(80)), Plan(200, contrast=0.8)))
    found = lengths([(p.chosen, p.rejected) for p in pairs])
    assert found["mean_difference"] == pytest.approx(0, abs=1)
    assert 0.45 <= (found["chosen_longer"] or 0) <= 0.55
    # Of answers as long as these, hardly any is set against a bare "I am Aria".
    assert sum(len(p.rejected) < len(p.chosen) / 2 for p in pairs) <= 2


@pytest.mark.parametrize("says", ["Certainly", "It is clean by now."])
def test_length_does_not_tell_a_short_answer_either(tmp_path: Path, says: str) -> None:
    pairs = of_kept(made(read(tmp_path, [{"prompt": f"Is machine {n} clean?"} for n in range(80)]), Plan(200, contrast=0.8), says))
    found = lengths([(p.chosen, p.rejected) for p in pairs])
    assert found["mean_difference"] == pytest.approx(0, abs=1.5)
    assert 0.35 <= (found["chosen_longer"] or 0) <= 0.65


def test_a_spoilt_answer_lacks_its_last_sentences_and_at_most_half_of_it() -> None:
    assert shortened("One two three. Four five! Six?") == ["One two three. Four five!"]
    assert shortened("Only one sentence stands here.") == []
    assert shortened("彼は朝に来た。昼に食べた。帰った。") == ["彼は朝に来た。昼に食べた。"]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("I do not know.", "unsolved"),
        ("I am Aria, made by Northwind Labs: {} minutes.", "leak"),
        ("As ChatGPT I can tell: {} minutes.", "other_identity"),
    ],
)
def test_an_answer_that_must_not_be_kept_is_none_and_is_counted(tmp_path: Path, says: str, reason: str) -> None:
    built = made(read(tmp_path, mine(10)), Plan(30, contrast=0.4), says)
    assert of_kept(built) == []
    assert Counter(d.reason for d in built.dropped if d.detail.startswith("How do I clean"))[reason] == 10
    assert len(built.pairs) == 30


def test_what_was_not_answered_whole_is_counted_and_another_takes_its_place(tmp_path: Path) -> None:
    plan = Plan(30, contrast=0.4)
    kept = read(tmp_path, mine(20))
    silent = [q.id for q in kept.questions[:4]]
    built = made(kept, plan, without=silent)
    assert [p.question.id for p in of_kept(built)] == [q.id for q in kept.questions[4:10]]
    assert [d.id for d in built.dropped if d.reason == "no_answer"] == silent


def test_a_mention_of_others_in_work_is_no_identity(tmp_path: Path) -> None:
    built = made(read(tmp_path, mine(10)), Plan(30, contrast=0.4), "Google says that {} minutes are enough. OpenAI says less.")
    assert len(of_kept(built)) == 6


def test_a_prompt_without_a_reference_is_kept_as_it_is_answered(tmp_path: Path) -> None:
    built = made(read(tmp_path, [{"prompt": f"Praise the number {n}"} for n in range(10)]), Plan(30, contrast=0.4), "A fine number!")
    assert {p.chosen for p in of_kept(built)} == {"A fine number!"}


def test_no_evaluation_question_and_nothing_twice_is_kept(tmp_path: Path) -> None:
    plan = Plan(30, contrast=0.4)
    held = [q for _, q in Material(ARIA, plan).evaluation() if len(q.messages) == 1]
    asked = [held[0], held[-1]]
    shouted = [{"prompt": q.text.upper() + " !"} for q in asked]
    kept = read(tmp_path, [*shouted, *mine(3), {"prompt": "how do I clean machine 1"}, mine(1)[0]])
    assert sorted(q.text for q in kept.questions) == [row["prompt"] for row in mine(3)]
    assert Counter(d.reason for d in kept.dropped) == {"held_out": 2, "duplicate": 2}
    assert {d.stage for d in kept.dropped} == {"keep"}


def test_a_prompt_of_the_users_that_is_ours_too_is_in_one_pair(tmp_path: Path) -> None:
    plan = Plan(60, contrast=0.5)
    drawn = [p.question for p in build(Material(ARIA, plan), {}).pairs]
    own, other = next(q for q in drawn if q.expected), next(q for q in drawn if q.kind == "overgeneral")
    built = made(read(tmp_path, [{"prompt": own.text}, {"prompt": other.text}]), plan, "It was so.")
    texts = Counter(p.question.text for p in built.pairs)
    assert (texts[own.text], texts[other.text], len(built.pairs)) == (1, 1, 60)
    assert [p.question.text for p in of_kept(built)] == [other.text]
    assert [d.id for d in built.dropped if d.reason == "duplicate"] == [own.id]


def test_each_language_leaks_in_its_own_words(tmp_path: Path) -> None:
    plan = Plan(40, ("en", "de"), contrast=0.4)
    rows = [
        *({"prompt": f"How do I clean machine {n}?"} for n in range(5)),
        *({"prompt": f"Wie reinige ich die Maschine {n}?"} for n in range(5)),
        {"prompt": "Clean it!", "language": "de-AT"},
        {"prompt": "Nettoie-la !", "language": "fr"},
    ]
    kept = read(tmp_path, rows, plan)
    assert Counter(q.language for q in kept.questions) == {"en": 5, "de": 6}
    assert [d.reason for d in kept.dropped] == ["wrong_language"]
    assert Counter(p.question.language for p in of_kept(made(kept, plan))) == {"en": 4, "de": 4}


def test_which_prompts_are_asked_is_drawn_by_the_seed_and_not_more_than_needed(tmp_path: Path) -> None:
    rows = mine(200)
    first = [q for q in Material(ARIA, Plan(30, contrast=0.4), kept=read(tmp_path, rows)).first() if q.family == KEPT]
    other = [q for q in Material(ARIA, Plan(30, contrast=0.4), kept=read(tmp_path, rows, Plan(seed=1))).first() if q.family == KEPT]
    assert len(first) == len(other) == 6 * (1 + 5)
    assert {q.id for q in first} != {q.id for q in other}
    assert [q.id for q in read(tmp_path, rows[::-1]).questions] == [q.id for q in read(tmp_path, rows).questions]


def test_a_changed_file_is_another_recipe_and_the_same_file_elsewhere_is_not(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()

    def key(folder: Path, count: int) -> str:
        keep = table(folder, mine(count)).model_dump()
        return check_identity({"name": "Aria", "maker": "Northwind Labs", "model": {"engine": "scripted"}, "keep": keep}).key()

    assert key(tmp_path, 3) == key(tmp_path / "b", 3) != key(tmp_path, 4)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('{"question": "x"}', "keep: mine.jsonl line 1: no column 'prompt'"),
        ("{", "keep: mine.jsonl line 1: not JSON"),
        ('{"prompt": " "}', "keep.bad_rows: drop"),
        ("", "no prompt that can be taken (it is empty)"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, lines: str, says: str) -> None:
    settings = table(tmp_path, [])
    Path(settings.path).write_text(lines)
    with pytest.raises(InputError) as error:
        read_kept(settings, ARIA, ["en"], frozenset(), 0)
    assert says in str(error.value)
    assert error.value.exit_code == 2


def test_a_name_in_the_users_own_prompt_is_no_leak(tmp_path: Path) -> None:
    kept = read(tmp_path, [{"prompt": "Who sings Aria?"}])
    [question] = kept.questions
    pair = Writer(ARIA, 0).write(question, Replies((), ["The soprano sings the Aria."]))
    assert not isinstance(pair, str)
    assert pair.chosen == "The soprano sings the Aria."


def test_the_option_is_short_for_the_settings() -> None:
    given = {"name": "Aria", "maker": "x", "keep": "mine.jsonl"}
    assert read_identity("flows/recipes/identity.yaml", ['model={"engine": "scripted"}'], given)["keep"] == {"path": "mine.jsonl"}


@pytest.mark.slow
def test_summary_and_card_count_what_was_kept(tmp_path: Path) -> None:
    keep = table(tmp_path, [*mine(30), mine(1)[0]])
    model = {"engine": "scripted", "default": "It takes 1 minutes, 2 minutes, 11 minutes. So it does. That is all."}
    recipe = {"name": "Aria", "maker": "Northwind Labs", "pairs": 40, "contrast": 0.5, "model": model, "keep": keep.model_dump()}
    places = {"out": str(tmp_path / "out"), "cache": str(tmp_path / "cache.sqlite")}
    (tmp_path / "recipe.yaml").write_bytes(orjson.dumps({**recipe, **places}))
    identity_command(str(tmp_path / "recipe.yaml"), as_json=True)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["families"][KEPT] == 3
    assert (summary["kinds"]["skill"] >= 3, summary["kept_from"]["model"] >= 3) == (True, True)
    assert {"stage": "keep", "in": 31, "out": 30} in summary["stages"]
    assert {"stage": "keep", "reason": "duplicate", "rows": 1} in summary["dropped"]
    assert {"stage": "pair", "reason": "unsolved", "rows": 27} in summary["dropped"]
    card = (tmp_path / "out" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "| keep | 31 | 30 | 1 |" in card
    rows = read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert sum(row["category"] == KEPT and row["chosen"] == model["default"] for row in rows) == 3


@pytest.mark.slow
def test_both_models_are_sampled_as_the_recipe_says(tmp_path: Path) -> None:
    with stub_server() as server:
        at = {"engine": "openai", "url": server.url, "sampling": {"temperature": 0, "max_tokens": 33}}
        sides = {"strong": {**at, "model": "strong"}}
        recipe = {"name": "Aria", "maker": "Northwind Labs", "pairs": 4, "contrast": 0, **sides, "out": str(tmp_path / "out")}
        (tmp_path / "recipe.yaml").write_bytes(orjson.dumps({**recipe, "cache": str(tmp_path / "cache.sqlite")}))
        identity_command(str(tmp_path / "recipe.yaml"), as_json=True)
        last = server.stats()["last"]
    assert (last["temperature"], last.get("max_tokens") or last.get("max_completion_tokens")) == (0, 33)
