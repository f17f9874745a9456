"""The train flow: the training as a process of its own, whose end frees the GPU, and what came out as artifacts.

One training at a time holds the GPU: a concurrency limit of Prefect's says so, for all who use the same server.
"""

import base64
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from rich.console import Console

from pipeline import ROOT
from pipeline.errors import PairsmithError
from pipeline.settings import Anything
from train.plots import plots_of, svg
from train.watch import read_log

LIMIT = "pairsmith-gpu"
"""The limit's name in Prefect; `prefect gcl update pairsmith-gpu --limit 2` where two trainings fit side by side."""


class TrainingEnded(PairsmithError):
    """The training process said in one sentence why it ended, and with which exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@flow(name="train", persist_result=False)
def train(recipe: str, changes: list[str] | None = None) -> Anything:
    """Train what a recipe asks for, with `a.b=c` changes, or go on with it; the summary."""
    make_limit()
    with concurrency(LIMIT, occupy=1):
        summary = run_training(recipe, changes or [])
    _show(summary)
    get_run_logger().info("%s: %d steps, %s", summary["name"], summary["steps"], "nothing new" if summary["unchanged"] else "trained")
    return summary


def run_training(recipe: str, changes: list[str], *options: str) -> Anything:
    """What the training process hands back; its progress bar passes through. Raises TrainingEnded with its sentence and exit code."""
    settings = [part for change in changes for part in ("--set", change)]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter; a recipe's name is one argument
        [sys.executable, "-m", "train.run", recipe, *settings, *options, "--hand-back"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        stdout=subprocess.PIPE,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    with _signals_passed_on(process):
        said, _ = process.communicate()
    try:
        back: Anything = orjson.loads(said)
    except orjson.JSONDecodeError:
        raise TrainingEnded(
            f"the training process ended without a word (exit code {process.returncode}); what it wrote stands above; the same command "
            "goes on from the last checkpoint",
            1,
        ) from None
    if process.returncode:
        raise TrainingEnded(back["error"], process.returncode)
    return back


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: the kernel stops the training when we are killed and cannot, and the GPU is free again. A process group
    # of its own keeps the terminal's Ctrl-C for us, who hand it on once.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    os.setpgrp()


@contextmanager
def _signals_passed_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ctrl-C and SIGTERM let the training finish its step and write a checkpoint; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {s: signal.signal(s, lambda number, frame: process.send_signal(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def turn(own_server: bool) -> Iterator[None]:
    """Wait until no other training runs on this machine, where each command has a Prefect server of its own.

    Such servers share a database, and what a killed one held would stay held: nobody is left to let it go. So a lock, which ends
    with its process, says who is alive, and whoever has it frees what the dead held. A server that goes on running does this itself.
    """
    if not own_server:
        yield
        return
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    lock = FileLock(home / "pairsmith-gpu.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        Console(stderr=True).print("waiting for another training on this machine to end", highlight=False)
        lock.acquire()
    try:
        make_limit()
        with get_client(sync_client=True) as client:
            client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(active_slots=0))
        yield
    finally:
        lock.release()


def make_limit() -> None:
    """The limit, where the server has none yet: one training. One that somebody set is left as it is."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(LIMIT, 1)


def _show(summary: Anything) -> None:
    name = "".join(c if c.isalnum() else "-" for c in summary["name"].lower())
    rows = read_log(Path(summary["folder"]) / "log.jsonl")
    create_table_artifact(key=f"{name}-metrics", table=[{"metric": key, "value": value} for key, value in summary["metrics"].items()])
    pictures = [f"![{plot.title}](data:image/svg+xml;base64,{base64.b64encode(svg(plot).encode()).decode()})" for plot in plots_of(rows)]
    create_markdown_artifact(key=f"{name}-plots", markdown="\n\n".join([f"# {summary['name']}", *pictures]))
