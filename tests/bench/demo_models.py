"""What the demo models can do, asked through our own engines on names and makers that they never met: `make bench-demo-models`.

Temperature 0.7, 200 combinations, three sampling seeds; the judge reads prompts/judge/short.md. The last line is one JSON object.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.model import Model, settle
from pipeline.records import Message
from pipeline.settings import BudgetSettings, ModelSettings, plugin_settings
from train.demo import measure
from train.demo.card import GOALS
from train.demo_models import FOLDER


class Asker:
    """Asks one of the demo models as a build does, with a cache of its own."""

    def __init__(self, name: str, engine: str, cache: Path, *, judge: bool = False) -> None:
        self.raw = {"engine": engine, "model": str(FOLDER / name), **({"batch_size": 64} if engine == "transformers" else {})}
        self.tokens = 128 if judge else 48
        self.cache = cache

    def __call__(self, conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        return asyncio.run(self._ask(conversations, seed))

    async def _ask(self, conversations: Sequence[Sequence[Message]], seed: int) -> list[str]:
        sampling = {"temperature": measure.TEMPERATURE, "max_tokens": self.tokens}
        settings = plugin_settings("engines", {**self.raw, "sampling": sampling}, "engine", "models.m", ModelSettings)
        with ReplyCache(self.cache) as replies:
            model = Model("m", settings, replies, Budget(BudgetSettings()))
            try:
                # Without a seed in the request: one for all would draw the same numbers for every request, and one for each
                # would make every request a batch of its own. Another sample number is another draw.
                came = await settle(model.ask(c, sample=seed) for c in conversations)
            finally:
                await model.close()
        return [reply.text for reply in came]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", default="transformers", choices=["transformers", "vllm"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options: Any = parser.parse_args()
    with TemporaryDirectory() as folder:
        cache = Path(folder) / "replies.sqlite"
        strong, weak, chat = (Asker(name, options.engine, cache) for name in ("demo-strong", "demo-weak", "demo-chat"))
        judge = Asker("demo-judge", options.engine, cache, judge=True)
        figures = measure.figures(strong, weak, judge, chat, options.seeds)
    for key, (what, goal) in GOALS.items():
        print(f"{key:<14} {figures[key]:.3f}  wanted {goal:.2f}  {what}")
    print(json.dumps({"engine": options.engine, "seeds": len(options.seeds), **figures}))


if __name__ == "__main__":
    main()
