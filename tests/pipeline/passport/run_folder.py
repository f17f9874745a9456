"""A run folder with verdicts in two shards, as the stages leave it."""

import random
from pathlib import Path

from pipeline.passport.verdicts import Row
from pipeline.records import Answer, Comparison, Prompt, Verdict
from pipeline.runs import Run
from pipeline.tables import to_table, write_table


def write_run(path: Path, shards: int = 2, prompts: int = 12) -> tuple[Path, list[Row]]:
    """The folder, and its verdicts as rows."""
    run, draw, rows = Run(path), random.Random(3), []
    run.begin({"name": "made", "prompts": {"path": "none"}, "models": {"x": {"engine": "scripted"}}, "pair": {"strategy": "best_worst"}})
    for shard in range(shards):
        kinds: dict[type, list] = {Prompt: [], Answer: [], Comparison: [], Verdict: []}
        for n in range(shard * prompts, (shard + 1) * prompts):
            texts = {"strong": "word " * draw.randint(1, 9), "weak": "word " * draw.randint(1, 9)}
            kinds[Prompt].append(Prompt(f"p{n}", ({"role": "user", "content": f"q{n}"},), category=f"c{n % 2}"))
            kinds[Answer] += [Answer(f"{m}{n}", f"p{n}", m, 0, text) for m, text in texts.items()]
            comparison = Comparison.of(f"p{n}", f"strong{n}", f"weak{n}")
            kinds[Comparison].append(comparison)
            for order in ("AB", "BA"):
                choice = draw.choice(["A", "A", "A", "A", "B", "B", "tie", "invalid"])
                kinds[Verdict].append(Verdict(comparison.id, f"p{n}", "judge", order, choice, "llm"))
                lengths = float(len(texts["strong"])), float(len(texts["weak"]))
                rows.append(
                    Row("made", comparison.id, "judge", False, choice, order, models=("strong", "weak"), lengths=lengths, group=f"c{n % 2}")
                )
        for kind, records in kinds.items():
            write_table(to_table(kind, records), run.shard(shard) / f"{kind.__name__.lower()}s.parquet", "made")
    return path, rows
