"""The passport of 100,000 recorded verdicts: three judges in both orders and people, eight models, ten categories.

    python -m tests.bench.passport [--small]

Each figure comes from a process of its own, started as a user starts it: `pairsmith agree VERDICTS --humans PEOPLE --json`.

    seconds_100k  from the start of the process to the full passport, without resampling (what it costs to read and count)
    peak_gib      the most memory that process held, its imports included
    bootstrap_s   the same with the 1,000 resamples behind the intervals, as the command does it
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson

from pipeline import ROOT
from tests.bench.measure import Figures, arguments, folder_of_its_own, hand_over, say

JUDGES = ("gpt-judge", "claude-judge", "qwen-judge")
MODELS = tuple(f"model-{n}" for n in range(8))


def make(folder: Path, verdicts: int) -> None:
    """Two thirds of the items' truth by the models' strength and the length, judges with errors, ties and position bias."""
    rng = np.random.default_rng(4)
    items = verdicts // 7  # three judges in two orders, and a person
    strength = np.linspace(-1, 1, len(MODELS))
    people, judged = [], []
    for n in range(items):
        a, b = rng.choice(len(MODELS), 2, replace=False)
        lengths = rng.integers(200, 2000, 2)
        lean = strength[a] - strength[b] + (lengths[0] - lengths[1]) / 2000
        common = {"item": f"item-{n}", "a_model": MODELS[a], "b_model": MODELS[b], "category": f"c{n % 10}"}
        lengthy = {"length_a": int(lengths[0]), "length_b": int(lengths[1])}
        people.append({**common, "judge": "person", "choice": said(lean, rng)})
        for judge in JUDGES:
            for order, shown in (("AB", 0.3), ("BA", -0.3)):
                cost = {"prompt_tokens": 700, "completion_tokens": 40, "dollars": 0.0003}
                judged.append({**common, **lengthy, **cost, "judge": judge, "order": order, "choice": said(lean + shown, rng)})
    for name, rows in (("people", people), ("judged", judged)):
        (folder / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    say(f"{len(people) + len(judged):,} verdicts")


def said(lean: float, rng: np.random.Generator) -> str:
    draw = lean + rng.logistic()
    return "invalid" if rng.random() < 0.01 else "tie" if abs(draw) < 0.2 else "A" if draw > 0 else "B"


def work(folder: Path, resamples: int) -> Figures:
    """The command in this process, with so many resamples; its JSON goes to a file."""
    from flows import agree

    began = time.perf_counter()
    agree.RESAMPLES = resamples
    sys.stdout = (folder / "passport.json").open("w")
    given = [str(folder / "judged.jsonl")], str(folder / "people.jsonl"), "category", [], [], str(folder / "page.html"), 0
    agree.agree_command(*given, as_json=True)
    sys.stdout.close()
    sys.stdout = sys.__stdout__
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    return {"inside_s": round(time.perf_counter() - began, 2), "peak_gib": round(peak, 3)}


def in_a_process(folder: Path, resamples: int) -> Figures:
    """One run in a process of its own, timed from outside, so that the interpreter and its imports count."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tests.bench.passport", "--folder", str(folder), "--resamples", str(resamples)]
    output = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
    figures: Figures = {"seconds": round(time.perf_counter() - began, 2), **orjson.loads(output.splitlines()[-1])}
    say(f"{resamples} resamples: {figures}")
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resamples", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        hand_over(work(args.folder, args.resamples))
        return
    with folder_of_its_own() as folder:
        make(folder, 10_000 if args.small else 100_000)
        plain, resampled = in_a_process(folder, 0), in_a_process(folder, 1000)
        found = orjson.loads((folder / "passport.json").read_bytes())
        assert found["verdicts"] > (9_900 if args.small else 99_900), found["verdicts"]
        peak = max(plain["peak_gib"], resampled["peak_gib"])
        hand_over({"seconds_100k": plain["seconds"], "peak_gib": peak, "bootstrap_s": resampled["seconds"], "verdicts": found["verdicts"]})


if __name__ == "__main__":
    main()
