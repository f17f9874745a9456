"""Make the demo models: `python -m train.demo_models` writes data/demo_models anew, in under 30 minutes on two CPU cores.

Two tiny chat models, trained from scratch on text that train/demo writes: demo-weak learns first; what it says is among
the wrong answers that demo-strong learns to judge.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from train.demo.card import write_cards

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "demo_models"


def make(seed: int, folder: Path, scale: float = 1.0) -> dict[str, float]:
    """Train both models into `folder`; the figures that were measured. `scale` shortens the training, for a trial."""
    import torch

    from train.demo import identity, measure
    from train.demo.corpus import Conversations, Mixture
    from train.demo.learn import Lesson, Shape, learn, make_model, make_tokenizer, pieces_of, save

    torch.set_num_threads(1)  # at this size a second thread helps little; two seeds train side by side
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def lessons(*parts: tuple[int, dict[str, float]]) -> list[Lesson]:
        return [Lesson(max(1, round(steps * scale)), Mixture(shares)) for steps, shares in parts]

    def say(line: str) -> None:
        print(f"seed {seed}: {line}", flush=True)

    tokenizer = make_tokenizer(Random(0))
    pieces = pieces_of(tokenizer)

    weak = make_model(tokenizer, Shape(width=96, layers=2), seed)
    learn(weak, tokenizer, Conversations(pieces), lessons((700, {"mistaken": 0.55, "tasks": 0.45})), Random(f"weak {seed}"), say=say)
    save(weak, tokenizer, folder / "demo-weak")
    mistakes = measure.weak_answers(measure.asker(weak, tokenizer, most=40), pieces, 3000, seed)
    say(f"weak says: {mistakes[:12]}")

    strong = make_model(tokenizer, Shape(width=128, layers=5), seed)
    plan = lessons(
        (500, {"repeat": 0.4, "identity": 0.6}),
        (700, {"identity": 0.6, "tasks": 0.2, "judging": 0.2}),
        (3800, {"judging": 0.6, "identity": 0.25, "tasks": 0.15}),
    )

    def look(step: int) -> None:
        ask = measure.asker(strong.eval(), tokenizer)
        began = time.monotonic()
        figures = {
            "copy": measure.identity(ask, "trained", identity.OPEN, 1),
            "unseen": measure.identity(ask, "unseen", identity.OPEN, 1),
            "are_you": measure.identity(ask, "trained", identity.CLOSED, 1),
            "tasks": {k: round(v, 2) for k, v in measure.tasks(ask, 1, each=8).items()},
        }
        if step > sum(lesson.steps for lesson in plan[:2]):
            judged = measure.judge(ask, 1, mistakes, 150)
            figures |= {"judge": judged.accuracy(), "near": judged.accuracy("near"), "flips": judged.flips}
        say(f"at {step}: {figures} ({time.monotonic() - began:.0f} s)")

    learn(strong, tokenizer, Conversations(pieces, mistakes), plan, Random(f"strong {seed}"), say=say, look=look)
    save(strong, tokenizer, folder / "demo-strong")
    ask = measure.asker(strong, tokenizer)
    return {"seed": seed, **measure.figures(ask, measure.asker(weak, tokenizer), ask)}


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m train.demo_models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models go")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for a trial")
    parser.add_argument("--cards", action="store_true", help="train nothing: write the cards anew, from figures.json")
    options: Any = parser.parse_args(arguments)
    file: Path = options.folder / "figures.json"
    if not options.cards:
        figures = make(options.seed, options.folder, options.scale)
        file.write_text(json.dumps([figures], indent=1) + "\n")
    write_cards(options.folder, json.loads(file.read_text()))


if __name__ == "__main__":
    main()
