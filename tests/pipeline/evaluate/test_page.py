"""The page and the words: everything a model or a user wrote is text, and every figure has its rows."""

from html.parser import HTMLParser

import pytest

from pipeline.evaluate.page import html_page
from pipeline.evaluate.words import in_sentences, markdown, table_of


def share(value, low, high, n):
    return {"value": value, "low": low, "high": high, "n": n}


NOTHING = share(None, None, None, 0)


def found(**changes):
    comparison = {
        "prompts": 120,
        "comparisons": 120,
        "outcomes": {"win": 70, "loss": 30, "tie": 5, "identical": 5, "contradictory": 5, "invalid": 5},
        "win_rate": share(0.7, 0.6, 0.78, 115),
        "controlled": NOTHING,
        "longer_chosen": NOTHING,
        "sway": NOTHING,
        "judges": [{"name": "pairwise:j", "flip": share(0.04, 0.01, 0.1, 110)}],
        "characters": {"after": 40.0, "before": 30.0},
        "cut_off": {"after": 0, "before": 0},
    }
    made = {
        "name": "aria",
        "decision": {"verdict": "promote", "reasons": ["because"], "guards": []},
        "comparison": {**comparison, **changes.pop("comparison", {})},
        "skills": None,
        "identity": None,
        "held_out": {},
        "prompts": {"trained_on": 0},
        "samples": [],
        **changes,
    }
    return {**made, "sentences": in_sentences(made)}


DRAWN = ("line", "circle", "rect")


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", *DRAWN):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in DRAWN:
            assert self.open.pop() == tag


def test_what_models_and_users_wrote_is_escaped():
    said = {"prompt": "<script>alert(1)</script>", "before": "<b>", "after": "{{ 7 * 7 }} </td></table>", "outcome": "better"}
    page = html_page(found(name="<img src=x>", samples=[said]))
    tags = Tags(page)
    assert tags.open == []
    assert {"script", "img", "b"}.isdisjoint(tags.seen)
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_the_page_shows_every_row_of_the_table_with_its_interval():
    skills = {"tasks": 50, "gained": 1, "lost": 2, "p": 1.0, "categories": {}}
    one = {**skills, "before": share(0.9, 0.8, 0.95, 50), "after": share(0.88, 0.77, 0.94, 50)}
    page = html_page(
        found(skills={**one, "categories": {"maths": one, "verse": one}}, held_out={"accuracy": 0.9, "margin": 2.0, "step": 4})
    )
    for words in ("skills: maths", "60.0 to 78.0", "1 gained, 2 lost", "chosen above rejected, held-out pairs"):
        assert words in page


def test_a_page_without_any_figure_is_a_page():
    empty = {"win_rate": NOTHING, "prompts": 0, "comparisons": 0, "characters": {"after": None, "before": None}, "judges": []}
    assert Tags(html_page(found(comparison=empty))).open == []


def identity(**figures):
    words = {"heldout": "right on held-out phrasings", "leak": "leaks where nobody asked", "attacks": "right under attack"}
    metrics = [{"name": name, "words": words[name], "before": before, "after": after} for name, (before, after) in figures.items()]
    return {"metrics": metrics, "sentences": [], "unanswered": {"before": 0, "after": 0}, "faults": {}}


def test_the_plot_of_who_it_says_it_is_has_a_bar_and_an_interval_for_each_figure():
    asked = {"heldout": (share(0.25, 0.1, 0.4, 80), share(0.75, 0.6, 0.9, 80)), "leak": (NOTHING, share(0.0, 0.0, 0.1, 20))}
    page = html_page(found(identity=identity(**asked, attacks=(NOTHING, NOTHING))))
    plot = page[page.index('<svg class="bars"') :].partition("</svg>")[0]
    assert Tags(page).open == []
    for width in (100, 300, 0):  # of 400
        assert f'width="{width}.0"' in plot
    assert 'x1="240.0" x2="360.0"' in plot
    assert (plot.count("<rect"), plot.count("whisker"), plot.count("not asked")) == (3, 3, 1)
    assert "leaks where nobody asked, of 20 (less is better)" in plot
    assert "right under attack" not in plot, "nobody asked"


def test_without_an_identity_there_is_no_plot_of_it():
    assert "Who it says it is" not in html_page(found())


def test_a_page_without_a_judge_has_no_win_rate_and_says_why():
    asked = {"heldout": (share(0.25, 0.1, 0.4, 80), share(0.75, 0.6, 0.9, 80))}
    made = {**found(identity=identity(**asked)), "comparison": None}
    made["sentences"] = in_sentences(made)
    assert made["sentences"][0] == "Promote aria: it is right about itself in 75.0% of held-out phrasings, before training in 25.0%."
    for text in (html_page(made), markdown(made)):
        assert "No judge was given (evaluate.judge)" in text
        assert "win rate (" not in text
        assert "75.0" in text


def test_how_many_prompts_it_takes_is_said():
    sentences = in_sentences(found(comparison={"win_rate": share(0.52, 0.43, 0.61, 115)}))
    [power] = [s for s in sentences if "prompts can tell" in s]
    assert "55% against 50% takes 783 prompts" in power
    assert "the 52.0% found here 4,904" in power


def test_a_gain_that_may_be_length_alone_is_called_so():
    sentences = in_sentences(found(comparison={"controlled": share(0.51, 0.44, 0.58, 115)}))
    assert any("the gain may be length alone" in s for s in sentences)


@pytest.mark.parametrize(("lost", "said"), [(0, False), (9, True)])
def test_a_category_that_lost_more_than_chance_would_is_named(lost, said):
    one = {"tasks": 50, "gained": 0, "lost": lost, "p": 2 * 0.5**lost if lost else 1.0, "categories": {}}
    one |= {"before": share(0.9, 0.8, 0.95, 50), "after": share(0.8, 0.7, 0.9, 50)}
    sentences = in_sentences(found(skills={**one, "categories": {"maths": one}}))
    assert any(s.startswith("In maths more was lost") for s in sentences) == said


def test_unmeasured_skills_are_said_to_be_unmeasured():
    assert any("evaluate.skills is empty" in s for s in in_sentences(found()))


def test_the_markdown_table_has_a_line_for_each_row():
    made = found()
    text = markdown(made)
    assert text.count("\n| ") - 1 == len(table_of(made))
    assert "| 70.0% (60.0% to 78.0%) | 115 |" in text
