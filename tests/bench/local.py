"""Pairs of answers that were made and scored elsewhere: no model, no network, only the pair stage on tables.

    python -m tests.bench.local [--small]

1,000,000 prompts with four scored answers each of about 100 characters, all distinct, in shards of 5,000. The tables are
written beforehand by a process of their own. Then, in fresh processes, the stage `pairs` is run on every shard, one
after the other, with the strategy best_worst and the gates that stand by default; writing the pair tables is part of it.

    seconds_1m  for the million
    peak_gib    the most memory that process held, its imports included
    slope       seconds of the million, over ten times those of a run of 100,000 (the median of three); 1 is linear
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline import ROOT
from tests.bench.measure import Figures, arguments, folder_of_its_own, hand_over, say

SHARD = 5_000
ANSWERS = 4


def make(run: Path, prompts: int) -> None:
    """A run folder as `collect` and `generate` would have left it."""
    from pipeline.records import Answer, Prompt
    from pipeline.runs import Run
    from pipeline.tables import write_table

    folder = Run(run)
    folder.begin(recipe())
    words = vocabulary()
    for shard in range(prompts // SHARD):
        rng = np.random.default_rng(shard)
        ids = [f"{n * 0x9E3779B97F4A7C15 % 2**80:020x}" for n in range(shard * SHARD, (shard + 1) * SHARD)]
        write_table(columns(Prompt, prompt_columns(ids)), folder.shard(shard) / "prompts.parquet", "made")
        write_table(columns(Answer, answer_columns(ids, words, rng)), folder.shard(shard) / "answers.parquet", "made")


def recipe() -> Figures:
    model = {"engine": "scripted", "samples": ANSWERS}
    return {"name": "local", "prompts": {"path": "none.jsonl"}, "models": {"one": model}, "pair": {"strategy": "best_worst"}}


def vocabulary() -> NDArray[np.str_]:
    """5,000 words of three to eight letters, which compress about as well as prose."""
    rng = np.random.default_rng(5)
    letters = np.array(list("abcdefghijklmnoprstuvwy"))
    return np.array(["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(5_000)])


def prompt_columns(ids: list[str]) -> dict[str, Any]:
    return {
        "id": ids,
        "messages": [[{"role": "user", "content": f"Question {i}: what ought one to know about it before a first try?"}] for i in ids],
        "plain": [True] * len(ids),
        "split": ["test" if i.endswith("0") else "train" for i in ids],
        "metadata": ["{}"] * len(ids),
    }


def answer_columns(ids: list[str], words: NDArray[np.str_], rng: np.random.Generator) -> dict[str, Any]:
    """Sixteen words, an end that makes each text distinct, and a score from 0.0 to 10.0."""
    size = len(ids) * ANSWERS
    drawn = words[rng.integers(0, len(words), (size, 16))].tolist()
    texts = [f"{' '.join(some)} {ids[n // ANSWERS][:8]}{n % ANSWERS}." for n, some in enumerate(drawn)]
    return {
        "id": [f"{i[4:]}{k:04x}" for i in ids for k in range(ANSWERS)],
        "prompt_id": [i for i in ids for _ in range(ANSWERS)],
        "model": ["one"] * size,
        "sample": np.tile(np.arange(ANSWERS, dtype=np.int32), len(ids)),
        "text": texts,
        "finish_reason": ["stop"] * size,
        "source": ["model"] * size,
        "score": rng.integers(0, 101, size) / 10,
    }


def columns(kind: type, given: dict[str, Any]) -> Any:
    """A table of a kind; columns that are not given are null."""
    import pyarrow as pa

    from pipeline.tables import SCHEMAS

    schema = SCHEMAS[kind]
    rows = len(given["id"])
    return pa.table([pa.array(given[f.name], f.type) if f.name in given else pa.nulls(rows, f.type) for f in schema], schema=schema)


def work(run: Path, prompts: int) -> Figures:
    """The pair stage of the first shards. One shard is done beforehand and done again, so that no import is timed."""
    from pipeline.runs import Run
    from pipeline.session import Session
    from pipeline.stages import run_stage

    folder = Run(run)
    for table in run.glob("shards/*/pairs*.parquet"):
        table.unlink()
    with Session(folder) as session:
        run_stage(session, "pairs", 0)
        (folder.shard(0) / "pairs.parquet").unlink()
        began = time.perf_counter()
        for shard in range(prompts // SHARD):
            run_stage(session, "pairs", shard)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    return {"seconds": seconds, "peak_gib": peak, "rows": rows(run, "pairs"), "dropped": rows(run, "pairs.dropped")}


def rows(run: Path, table: str) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in run.glob(f"shards/*/{table}.parquet"))


def in_a_process(step: str, run: Path, prompts: int) -> Figures:
    """Run a step in a process of its own. This one stays small: a child's peak begins with what its parent holds."""
    command = [sys.executable, "-m", "tests.bench.local", "--step", step, "--run", str(run), "--prompts", str(prompts)]
    output = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
    figures: Figures = orjson.loads(output.splitlines()[-1])
    say(f"{step} {prompts:,} prompts: {figures}")
    if step == "work":
        assert figures["rows"] + figures["dropped"] == prompts, figures
    return figures


def step(args: argparse.Namespace) -> Figures:
    if args.step == "work":
        return work(args.run, args.prompts)
    make(args.run, args.prompts)
    return {"bytes": sum(f.stat().st_size for f in args.run.rglob("*.parquet"))}


def main() -> None:
    parser = arguments(__doc__)
    for name, kind in (("--step", str), ("--run", Path), ("--prompts", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        hand_over(step(args))
        return
    million = 100_000 if args.small else 1_000_000
    with folder_of_its_own() as folder:
        in_a_process("make", folder / "run", million)
        tenth = statistics.median(in_a_process("work", folder / "run", million // 10)["seconds"] for _ in range(3))
        whole = in_a_process("work", folder / "run", million)
        slope = whole["seconds"] / tenth / 10
        hand_over({"seconds_1m": round(whole["seconds"], 2), "peak_gib": round(whole["peak_gib"], 3), "slope": round(slope, 3)})


if __name__ == "__main__":
    main()
