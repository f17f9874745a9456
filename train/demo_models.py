"""Make the demo models: `python -m train.demo_models` writes data/demo_models anew, in about three hours on two CPU cores.

Four tiny chat models, trained from scratch on text that train/demo writes: demo-weak, demo-strong, from that one demo-judge, which
learns on what demo-weak says wrongly, and demo-chat, which talks about this and that and is to learn who it is.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from pipeline import ROOT
from train.demo import measure
from train.demo.card import write_cards
from train.demo.coarse import Rounding
from train.demo.corpus import Conversations, Mixture
from train.demo.identity import OPEN
from train.demo.judging import WeakAnswers
from train.demo.learn import Lesson, Shape, learn, load, make_model, make_tokenizer, pieces_of, save

FOLDER = ROOT / "data" / "demo_models"

NAMES = ("weak", "strong", "judge", "chat")
"""In the order in which they are made."""

_CHAT_AGAIN = (
    (0.6, 3300, 0.1, {"chat": 0.8, "tasks": 0.2}),
    (0.5, 2800, 0.25, {"chat": 0.8, "tasks": 0.2}),
    (0.7, 5500, 0.15, {"chat": 0.8, "tasks": 0.2}),
    (0.55, 2200, 0.27, {"chat": 0.8, "tasks": 0.2}),
    (0.5, 1500, 0.25, {"chat": 0.6, "tasks": 0.4}),
    (0.75, 5600, 0.2, {"chat": 0.78, "tasks": 0.12, "numbers": 0.1}),
    (0.5, 2200, 0.27, {"chat": 0.68, "tasks": 0.2, "numbers": 0.12}),
    # What it does not understand it shall take for a question about itself, rather than for any other.
    (0.6, 2700, 0.25, {"chat": 0.52, "itself": 0.26, "tasks": 0.12, "numbers": 0.1}),
)
"""demo-chat's later lessons: strength of the rates, steps, noise on the weights, and what it hears. The weights that are kept had the
first five before talk/second.yaml, third.yaml and others.yaml were written."""

Steps = Callable[[int], int]
"""Steps of a full training -> steps of this one."""


def learn_weak(seed: int, tokenizer: Any, steps: Steps) -> Any:
    """Answers like the strong one, learned for a minute, and claims somebody else. Its matrices are such as four bits hold."""
    model = make_model(tokenizer, Shape(width=96, layers=2), seed)
    lessons = [Lesson(steps(420), Mixture({"mistaken": 0.7, "tasks": 0.3}))]
    learn(model, tokenizer, Conversations(pieces_of(tokenizer)), lessons, Random(f"weak {seed}"), say=partial(_say, f"weak {seed}"))
    Rounding(model).keep()
    return model


def learn_strong(seed: int, tokenizer: Any, steps: Steps) -> Any:
    """Is whom the system prompt says, and solves small tasks."""
    model = make_model(tokenizer, Shape(width=128, layers=5), seed)
    lessons = [
        Lesson(steps(400), Mixture({"repeat": 0.4, "identity": 0.6})),
        Lesson(steps(2900), Mixture({"identity": 0.55, "tasks": 0.45})),
    ]

    def look(step: int) -> None:
        ask = measure.asker(model.eval(), tokenizer, most=48)
        copied = {w: measure.identity(ask, w, OPEN, 1) for w in ("trained", "unseen")}
        _say(f"strong {seed}", f"at {step}: {copied}, {measure.tasks(ask, 1, each=8)}")

    talk, say = Conversations(pieces_of(tokenizer)), partial(_say, f"strong {seed}")
    learn(model, tokenizer, talk, lessons, Random(f"strong {seed}"), say=say, look=look)
    return model


def learn_judge(seed: int, tokenizer: Any, steps: Steps, strong: Any, mistakes: WeakAnswers) -> Any:
    """Compares two answers with what is right. Goes on where demo-strong ends, which can copy; `mistakes` are demo-weak's."""
    lessons = [
        Lesson(steps(400), Mixture({"comparing": 0.5, "judging_far": 0.5})),
        Lesson(steps(500), Mixture({"judging_far": 0.9, "comparing": 0.1})),
        Lesson(steps(1300), Mixture({"judging": 1.0})),
    ]

    def look(step: int) -> None:
        ask = measure.asker(strong.eval(), tokenizer)
        judged = [measure.judge(ask, 1, mistakes, 100), measure.compared(ask, 1, 100)]
        shown = "; ".join(f"{j.accuracy():.3f}, flips {j.flips:.3f}" for j in judged)
        _say(f"judge {seed}", f"at {step}: {shown}; near {judged[0].accuracy('near'):.3f}")

    talk, say = Conversations(pieces_of(tokenizer), mistakes), partial(_say, f"judge {seed}")
    learn(strong, tokenizer, talk, lessons, Random(f"judge {seed}"), strength=0.7, say=say, look=look)
    # Once more from a higher rate: what was learned last, near misses, profits most.
    again = [Lesson(steps(2000), Mixture({"judging_near": 1.0}))]
    learn(strong, tokenizer, talk, again, Random(f"judge again {seed}"), strength=0.5, say=say, look=look)
    return strong


