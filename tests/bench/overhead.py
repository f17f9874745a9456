"""What the build flow costs beside the server's own time: share of what 64 requests in flight could do, and CPU seconds.

    python -m tests.bench.overhead [--small] [--distilabel]

The stub answers everything after 50 ms, so 64 in flight give 1,280 replies a second. The real flow runs in this process,
with its Prefect server started beforehand. Time is the stub's: from the first request that it saw to its last reply, so
start-up and publishing are left out. Where generation and judging overlap, more than 64 may be in flight; the limit is
then taken as what was in flight (`slot_seconds`), never less than 64. CPU seconds are this process's over the same time.

distilabel_ratio: our requests a second over distilabel's, for the same 500 prompts (two answers, two verdicts) against the
same stub with the same 64 in flight; of several batch sizes its best counts. `distilabel` also holds both at 256 in flight,
and what distilabel does when it sends all 500 rows at once.
"""

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline import ROOT
from tests.bench.measure import Figures, arguments, build, folder_of_its_own, hand_over, say, write_prompts, write_recipe
from tests.harness.stub_server import StubServer, stub_server

LATENCY = 0.05
IN_FLIGHT = 64
LOOK_SECONDS = 0.01

COMPARED_PROMPTS = 500
DISTILABEL = ("distilabel[openai]==1.5.3", "requests")
BATCHES = {64: (16, 32), 256: (64, 128), 1000: (500,)}
"""In flight: the batch sizes of distilabel's steps, two of which work at a time. The fastest counts."""


class CpuClock:
    """The CPU seconds of this process by the machine's clock, looked at a hundred times a second."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._used: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, start: float, end: float) -> float:
        return self._at(end) - self._at(start)

    def _look(self) -> None:
        while not self._ended.is_set():
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._times.append(time.monotonic())
            self._used.append(used.ru_utime + used.ru_stime)
            self._ended.wait(LOOK_SECONDS)

    def _at(self, moment: float) -> float:
        return self._used[min(bisect_left(self._times, moment), len(self._used) - 1)]


def measure(server: StubServer, folder: Path, prompts: int, *, judged: bool, in_flight: int = IN_FLIGHT) -> Figures:
    """One fresh run with a fresh cache. Raises AssertionError where it did not ask exactly what it should."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    name = f"{'judged' if judged else 'generated'}-{prompts}"
    table = folder / f"{name}.jsonl"
    write_prompts(table, prompts)
    limits = {"strong": in_flight // 2, "weak": in_flight // 2, "judge": in_flight}
    cache = str(folder / f"{name}.sqlite")
    recipe = write_recipe(folder / f"{name}.yaml", server.url, table, judged=judged, concurrency=limits, cache=cache)
    server.reset()
    before = server.stats()["cpu_s"]
    began = time.monotonic()
    with CpuClock() as clock:
        build(recipe, folder / name)
    flow_seconds = time.monotonic() - began
    stats = server.stats()
    assert stats["requests"] == stats["distinct"] == prompts * (4 if judged else 2), stats
    figures = {**timing(stats), "flow_seconds": round(flow_seconds, 2)}
    figures["cpu_s_per_1000"] = round(clock.between(stats["first_request_at"], stats["last_reply_at"]) / stats["requests"] * 1000, 4)
    figures["stub_cpu_s_per_1000"] = round((stats["cpu_s"] - before) / stats["requests"] * 1000, 4)
    say(f"{name}: {figures}")
    return figures


def timing(stats: Figures) -> Figures:
    """Seconds, rate and share of the limit, from what the stub saw."""
    seconds = stats["last_reply_at"] - stats["first_request_at"]
    over = sum(s * (int(level) - IN_FLIGHT) for level, s in stats["seconds_at"].items() if int(level) > IN_FLIGHT)
    slot_seconds = IN_FLIGHT * seconds + over
    return {
        "requests": stats["requests"],
        "seconds": round(seconds, 3),
        "requests_per_s": round(stats["requests"] / seconds, 1),
        "share": round(stats["requests"] * LATENCY / slot_seconds, 4),
        "max_in_flight": stats["max_in_flight"],
        "over_limit_slot_seconds": round(over, 2),
    }


def against_distilabel(server: StubServer, folder: Path) -> Figures:
    """Our rate over distilabel's, for the same work; None with the reason where it cannot be installed."""
    try:
        python = install_distilabel()
    except subprocess.CalledProcessError as error:
        return {"distilabel_ratio": None, "distilabel_reason": f"{error.cmd[0]}: {error.stderr.strip().splitlines()[-1:]}"}
    table = folder / "compared.jsonl"
    write_prompts(table, COMPARED_PROMPTS)
    both = {}
    for in_flight, batches in BATCHES.items():
        ours = measure(server, folder, COMPARED_PROMPTS, judged=True, in_flight=in_flight)
        theirs = max((run_distilabel(python, server, table, batch) for batch in batches), key=lambda f: f["requests_per_s"])
        both[str(in_flight)] = {
            "ratio": round(ours["requests_per_s"] / theirs["requests_per_s"], 2),
            "ours": ours["requests_per_s"],
            "theirs": theirs["requests_per_s"],
            "their_batch": theirs["batch"],
            "their_max_in_flight": theirs["max_in_flight"],
        }
    return {"distilabel_ratio": both[str(IN_FLIGHT)]["ratio"], "distilabel": both}


def install_distilabel() -> Path:
    """The interpreter of its environment, which is made once. Raises CalledProcessError where that does not work."""
    place = ROOT / ".venv-distilabel"
    python = place / "bin" / "python"
    if not (place / "whole").exists():
        say(f"installing distilabel into {place.name}: some minutes")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [str(python), "-m", "pip", "install", "--quiet", *DISTILABEL],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
        (place / "whole").touch()
    return python


def run_distilabel(python: Path, server: StubServer, table: Path, batch: int) -> Figures:
    server.reset()
    command = [str(python), "-m", "tests.bench.distilabel_run", server.url, str(table), str(batch)]
    # At its usual level it writes a line for every request, which costs it a third of its time.
    environment = {**os.environ, "DISTILABEL_LOG_LEVEL": "WARNING"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    stats = server.stats()
    assert stats["distinct"] == 4 * COMPARED_PROMPTS, stats
    figures = {**timing(stats), "batch": batch}
    say(f"distilabel, batches of {batch}: {figures}")
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--distilabel", action="store_true", help="compare with distilabel, which is installed into .venv-distilabel once")
    args = parser.parse_args()
    prompts = 500 if args.small else 5_000
    with folder_of_its_own() as folder:
        from flows.command import quiet_prefect
        from flows.server import prefect_api

        with stub_server(latency=LATENCY) as server, prefect_api(), quiet_prefect(verbose=False):
            say("warming up")
            measure(server, folder, 50, judged=True)
            generated = measure(server, folder, prompts, judged=False)
            judged = measure(server, folder, prompts, judged=True)
            hand_over(
                {
                    "share_of_limit": judged.pop("share"),
                    "generate_share_of_limit": generated["share"],
                    "generate_cpu_s_per_1000": generated["cpu_s_per_1000"],
                    **judged,
                    **(against_distilabel(server, folder) if args.distilabel else {"distilabel_ratio": None}),
                }
            )


if __name__ == "__main__":
    main()
