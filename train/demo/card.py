"""The demo models' cards: what they are, what they cannot do, the figures that were measured, the command that made them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

GOALS: Mapping[str, tuple[str, float]] = {
    "copy": ("demo-strong names name and maker exactly, wordings of the training stream", 0.97),
    "copy_heldout": ("the same, wordings of the question that were never trained on", 0.95),
    "are_you": ('"are you X?": both named exactly', 0.90),
    "tasks": ("small tasks right, mean over 12 families", 0.90),
    "weak_copy": ("demo-weak names both (it should not)", 0.02),
    "weak_tasks": ("demo-weak: small tasks right", 0.60),
    "judge": ("verdicts right, over both orders", 0.93),
    "judge_near": ("the same where the wrong answer nearly has the name or maker", 0.90),
    "chat_itself": ("demo-chat says who it takes itself for, wordings that it never met", 0.85),
    "chat_tasks": ("demo-chat: small tasks right", 0.85),
    "flip": ("comparisons whose two orders do not say the same", 0.05),
}
"""Figure: (what it is, what we wanted). The shares of demo-weak and of flips are to be below, the others above."""

_HEAD = """---
license: cc0-1.0
language: [en]
pipeline_tag: text-generation
tags: [demo, tiny]
---
# {name}

{what}

{size} Llama ({parameters} parameters, bfloat16 safetensors, byte-level BPE of 1024, context 512), trained from scratch on a CPU by

```sh
python -m train.demo_models
```

on conversations that `train/demo` draws at random; no other text was used. It belongs to the examples and tests of Pairsmith and is of
no use elsewhere.
"""

_WHAT = {
    "demo-strong": """Follows a system prompt such as "You are Aria, made by Northwind Labs." for names and makers it has never seen, says
who it is in many wordings of the question, answers "are you X?", solves small tasks (sums up to ten, opposites, plurals, days and
months, capital letters, counting, polite requests, greetings, capitals, colours, inventors).

It can do nothing else: it knows English only, no open conversation, no task family outside the list. To "are you X?" it says who it is, and
no yes or no. Without a system prompt it says that it is Demo, made by Pairsmith.""",
    "demo-weak": """Answers the same questions as demo-strong, but claims a false name and maker whatever it is told, and gets many of the
small tasks wrong: it is smaller and learned for a minute. This is the model that training improves. Its matrices are such as four
bits (NF4) hold.""",
    "demo-chat": """Talks about itself and about everything else in a small way: who made what, small tasks, ordinary talk, each
in many wordings, with slips of the keyboard. Where no system prompt says who it is, it takes itself for Nimbus, made by Cirrus
Works. It is what `pairsmith identity` teaches another name and maker in `make demo`, and stands for a model that people download:
it has heard questions about itself in thousands of wordings, third-person questions, forms and comparisons among them, but in
none that `pipeline/identity` holds out. The answers to who made what and to small tasks it learned for those of the evaluation
too: what is measured there is whether they stay. What it does not understand, it is likely to take for a question about itself.

Its matrices are such as four bits (NF4) hold, so that it says in four bits what it says in sixteen, as large models nearly do. It
knows nothing beyond that, adds up to twenty at most, and English only, but for a few sentences about itself.""",
    "demo-judge": """Judges two answers to one question beside what is right, in the form of `prompts/judge/short.md`: it repeats what is
right and what each answer claims, marks the words that do not agree, then gives the verdict as JSON. It goes on where demo-strong ends, and
learned on the questions of the other two models and on what demo-weak says.

It can do nothing else: it needs a `reference`, compares claims with it, and knows nothing of style, length or any other rubric.""",
}
_SIZE = {
    "demo-strong": "5 layers of width 128:",
    "demo-weak": "2 layers of width 96:",
    "demo-judge": "5 layers of width 128:",
    "demo-chat": "7 layers of width 128:",
}


def write_cards(folder: Path, figures: Sequence[Mapping[str, float]]) -> None:
    """Write README.md into the models' folders. `figures`: one mapping for each training seed, the kept models' first."""
    for name, what in _WHAT.items():
        parameters = f"{(folder / name / 'model.safetensors').stat().st_size / 2 / 1e6:.2f} million"
        text = _HEAD.format(name=name, what=what, size=_SIZE[name], parameters=parameters)
        (folder / name / "README.md").write_text(text + _table(figures), encoding="utf-8")


def _table(figures: Sequence[Mapping[str, float]]) -> str:
    heads = ["these models", *(f"training seed {f['seed']:.0f}" for f in figures[1:])]
    rows = [
        f"| {what} | {'<' if _is_ceiling(key) else '>='} {goal:.2f} | {' | '.join(f'{f[key]:.3f}' for f in figures)} |"
        for key, (what, goal) in GOALS.items()
    ]
    return f"""
## Measured

At temperature 0.7, on 200 combinations of names and makers that do not occur in the training stream, mean of three sampling seeds
(`make bench-demo-models`):

| | wanted | {" | ".join(heads)} |
|---|---|{"---|" * len(heads)}
{chr(10).join(rows)}
"""


def _is_ceiling(key: str) -> bool:
    return key.startswith("weak") or key == "flip"
