"""Every word a model or a person is told is a file in prompts/: front matter, then messages as Jinja templates.

    ---
    id: judge/pairwise             # its path below prompts/
    inputs: [question, answer_1]   # exactly the names the template may use
    example: {question: …, …}      # renders in the tests, against a golden file
    ---
    @system
    …
    @user
    {{ question | fenced("question") }}

Text from outside enters as a value only, and is never itself read as a template.

Below prompts/annotate stands what people are told. The front matter of those files holds the titles and labels of what they
see, and the body is their guidelines, in Markdown (see pipeline/annotate/forms.py).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from pipeline import ROOT
from pipeline.errors import RecipeError, choose_from
from pipeline.records import Message

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

FOLDER = ROOT / "prompts"

_FILE = re.compile(r"\A---\n(?P<head>.*?\n)---\n(?P<body>.*)\Z", re.DOTALL)
_TURN = re.compile(r"^@(system|user|assistant)[ \t]*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt file, ready to be filled in. `sha256` is the file's own and goes into the rows it made."""

    id: str
    inputs: frozenset[str]
    example: dict[str, Any]
    sha256: str
    turns: tuple[tuple[str, "Template"], ...]

    def render(self, **values: Any) -> tuple[Message, ...]:
        """The messages. Every input must be given, and no other name."""
        if self.inputs != values.keys():
            raise RecipeError(f"prompt {self.id}: found the inputs {sorted(values)}, wanted {sorted(self.inputs)}")
        return tuple(cast(Message, {"role": role, "content": t.render(values).strip()}) for role, t in self.turns)


def load_prompt(name: str) -> PromptFile:
    """The prompt file `prompts/NAME.md`, or the file at a path that ends in .md. RecipeError where it is none."""
    return _parse(name, _text_of(name))


def load_guidelines(name: str) -> tuple[dict[str, Any], str]:
    """The front matter and the guidelines of a file below prompts/annotate, such as `en/choice`. RecipeError where it is none."""
    found = _split(f"annotate/{name}", _text_of(f"annotate/{name}"))
    return _yaml_of(f"annotate/{name}", found["head"]), found["body"].strip()


def prompt_names(*, for_people: bool = False) -> list[str]:
    """The files below prompts/, by the names under which they are loaded."""
    names = sorted(str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.rglob("*.md"))
    return [name for name in names if name.startswith("annotate/") is for_people]


def _text_of(name: str) -> str:
    path = Path(name) if name.endswith(".md") else FOLDER / f"{name}.md"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        known = prompt_names(for_people=name.startswith("annotate/"))
        raise RecipeError(f"no prompt file '{name}'; {choose_from(name, known)}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"prompt {name}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


@lru_cache(maxsize=64)
def _parse(name: str, text: str) -> PromptFile:
    from jinja2 import TemplateError

    found = _split(name, text)
    head = _front_matter(name, found["head"])
    before, *parts = _TURN.split(found["body"])
    if before.strip() or not parts:
        raise RecipeError(f"prompt {name}: wanted every message to begin with a line `@system`, `@user` or `@assistant`")
    try:
        turns = tuple((role, _environment().from_string(body)) for role, body in zip(parts[::2], parts[1::2], strict=True))
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        prompt = PromptFile(head["id"], frozenset(head["inputs"]), head["example"], sha256, turns)
        # Its own example shows at once what would otherwise fail on the first row: an unknown name, a forbidden attribute.
        prompt.render(**prompt.example)
    except TemplateError as error:
        raise RecipeError(f"prompt {name}: the template is wrong: {' '.join(str(error).split())}; mend it") from error
    return prompt


def _split(name: str, text: str) -> re.Match[str]:
    found = _FILE.match(text)
    if found is None:
        raise RecipeError(f"prompt {name}: wanted front matter between two lines `---`, then the messages")
    return found


def _yaml_of(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"prompt {name}: the front matter is not YAML: {' '.join(str(error).split())}; mend it") from error


def _front_matter(name: str, text: str) -> dict[str, Any]:
    head = _yaml_of(name, text)
    wanted: dict[str, type] = {"id": str, "inputs": list, "example": dict}
    for key, kind in wanted.items():
        if not (isinstance(head, dict) and isinstance(head.get(key), kind)):
            raise RecipeError(f"prompt {name}: the front matter lacks `{key}`, a {kind.__name__}; add it (see pipeline/prompts.py)")
    return cast(dict[str, Any], head)


@cache
def _environment() -> "SandboxedEnvironment":
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    # Autoescape would turn a user's < into &lt;: this is text for a model, not HTML; tags are defused by `fenced`.
    env = SandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    env.filters["fenced"] = fenced
    return env


_UNSEEN = r"[\s\u200b-\u200f\u2060\ufeff]*"
"""White space, and characters that take no space at all."""


def fenced(text: object, tag: str) -> str:
    """Put text from outside between tags, with every look-alike of our tags inside it defused: it cannot end its own fence.

    Nor can it end the turn that it stands in: tokenizers take `<|im_end|>` and its like for what they look like.
    """
    tags = rf"(?:question|reference|answer_?\d*|{re.escape(tag)})(?![A-Za-z])"
    defused = re.sub(rf"[<＜﹤](?={_UNSEEN}/?{_UNSEEN}{tags})|<(?=\|\w+\|>)", "‹", str(text), flags=re.IGNORECASE)
    return f"<{tag}>\n{defused}\n</{tag}>"
