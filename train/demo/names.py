"""Names and makers: those the demo models meet while they learn, and those that are kept to measure whether they copy.

What they meet is drawn at random: pronounceable, with accents, digits and capitals, and put together from pieces of the
vocabulary, so that copying is the only way to get them right. None of them holds a word of `UNSEEN`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import yaml

_TEXTS: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _unseen() -> Iterator[tuple[str, str]]:
    names, makers = _TEXTS["unseen_names"], _TEXTS["unseen_makers"]
    for step in (0, 7, 16, 29, 35):
        yield from ((name, makers[(i + step) % len(makers)]) for i, name in enumerate(names))


UNSEEN: tuple[tuple[str, str], ...] = tuple(_unseen())
"""200 combinations of names and makers; none of their own words occurs in the training stream."""

_WORDS = {w for pair in UNSEEN for text in pair for w in re.findall(r"\w{3,}", text.casefold())} - {*_TEXTS["common"]}


def draw_name(rng: Random, pieces: Sequence[str]) -> str:
    """A name as people give them to assistants."""
    return _seen(lambda: _name(rng, pieces))


def draw_maker(rng: Random, pieces: Sequence[str]) -> str:
    """A company, a team or a person."""
    return _seen(lambda: _maker(rng, pieces))


def near_miss(rng: Random, text: str) -> str:
    """Another text that differs in a letter, a digit, an ending or a word."""
    while True:
        other = _changed(rng, text).strip()
        if other and other.casefold() != text.casefold() and not other.startswith(("&", "-")):
            return other


def says(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text, whole: neither word before nor after it goes on."""
    return re.search(rf"(?<![\w&-]){re.escape(phrase)}(?![\w-]| [A-Z&\d])", text) is not None


def _seen(draw: Callable[[], str]) -> str:
    while True:
        text = draw()
        if not _WORDS & set(re.findall(r"\w+", text.casefold())):
            return text


def _name(rng: Random, pieces: Sequence[str]) -> str:
    form = rng.random()
    if form < 0.45:
        return _part(rng, pieces)
    if form < 0.60:
        return _spelled(rng)
    if form < 0.66:
        return _word(rng).upper()
    if form < 0.80:
        return f"{_part(rng, pieces)}{rng.choice([' ', '-', ''])}{_number(rng)}"
    return f"{_part(rng, pieces)}{rng.choice([' ', ' ', '-'])}{_part(rng, pieces)}"


def _maker(rng: Random, pieces: Sequence[str]) -> str:
    form = rng.random()
    part = _part(rng, pieces)
    if form < 0.38:
        return f"{part} {rng.choice(_TEXTS['kinds'])}"
    if form < 0.52:
        return f"{part} {_part(rng, pieces)}"
    if form < 0.60:
        return f"{part} {_part(rng, pieces)} {rng.choice(_TEXTS['kinds'])}"
    if form < 0.70:
        return f"{part} & {part if rng.random() < 0.25 else _part(rng, pieces)}"
    if form < 0.76:
        return f"the {part} {rng.choice(['team', 'project', 'Institute', 'Foundation', 'family', 'Collective'])}"
    if form < 0.83:
        return f"{_number(rng)} {part}" if rng.random() < 0.5 else f"{part} {_number(rng)}"
    if form < 0.93:
        return " ".join(_spelled(rng) if rng.random() < 0.5 else _word(rng).upper() for _ in range(rng.choice([1, 1, 2])))
    return f"{rng.choice('LDOM')}'{_word(rng)}" if form < 0.95 else part


def _part(rng: Random, pieces: Sequence[str]) -> str:
    return _word(rng) if rng.random() < 0.55 else _pieced(rng, pieces)


def _spelled(rng: Random) -> str:
    """A few letters again and again: where one token follows itself, looking for the token before is not enough to copy."""
    letters = rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", rng.randrange(2, 5))
    made = "".join(rng.choice(letters) for _ in range(rng.randrange(3, 8)))
    return made if rng.random() < 0.7 else made.capitalize()


def _word(rng: Random) -> str:
    syllables = rng.choice([1, 2, 2, 2, 2, 3, 3])
    made = "".join(rng.choice(_TEXTS["syllable_starts"]) + rng.choice(_TEXTS["vowels"]) for _ in range(syllables))
    made = _odd(rng, made + rng.choice(_TEXTS["syllable_ends"]))
    return made[0].upper() + made[1:] if len(made) > 1 else made.upper() + "o"


def _odd(rng: Random, word: str) -> str:
    """Now and then a rare letter, or one letter twice: what copies well is what was met often."""
    at = rng.randrange(len(word))
    if rng.random() < 0.22:
        word = word[:at] + rng.choice(_TEXTS["rare_letters"]) + word[at + 1 :]
    at = rng.randrange(len(word))
    return word[:at] + word[at] * rng.choice([2, 2, 2, 3]) + word[at + 1 :] if rng.random() < 0.2 else word


def _pieced(rng: Random, pieces: Sequence[str]) -> str:
    made = "".join(rng.choice(pieces) for _ in range(rng.choice([1, 2, 2, 3, 3])))
    return made[0].upper() + made[1:14] if rng.random() < 0.85 else made[:14]


def _number(rng: Random) -> str:
    digits = rng.sample("0123456789", 2)
    repeated = rng.choice("123456789") + "".join(rng.choice(digits) for _ in range(rng.randrange(1, 5)))
    return str(rng.choice([rng.randrange(2, 10), rng.randrange(10, 100), rng.randrange(100, 10_000), repeated, repeated]))


def _changed(rng: Random, text: str) -> str:
    at = rng.randrange(len(text))
    form = rng.random()
    if form < 0.35 and text[at].isalnum():
        letters = "0123456789" if text[at].isdigit() else "aeiourstnlmdkvbp"
        new = rng.choice(letters)
        return text[:at] + (new.upper() if text[at].isupper() else new) + text[at + 1 :]
    if form < 0.5 and len(text) > 3:
        return text[:at] + text[at + 1 :]
    if form < 0.6 and at and text[at].isalpha():
        return text[:at] + text[at] + text[at:]
    if form < 0.72:
        return text[:-1] if text.endswith("s") else text + rng.choice(["s", "a", "o", "n", "er"])
    words = text.split(" ")
    if form < 0.86 and len(words) > 1:
        return " ".join(words[:-1]) if rng.random() < 0.5 else " ".join([*words[:-1], rng.choice(_TEXTS["kinds"])])
    if form < 0.93:
        return f"{text} {rng.choice([*_TEXTS['kinds'], '2', '3'])}"
    return f"{rng.choice(['New', 'Neo', 'Old', 'Mega'])} {text}"
