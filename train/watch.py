"""What watches a training: the log, the progress bar, and what stops it: a NaN, a collapse, no improvement, the user.

The trainer calls these at every event. They are no subclasses of transformers' own, whose import takes seconds, and keep no
state that a resumed training would lack: what they need of the past they read in the trainer's history.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.errors import RecipeError, TrainingStopped, choose_from
from pipeline.settings import Anything
from train.methods import MethodPlugin
from train.settings import StopSettings

EVENTS = (
    *("init_end", "train_begin", "train_end", "epoch_begin", "epoch_end", "step_begin", "pre_optimizer_step", "optimizer_step"),
    *("substep_end", "step_end", "evaluate", "predict", "save", "log", "prediction_step", "push_begin"),
)
"""What the trainer tells."""


class Watcher:
    """Does nothing at any event."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.removeprefix("on_") in EVENTS:
            return lambda *args, **kwargs: None
        raise AttributeError(name)


class Log(Watcher):
    """Every row of the trainer's log as a line of log.jsonl. A resumed training's log goes on where its checkpoint stood."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        kept = [row for row in read_log(self._file) if row["step"] <= state.global_step]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(b"".join(map(as_line, kept)))
        self._before = max((row["seconds"] for row in kept), default=0.0)
        self._began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Anything, **kwargs: Any) -> None:
        if not state.is_world_process_zero or state.global_step == 0:
            return
        seconds = round(self._before + time.monotonic() - self._began, 2)
        with self._file.open("ab") as file:
            file.write(as_line({"step": state.global_step, "seconds": seconds, **logs}))


def read_log(file: Path) -> list[Anything]:
    """The rows of a log; a last line that a kill cut short is left out."""
    if not file.is_file():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    return [orjson.loads(line) for line in lines if line.endswith(b"\n")]


def as_line(row: Anything) -> bytes:
    """A row of a log as it is written."""
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


class Guard(Watcher):
    """Raises TrainingStopped where going on is a waste: the loss is no number, or the chosen answers have become improbable."""

    def __init__(self, stop: StopSettings, method: MethodPlugin, beta: float, tokens: float) -> None:
        self._stop, self._method = stop, method
        self._beta, self._tokens = beta, tokens

    def on_log(self, args: Any, state: Any, control: Any, logs: Anything, **kwargs: Any) -> None:
        for name in ("loss", "grad_norm", "eval_loss"):
            if not isfinite(float(logs.get(name, 0.0))):
                raise TrainingStopped(
                    f"{name} is {logs[name]} at step {state.global_step}: the weights are ruined; lower trainer.learning_rate or look for "
                    "empty answers, and start in another folder (--set output.folder=…)"
                )
        fallen = self._method.fallen(logs, self._beta, self._tokens)
        if self._stop.on_collapse and fallen is not None and fallen > self._stop.collapse_drop:
            raise TrainingStopped(
                f"the chosen answers have fallen by {fallen:.1f} nats a token at step {state.global_step} (stop.collapse_drop is "
                f"{self._stop.collapse_drop}): the model unlearns both sides; lower trainer.learning_rate, raise trainer.beta, or "
                "add sft to trainer.loss_type, and start in another folder (--set output.folder=…)"
            )


class Patience(Watcher):
    """Ends the training, which is then whole, when the held-out metric has not improved for a while; measures at the end, too."""

    def __init__(self, stop: StopSettings) -> None:
        self._stop = stop
        self.stopped: str | None = None
        """Why training ended early, in words."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Anything, **kwargs: Any) -> None:
        metric = args.metric_for_best_model
        if metric is None:
            return
        name = metric if metric.startswith("eval_") else f"eval_{metric}"
        if name not in metrics:
            raise RecipeError(f"stop.metric: '{metric}' is not measured; {choose_from(name, metrics)}")
        values = {row["step"]: row[name] for row in state.log_history if name in row}
        if (
            self._stop.patience is not None
            and not_improved(list(values.values()), self._stop, args.greater_is_better) >= self._stop.patience
        ):
            self.stopped = f"{name} had not improved for {self._stop.patience} measurements at step {state.global_step}"
            control.should_training_stop = True


def not_improved(values: list[float], stop: StopSettings, greater: bool) -> int:
    """How many measurements, up to the last one, came without an improvement by at least `min_delta`."""
    best, since = None, 0
    for value in (v if greater else -v for v in values):
        if best is None or value > best + stop.min_delta:
            best, since = value, 0
        else:
            since += 1
    return since


class Stopper(Watcher):
    """Ctrl-C and SIGTERM: the step is finished, a checkpoint written, the same command goes on there. A second one ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        def ask(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        former = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.asked = self.asked if args.world_size == 1 else _anywhere(self.asked, args.device)
        if self.asked:
            control.should_save = control.should_training_stop = True


def _anywhere(asked: bool, device: Any) -> bool:
    """Whether one of the processes was asked. They must all stop after the same step: whoever goes on would wait for the others."""
    import torch
    from torch.distributed import ReduceOp, all_reduce

    flag = torch.tensor(int(asked), device=device)
    all_reduce(flag, op=ReduceOp.MAX)
    return bool(flag)


class Bar(Watcher):
    """Steps with the loss and the time left, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._shown = console.is_terminal

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._shown and state.is_world_process_zero:
            self._task = self._progress.add_task("train", total=state.max_steps, completed=state.global_step, note="")
            self._progress.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._progress.tasks:
            self._progress.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Anything, **kwargs: Any) -> None:
        said = {"loss": "loss", "rewards/accuracies": "right", "rewards/margins": "margin", "eval_loss": "held out"}
        note = ", ".join(f"{words} {float(logs[name]):.3f}" for name, words in said.items() if name in logs)
        if self._progress.tasks and note:
            self._progress.update(self._task, note=note)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; also after an error."""
        if self._progress.tasks:  # what never began would still write an empty line
            self._progress.stop()
