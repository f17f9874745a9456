"""Where a text mentions a name: without case and width, at word boundaries where the script has any, never as a pattern."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‐": "-", "‑": "-", "–": "-"})

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that write words without spaces, or particles right behind a name: no boundary can be asked for there."""

_LETTER = rf"[\w--[{_UNSPACED}]]"


def normal(text: str) -> str:
    """The form in which texts are compared: NFKC, plain quotes and hyphens, single spaces. Case is left to the matching."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).split())


def mentions(text: str, name: str) -> bool:
    """Whether a text names it, as a whole word, in the possessive too."""
    plain, form = _normal(text), _normal(name)
    # Most texts do not hold the name at all, and a pattern costs a thousand times what a look for its letters costs.
    return _folded(form) in _folded(plain) and pattern_of((name,)).search(plain) is not None


def first_of(text: str, names: Iterable[str]) -> str | None:
    """One of these names that a text mentions, if any."""
    return next((name for name in names if mentions(text, name)), None)


def same(a: str, b: str) -> bool:
    """Whether two names differ in case, width and an article at most."""
    return _bare(a) == _bare(b)


def masked(text: str, names: Iterable[str], mark: str) -> str:
    """The text, normalised, with every mention of these names replaced by a mark, which is no word."""
    return str(pattern_of(tuple(names)).sub(mark, normal(text)))


_normal = lru_cache(maxsize=4096)(normal)


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    return text.casefold()


@lru_cache(maxsize=4096)
def pattern_of(names: tuple[str, ...]) -> Any:
    """A pattern that finds any of these names, the longest first; nothing where there are none."""
    import regex

    forms = sorted({normal(n) for n in names if normal(n)}, key=lambda n: (-len(n), n))
    found = "|".join(_bounded(regex, form) for form in forms) or r"(?!)"
    return regex.compile(found, flags=regex.V1 | regex.IGNORECASE | regex.FULLCASE)


def _bounded(regex: Any, form: str) -> str:
    before, after = (_boundary(regex, edge) for edge in (form[0], form[-1]))
    start = f"(?<!{before})" if before else ""
    # German adds the s of the possessive without a sign: "Arias Antwort".
    possessive = r"(?=s\s+(?-i:\p{Lu}))|" if after == _LETTER else ""
    end = f"(?:{possessive}(?!{after}))" if after else ""
    return f"{start}{regex.escape(form, special_only=True)}{end}"


def _boundary(regex: Any, edge: str) -> str:
    """What must not stand next to this edge of a name: a letter of a spaced script, a further Katakana, or nothing at all."""
    if regex.fullmatch(r"[\p{Katakana}ー]", edge, flags=regex.V1):
        return r"[\p{Katakana}ー]"
    return _LETTER if regex.fullmatch(_LETTER, edge, flags=regex.V1) else ""


@lru_cache(maxsize=4096)
def _bare(name: str) -> str:
    return normal(name).casefold().removeprefix("the ").strip(" .,!?\"'")
