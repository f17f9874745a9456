"""A rule checks each answer by itself: right beats wrong, right and right is a tie. For identity, maths, formats.

The first rule that applies to a prompt decides: the pattern in `pattern_column`, `pattern`, the prompt's `reference`, or a
Python function of yours. To a prompt without any, the verdict is invalid (`no_rule`).
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal, cast

import orjson
from pydantic import Field, model_validator

from pipeline.errors import RecipeError
from pipeline.model import Model
from pipeline.records import Answer, Choice, Comparison, Prompt, Verdict
from pipeline.settings import JudgeSettings

Checker = Callable[[str, str], float]
"""(question, answer) -> score; higher is better, NaN where it cannot tell."""

_PATTERN_SECONDS = 1.0
"""A pattern that takes longer on one answer is one that never ends."""


class Settings(JudgeSettings):
    """The rule judge."""

    kind: Literal["rule"] = "rule"
    """The name of this plug-in."""
    pattern_column: str | None = None
    """A column of the prompt table that holds a regular expression which a right answer matches."""
    pattern: str | None = None
    """One regular expression for all prompts."""
    reference: Literal["contains", "exact", "number", "off"] = "off"
    """How an answer is held against the prompt's `reference`: it contains it as whole words; it is it (case and outer
    punctuation aside); or its last number equals it."""
    checker: str | None = None
    """`path/to/file.py:function`, your own code, called as function(question, answer) -> score."""
    tolerance: float = Field(1e-9, ge=0)
    """How far two numbers may lie apart, relatively, and still be equal."""

    @model_validator(mode="after")
    def _has_a_rule(self) -> "Settings":
        if not (self.pattern_column or self.pattern or self.checker) and self.reference == "off":
            raise ValueError("a rule judge needs a rule: give pattern_column, pattern, reference or checker")
        if self.pattern:
            compile_pattern(self.pattern, "judge.pattern")
        return self


class Judge:
    """See the module."""

    asks_model = False

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        self.settings = settings
        self.name = "rule"
        self._checker = load_checker(settings.checker) if settings.checker else None

    def revision(self) -> str:
        if not self.settings.checker:
            return ""
        return hashlib.sha256(Path(self.settings.checker.rpartition(":")[0]).read_bytes()).hexdigest()

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        rule = self._rule(prompt)
        scores = {side: rule(answers[side].text) if rule else None for c in comparisons for side in (c.a, c.b)}
        return [self._verdict(prompt, c, scores[c.a], scores[c.b], has_rule=rule is not None) for c in comparisons]

    def _rule(self, prompt: Prompt) -> Callable[[str], float | None] | None:
        s = self.settings
        column = orjson.loads(prompt.metadata).get(s.pattern_column) if s.pattern_column else None
        if pattern := column or s.pattern:
            compiled = compile_pattern(str(pattern), f"the pattern of prompt {prompt.key or prompt.id}")
            return lambda answer: _matches(compiled, answer)
        if s.reference != "off" and (reference := prompt.reference):
            return lambda answer: float(_agrees(answer, reference, s.reference, s.tolerance))
        if checker := self._checker:
            return lambda answer: _finite(checker(prompt.question, answer))
        return None

    def _verdict(self, prompt: Prompt, c: Comparison, a: float | None, b: float | None, *, has_rule: bool) -> Verdict:
        if a is None or b is None:
            reason = "rule_undecided" if has_rule else "no_rule"
            return Verdict(c.id, prompt.id, self.name, "AB", "invalid", "rule", a, b, reason=reason)
        choice: Choice = "tie" if a == b else "A" if a > b else "B"
        return Verdict(c.id, prompt.id, self.name, "AB", choice, "rule", a, b)


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str, where: str) -> Any:
    """A compiled pattern of the `regex` package, which can be given a time limit. RecipeError where it is none."""
    import regex

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise RecipeError(f"{where}: {pattern!r} is no regular expression ({error}); mend it") from error


def _matches(pattern: Any, answer: str) -> float | None:
    try:
        return float(pattern.search(answer, timeout=_PATTERN_SECONDS) is not None)
    except TimeoutError:
        return None


def _agrees(answer: str, reference: str, how: str, tolerance: float) -> bool:
    import regex

    if how == "contains":
        return regex.search(rf"(?<!\w){regex.escape(reference)}(?!\w)", answer, flags=regex.IGNORECASE) is not None
    if how == "exact":
        return _bare(answer) == _bare(reference)
    numbers = regex.findall(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?", answer)
    try:
        return bool(numbers) and math.isclose(float(numbers[-1].replace(",", "")), float(reference.replace(",", "")), rel_tol=tolerance)
    except ValueError:
        return False


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!?\"'`*")


def _finite(score: object) -> float | None:
    value = float(cast(float, score))
    return value if math.isfinite(value) else None


def load_checker(path: str) -> Checker:
    """A function from a Python file of the user's own. RecipeError where there is none."""
    file, _, name = path.rpartition(":")
    spec = spec_from_file_location("pairsmith_checker", file) if Path(file).is_file() else None
    if spec is None or spec.loader is None:
        raise RecipeError(f"judge.checker: no file '{file}'; wanted path/to/file.py:function")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise RecipeError(f"judge.checker: {file} has no function '{name}'")
    return cast(Checker, function)