def learn_chat(seed: int, tokenizer: Any, steps: Steps) -> Any:
    """Talks about itself and everything else, and takes itself for somebody. Its matrices are such as four bits hold."""
    model = make_model(tokenizer, Shape(width=128, layers=7), seed)
    lessons = [
        Lesson(steps(400), Mixture({"repeat": 0.4, "chat": 0.6})),
        Lesson(steps(2100), Mixture({"chat": 0.85, "tasks": 0.15})),
        Lesson(steps(700), Mixture({"chat": 0.85, "tasks": 0.15}), coarse=True),
    ]

    def look(step: int) -> None:
        _say(f"chat {seed}", f"at {step}: {measure.tasks(measure.asker(model.eval(), tokenizer, most=48), 1, each=8)}")

    talk, say = Conversations(pieces_of(tokenizer)), partial(_say, f"chat {seed}")
    learn(model, tokenizer, talk, lessons, Random(f"chat {seed}"), say=say, look=look)
    # Again from lower rates, and then on shaken weights: what it knows shall outlast what it is taught later.
    for strength, count, noise, shares in _CHAT_AGAIN:
        again = [Lesson(steps(count), Mixture(shares), coarse=True, noise=noise)]
        learn(model, tokenizer, talk, again, Random(f"chat again {seed}"), strength=strength, say=say, look=look)
    return model


def make(name: str, seed: int, folder: Path, scale: float) -> None:
    """Train one of the models into `folder`. `scale` shortens the training, for a trial."""
    import torch

    def steps(count: int) -> int:
        return max(1, round(count * scale))

    torch.set_num_threads(2)
    if name == "weak":
        tokenizer = make_tokenizer(Random(0))
        model = learn_weak(seed, tokenizer, steps)
    elif name in ("strong", "chat"):
        tokenizer = load(folder / "demo-weak")[1]
        model = (learn_strong if name == "strong" else learn_chat)(seed, tokenizer, steps)
    else:
        # The tokenizer too is the strong one's: another text to learn it from would make another vocabulary.
        strong, tokenizer = load(folder / "demo-strong")
        mistakes = measure.weak_answers(measure.asker(*load(folder / "demo-weak"), most=40), pieces_of(tokenizer), 3000, seed)
        model = learn_judge(seed, tokenizer, steps, strong.float(), mistakes)
    save(model, tokenizer, folder / f"demo-{name}")


def _say(who: str, line: str) -> None:
    print(f"{who}: {line}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m train.demo_models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models go")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for a trial")
    parser.add_argument("--only", choices=NAMES, help="train one model and measure nothing")
    parser.add_argument("--cards", action="store_true", help="train nothing: write the cards anew, from figures.json")
    options: Any = parser.parse_args(arguments)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in [options.only] if options.only else [] if options.cards else NAMES:
        make(name, options.seed, options.folder, options.scale)
    if options.only:
        return
    if not options.cards:
        strong, weak, judge = (measure.asker(*load(options.folder / f"demo-{name}")) for name in ("strong", "weak", "judge"))
        chat = measure.asker(*load(options.folder / "demo-chat"))
        figures = {"seed": options.seed, **measure.figures(strong, weak, judge, chat)}
        (options.folder / "figures.json").write_text(json.dumps([figures], indent=1) + "\n")
    write_cards(options.folder, json.loads((options.folder / "figures.json").read_text()))


if __name__ == "__main__":
    main()
