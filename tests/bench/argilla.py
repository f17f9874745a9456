"""The round trip to a real Argilla server on this machine: 300 records out, 600 responses back, one more; and 5,000 records.

    python -m tests.bench.argilla [--small]

    push_s, requests_push      choosing and sending 300 tasks, the dataset and two annotators made on the way
    pull_s, requests_pull      bringing 600 responses and deriving verdicts and outcomes
    incremental_pull_s, requests_incremental   one new response to one of the newest 500 records, nothing else
    incremental_old_s          one to the oldest record: Argilla lists no responses by time, so all that was answered is read
    nothing_new_s              a pull with nothing new
    grown_mib                  memory that this process grew by at most while it pushed, and while it pulled
    large                      the same with 5,000 records

The server's search index is the tests' own (SQLite); Elasticsearch is faster at 5,000.
"""

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pipeline.annotate.ledger import read_ledger
from pipeline.annotate.pull import pull
from pipeline.annotate.push import push
from pipeline.annotation import annotate_settings
from pipeline.backends.argilla import Backend
from tests.bench.measure import Figures, arguments, folder_of_its_own, hand_over, say
from tests.harness.annotators import make_run
from tests.harness.argilla import ArgillaServer, require_argilla

PEOPLE = ("ana", "ben")


def memory() -> float:
    """What this process holds now, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(backend: Backend, work: Callable[[], Any]) -> tuple[float, int, float]:
    """Seconds, requests, and the most MiB that were held beyond what was held before."""
    gc.collect()
    before, asked, most, over = memory(), backend.client.requests, [0.0], Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], memory())

    watcher = Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    work()
    seconds = round(time.perf_counter() - began, 2)
    over.set()
    watcher.join()
    return seconds, backend.client.requests - asked, round(max(0.0, most[0] - before), 1)


def round_trip(server: ArgillaServer, folder: Path, records: int, overlap: int) -> Figures:
    people = list(PEOPLE[:overlap])
    part = {"backend": "argilla", "url": server.url, "workspace": folder.name, "annotators": people}
    made = make_run(folder, ["flipped"] * records, shard=500, min_submitted=overlap, per_day=100_000, **part)
    backend = Backend(annotate_settings(made.run.recipe()["annotate"]), folder / "annotate" / "argilla")  # type: ignore[arg-type]

    push_s, requests_push, push_mib = measured(backend, lambda: push(made.run, backend))
    ids = server.record_ids("made-choice")
    rows = read_ledger(made.run)
    assert len(ids) == len(rows) == records
    # In the order in which they came to the server, where the newest are found first.
    first, *others, last = [ids[i] for i in [row["external_id"] for row in server.records("made-choice")]]
    for person in people:
        server.add_annotator(person, folder.name)
        late = {first, last} if person == people[-1] else set()
        server.answer_many(person, [(i, {"choice": "1"}, "submitted") for i in (first, *others, last) if i not in late])
    pull_s, requests_pull, pull_mib = measured(backend, lambda: pull(made.run, backend))
    figures: Figures = {"push_s": push_s, "pull_s": pull_s, "requests_push": requests_push, "requests_pull": requests_pull}
    for name, record in (("incremental", last), ("incremental_old", first), ("nothing_new", None)):
        if record:
            server.answer(people[-1], record, {"choice": "2"})
        seconds, requests, _ = measured(backend, lambda: pull(made.run, backend))
        figures |= {f"{name}_s" if name != "incremental" else "incremental_pull_s": seconds, f"requests_{name}": requests}
    assert pull(made.run, backend).submitted == records * overlap
    backend.close()
    return {**figures, "grown_mib": [push_mib, pull_mib]}


def main() -> None:
    args = arguments(__doc__).parse_args()
    require_argilla()
    with folder_of_its_own() as folder:
        found: list[Figures] = []
        for name, records, overlap in (("first", 30 if args.small else 300, 2), ("large", 200 if args.small else 5000, 1)):
            with ArgillaServer(folder / f"server-{name}") as server:
                os.environ["ARGILLA_API_KEY"] = server.api_key
                found.append(round_trip(server, folder / name, records, overlap))
                say(f"{records} records, {overlap} each: {found[-1]}")
        hand_over({**found[0], "large": found[1]})


if __name__ == "__main__":
    main()
