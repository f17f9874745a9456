"""Who wrote an answer cannot be told from where it stands, and where it stood is undone."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.annotate.blind import as_shown, draw_of, is_drawn, shown_order
from pipeline.annotate.labels import labels_of
from pipeline.annotate.ledger import Sent, task_id
from pipeline.annotation import AnnotateSettings

names = st.lists(st.text("abcdef0123456789", min_size=4, max_size=20), min_size=2, max_size=6, unique=True)
seeds = st.integers(0, 2**31)


@given(seeds, names, st.randoms(use_true_random=False))
def test_the_order_shown_hangs_on_the_task_and_not_on_the_order_stored(seed, answers, random):
    task = task_id("choice", 0, "p", answers)
    other = random.sample(answers, len(answers))
    assert task_id("choice", 0, "p", other) == task
    assert shown_order(seed, task, other) == shown_order(seed, task, answers)
    assert sorted(shown_order(seed, task, answers)) == sorted(answers)


def test_every_side_is_as_likely_as_the_other():
    first = [shown_order(7, task_id("choice", 0, f"p{n}", [f"strong{n}", f"weak{n}"]), [f"strong{n}", f"weak{n}"])[0] for n in range(2000)]
    assert 900 < sum(name.startswith("strong") for name in first) < 1100


def test_every_order_of_three_is_as_likely_as_the_others():
    orders = [shown_order(7, f"task {n}", "abc") for n in range(3000)]
    assert {orders.count(order) // 100 for order in set(orders)} <= {4, 5}
    assert len(set(orders)) == 6


def test_another_seed_shows_another_order():
    orders = [[shown_order(seed, f"task {n}", "ab") for n in range(64)] for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_shares_by_chance_are_independent_of_each_other():
    both = [(is_drawn(0, "control", f"t{n}", 0.5), is_drawn(0, "sample", f"t{n}", 0.5)) for n in range(2000)]
    assert all(400 < both.count(kind) < 600 for kind in ((a, b) for a in (True, False) for b in (True, False)))
    assert all(0 <= draw_of(3, "x", f"{n}") < 1 for n in range(100))
    assert not any(is_drawn(0, "control", f"t{n}", 0.0) for n in range(100))
    assert all(is_drawn(0, "control", f"t{n}", 1.0) for n in range(100))


def sent(answers, kind):
    shown = shown_order(3, task_id(kind, 0, "p", answers), answers)
    return Sent(task_id(kind, 0, "p", answers), kind, "made", 0, "p", None, shown, "all")


def form(kind, answers):
    from pipeline.annotate.forms import form_of

    return form_of(AnnotateSettings(backend="csv", task=kind), "made", answers=answers)


@given(names.map(lambda n: n[:2]), st.sampled_from(["1", "2", "tie"]))
def test_a_choice_of_stored_sides_comes_back_as_it_went(answers, label):
    task = sent(answers, "choice")
    says = labels_of(task, form("choice", 2), {"choice": as_shown(label, answers, task.answers)})
    assert says is not None
    one = says[0] if says[0].a == answers[0] else says[0].turned()
    assert (one.a, one.b, one.label) == (*answers, {"1": "A", "2": "B", "tie": "tie"}[label])


@given(names, st.data())
def test_a_ranking_of_stored_answers_comes_back_as_it_went(answers, data):
    ranks = data.draw(st.lists(st.integers(0, 2), min_size=len(answers), max_size=len(answers)))
    ranking = tuple("=".join(str(n + 1) for n, rank in enumerate(ranks) if rank == level) for level in sorted(set(ranks)))
    task = sent(answers, "ranking")
    says = labels_of(task, form("ranking", len(answers)), {"ranking": as_shown(ranking, answers, task.answers)})
    assert says is not None
    place = dict(zip(answers, ranks, strict=True))
    for one in says:
        assert one.label == ("tie" if place[one.a] == place[one.b] else "A" if place[one.a] < place[one.b] else "B")


@given(names)
def test_what_is_no_number_of_an_answer_stays_as_it_is(answers):
    shown = shown_order(0, "t", answers)
    assert as_shown("both_bad", answers, shown) == "both_bad"
    assert as_shown(4, answers, shown) == 4


def test_the_rows_of_a_ledger_are_values():
    row = sent(["a", "b"], "choice")
    assert replace(row, state="sent") != row
