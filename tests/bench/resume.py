"""What is asked again: after a repeat, after one more prompt, and after twenty kills.

    python -m tests.bench.resume [--small]

Runs of `pairsmith build` in processes of their own, all with one Prefect server, against the stub with 20 ms latency.

    repeat_requests   asked by a finished run that is started again; 0 is right
    added_requests    asked after one prompt was added: two answers and two verdicts, `added_expected`
    kills             times the process was ended with `kill -9` at a moment drawn by chance (seeded): three of four while
                      it asks, the others while it writes tables and the dataset from the cache; then it is run to its end
    max_repeated      most replies that one kill lost: requests sent until then, less replies in the cache. Their sum is
                      the stub's count of requests that it was asked twice, or this ends with an error
    in_flight_limit   what may be in flight, and so be lost: the models' concurrency together
    identical         whether pair tables and dataset files have the bytes of an undisturbed run with its own fresh cache
    left_behind       processes that a killed one started and that still run ten seconds later, with and without a Prefect
                      server of its own; 0 is right
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson

from pipeline import ROOT
from pipeline.cache import ReplyCache
from tests.bench.measure import Figures, arguments, folder_of_its_own, hand_over, say, write_prompts, write_recipe
from tests.harness.stub_server import StubServer, stub_server

LATENCY = 0.02
CONCURRENCY = {"strong": 8, "weak": 8, "judge": 16}
SEED = 20261122
LOOK_SECONDS = 0.003
GRACE_SECONDS = 10


@dataclass
class Bench:
    """One measurement's folder, stub and findings."""

    folder: Path
    server: StubServer
    prompts: int
    shard: int
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    lost: list[int] = field(default_factory=list)
    """Replies lost, by kill."""
    left: set[int] = field(default_factory=set)

    @property
    def table(self) -> Path:
        return self.folder / "prompts.jsonl"

    def recipe(self, name: str) -> Path:
        """All recipes differ in their cache only, so that they make the same tables."""
        path = self.folder / f"{name}.yaml"
        cache = str(self.cache(name))
        write_recipe(path, self.server.url, self.table, concurrency=CONCURRENCY, shard=self.shard, cache=cache)
        return path

    def cache(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite"

    @property
    def asked(self) -> int:
        """Requests until now."""
        return int(self.server.stats()["requests"])

    def run(self, name: str, folder: str) -> int:
        """Build to the end; the number of requests that this took."""
        before = self.asked
        with self.started(name, folder) as process:
            process.wait()
        assert process.returncode == 0, (self.folder / "log").read_text()[-2000:]
        output = (self.folder / "summary").read_bytes()
        asked = self.asked - before
        say(f"{folder}: {asked} requests, {orjson.loads(output)['pairs']['rows']} pairs")
        return asked

    @contextmanager
    def started(self, name: str, folder: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        pairsmith = Path(sys.executable).with_name("pairsmith")
        command = [str(pairsmith), "build", str(self.recipe(name)), "--json", "--run", str(self.folder / folder)]
        with (self.folder / "log").open("ab") as log, (self.folder / "summary").open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=log, env={**os.environ, **environment})
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def repeat_and_add(bench: Bench) -> Figures:
    """An undisturbed run, the same again, and with one more prompt."""
    total = bench.run("calm", "calm")
    assert total == 4 * bench.prompts, total
    repeated = bench.run("calm", "calm")
    calm = digests(bench.folder / "calm")
    bench.server.reset()
    with bench.table.open("ab") as table:
        table.write(orjson.dumps({"prompt": "One more question: what is new here?"}) + b"\n")
    added = bench.run("calm", "calm")
    stats = bench.server.stats()
    assert stats["by_model"] == {"strong": 1, "weak": 1, "judge": 2} or added != 4, stats["by_model"]
    write_prompts(bench.table, bench.prompts)
    return {"repeat_requests": repeated, "added_requests": added, "added_expected": 4, "calm": calm}


def kill_while_asking(bench: Bench, kills: int) -> None:
    """Kill one run again and again, each time after it sent a number of requests drawn by chance: all kills share the work."""
    for left in range(kills, 0, -1):
        before = bench.asked
        undone = 4 * bench.prompts - count(bench.cache("killed"))
        mark = before + bench.rng.randint(1, max(1, 2 * undone // (left + 1)))
        if not kill(bench, "asked", partial(has_asked, bench, mark), bench.rng.uniform(0, 0.03)):
            say("it had ended before")
            return


def has_asked(bench: Bench, mark: int) -> bool:
    return bench.asked >= mark


def kill_while_writing(bench: Bench, kills: int) -> None:
    """Kill a run that has every reply in the cache at some moment of the second or so that it then takes."""
    bench.run("killed", "asked")
    began = time.monotonic()
    bench.run("killed", "timed")
    took = time.monotonic() - began
    for number in range(kills):
        first = bench.folder / f"written-{number}" / "shards" / "00000" / "prompts.parquet"
        # A run from the cache is mostly start-up; its work begins when the first table is there.
        kill(bench, f"written-{number}", first.exists, bench.rng.uniform(0, took / 3))


def kill(bench: Bench, folder: str, ready: Callable[[], bool], pause: float, **environment: str) -> bool:
    """Start a build, kill it `pause` seconds after it is `ready`, and count what that lost. False where it ended before."""
    stored = count(bench.cache("killed"))
    asked = bench.asked
    with bench.started("killed", folder, **environment) as process:
        while process.poll() is None and not ready():
            time.sleep(LOOK_SECONDS)
        time.sleep(pause)
        if process.poll() is not None:
            return False
        children = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    while bench.server.stats()["in_flight"]:
        time.sleep(LOOK_SECONDS)
    lost = (bench.asked - asked) - (count(bench.cache("killed")) - stored)
    bench.lost.append(lost)
    until = time.monotonic() + GRACE_SECONDS
    while (left := {pid for pid in children if runs(pid)}) and time.monotonic() < until:
        time.sleep(0.1)
    bench.left |= left
    tables = len(list((bench.folder / folder).rglob("*.parquet")))
    say(f"kill {len(bench.lost)} in {folder}: {lost} replies lost, {tables} tables, {len(children)} child processes, {len(left)} left")
    return True


def count(cache: Path) -> int:
    with ReplyCache(cache) as replies:
        return sum(replies.count().values())


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and those that they started."""
    children = {int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()}
    return children.union(*(descendants(child) for child in children))


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie that waits for its new parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def digests(run: Path) -> dict[str, str]:
    """The bytes of the pair tables and of the dataset, by file."""
    files = [*run.glob("shards/*/pairs.parquet"), *(run / "dataset").rglob("*.parquet")]
    assert files, f"{run} holds no tables"
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def measure(bench: Bench, kills: int) -> Figures:
    write_prompts(bench.table, bench.prompts)
    figures = repeat_and_add(bench)
    calm = figures.pop("calm")
    bench.server.reset()
    kill_while_asking(bench, kills * 3 // 4)
    kill_while_writing(bench, kills - len(bench.lost))
    written = sorted(p.name for p in bench.folder.glob("written-*"))
    for folder in written:
        bench.run("killed", folder)
    repeated = int(bench.server.stats()["repeated"])
    assert repeated == sum(bench.lost), (repeated, bench.lost)
    killed = len(bench.lost)
    kill_with_a_server(bench)
    return {
        **figures,
        "kills": killed,
        "identical": all(digests(bench.folder / folder) == calm for folder in ("asked", "timed", *written)),
        "max_repeated": max(bench.lost[:killed]),
        "repeated": repeated,
        "in_flight_limit": sum(CONCURRENCY.values()),
        "left_behind": len(bench.left),
    }


def kill_with_a_server(bench: Bench) -> None:
    """Once more, with the Prefect server that a build starts where there is none."""
    place = bench.folder / "own"
    ready = place / "shards" / "00000" / "prompts.parquet"
    assert kill(bench, "own", ready.exists, 0.2, PREFECT_API_URL="", PREFECT_HOME=str(bench.folder / "own-prefect"))


def main() -> None:
    args = arguments(__doc__).parse_args()
    prompts, shard, kills = (60, 20, 4) if args.small else (400, 100, 20)
    with folder_of_its_own() as folder:
        from flows.server import prefect_api

        with stub_server(latency=LATENCY) as server, prefect_api():
            hand_over(measure(Bench(folder, server, prompts, shard), kills))


if __name__ == "__main__":
    main()
