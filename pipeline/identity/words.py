"""What prompts/identity holds: the families of questions, and for each language its questions, answers and ways of talking."""

from functools import cache
from typing import Literal

from pydantic import Field, model_validator

from pipeline import prompts
from pipeline.check import Closed, check
from pipeline.errors import RecipeError, choose_from
from pipeline.recipe import read_yaml

Asks = Literal["name", "maker", "both", "fact"]
"""What a right answer must say."""

Turns = str | list[str]
"""A question: one text, or the turns of a conversation, the user's first and last."""


class Family(Closed):
    """A kind of question."""

    about: str
    """What it does."""
    heldout: bool = False
    """Whether it is for evaluation alone."""
    attack: bool = False
    """Whether it presses for a wrong answer."""
    wraps: bool = True
    """Whether a greeting before and a courtesy after its questions make sense."""


class Group(Closed):
    """Questions of a family that have one kind of right answer."""

    asks: Asks
    """What a right answer must say."""
    fact: str | None = None
    """The key of the fact that is asked for."""
    questions: list[Turns] = Field(min_length=1)
    """Phrasings; `{slot}` stands for a value."""
    answers: list[str] = Field(default_factory=list)
    """Answers of their own; those for `asks` where there are none."""
    answer_in: str | None = None
    """The language of the answer, where it is another."""

    @model_validator(mode="after")
    def _names_its_fact(self) -> "Group":
        if (self.asks == "fact") != (self.fact is not None):
            raise ValueError("`fact` goes with `asks: fact`, and only with it")
        return self


class Answers(Closed):
    """Right answers with the slots {name}, {maker} and {fact}; with others' names they are the wrong ones."""

    name: list[str]
    """To what asks for the name."""
    maker: list[str]
    """To what asks for the maker."""
    both: list[str]
    """To what asks for both."""
    unknown: list[str]
    """To what asks for a fact that is not known."""
    facts: dict[str, list[str]]
    """By key, to what asks for one that is."""


class Things(Closed):
    """Questions about something else, and their answers; {x} is asked about, {y} the answer."""

    questions: list[str] = Field(min_length=1)
    """Phrasings."""
    answers: list[str] = Field(min_length=1)
    """Ways to say it, short and long ones."""
    items: dict[str, str] = Field(default_factory=dict)
    """x: y."""
    calculate: Literal["sum", "difference"] | None = None
    """Items that are calculated."""
    expects: list[str] = Field(default_factory=list)
    """What an answer must hold where there are no items."""


class Meanings(Closed):
    """Questions about a name that is also a word."""

    questions: list[str]
    """With {word}."""
    answers: list[str]
    """With {y}, what it means."""


class Contrast(Closed):
    """Questions that are not about the model."""

    things: list[Things]
    """Who made something else."""
    tasks: list[Things]
    """Ordinary tasks with one right answer."""
    talk: list[Things]
    """Ordinary talk."""
    senses: list[Things]
    """The name or the maker as the name of somebody else."""
    known: Meanings
    """A name that is a word."""
    meanings: dict[str, str]
    """Words that are often names, and what they mean."""


class Talk(Closed):
    """How the language denies, and how it speaks of itself."""

    denies: list[str]
    """Words that deny a clause."""
    apart: list[str]
    """Words that set the speaker apart from whom the clause names."""
    but: list[str]
    """Words at which a clause ends: "not X but Y"."""
    first: list[str]
    """Words for the speaker."""
    unsure: list[str]
    """Words that occur where one says that one does not know."""
    common: list[str]
    """Frequent words by which the language is known."""
    claims: list[str]
    """Regular expressions; `who` is whom an answer claims as its name or maker."""
    facts: list[str]
    """Regular expressions; `who` is a place or person that an answer gives as a fact."""


class Language(Closed):
    """One file of prompts/identity."""

    language: str
    """Its name in English, for the system prompt."""
    script: Literal["latin", "han", "kana", "devanagari"]
    """What its answers are written in."""
    before: list[str]
    """What may stand before a question; the first is empty."""
    after: list[str]
    """What may stand after one; the first is empty."""
    families: dict[str, list[Group]]
    """The questions."""
    slots: dict[str, list[str]]
    """Values of slots beside {name}, {maker}, {product} and {company}."""
    answers: Answers
    """What is answered."""
    contrast: Contrast
    """What is not about the model."""
    leaks: list[str]
    """How a model that leaks would spoil {answer}."""
    talk: Talk
    """How answers are read."""


class Named(Closed):
    """Names of others in a script of their own."""

    products: list[str]
    """Assistants."""
    companies: list[str]
    """Their makers."""


class MadeUp(Closed):
    """Parts of names that nobody has."""

    names: list[str]
    """Of assistants."""
    makers: list[str]
    """Of companies."""
    kinds: list[str]
    """What a company's name ends in."""


class Others(Named):
    """Who else there is."""

    native: dict[str, Named]
    """By language."""
    made_up: MadeUp
    """Parts of made-up names."""


class _Families(Closed):
    families: dict[str, Family]


FOLDER = prompts.FOLDER / "identity"

_NO_LANGUAGE = ("families", "others")


def languages() -> list[str]:
    """The codes of the languages there are."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem not in _NO_LANGUAGE)


@cache
def language(code: str) -> Language:
    """The words of a language. RecipeError where there are none."""
    if code not in languages():
        raise RecipeError(f"no language '{code}' in prompts/identity; {choose_from(code, languages())}")
    return check(Language, _read(code), f"prompts/identity/{code}.yaml")


@cache
def families() -> dict[str, Family]:
    """The families, by name."""
    return check(_Families, {"families": _read("families")}, "prompts/identity").families


@cache
def others() -> Others:
    """Other assistants and makers."""
    return check(Others, _read("others"), "prompts/identity/others.yaml")


def _read(stem: str) -> object:
    return read_yaml((FOLDER / f"{stem}.yaml").read_text(encoding="utf-8"))
