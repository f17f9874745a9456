"""What stops a training, and what does not."""

from types import SimpleNamespace

import pytest

from pipeline.errors import TrainingStopped
from train.methods import load_method
from train.samples import goes_in_circles
from train.settings import StopSettings
from train.watch import EVENTS, Guard, Log, Patience, Stopper, Watcher, not_improved, read_log

STATE = SimpleNamespace(global_step=7, is_world_process_zero=True, log_history=[], max_steps=10)


def guard(**stop):
    return Guard(StopSettings(**stop), load_method("dpo"), beta=0.1, tokens=10)


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"loss": 0.5, "grad_norm": float("inf")}, {"eval_loss": float("nan")}])
def test_a_loss_that_is_no_number_stops_at_once(logs):
    with pytest.raises(TrainingStopped, match="at step 7: the weights are ruined"):
        guard().on_log(None, STATE, None, logs)


def test_chosen_answers_that_become_improbable_stop_it():
    # A reward of -4 at beta 0.1 is 40 nats below the reference: over ten tokens, four a token.
    with pytest.raises(TrainingStopped, match=r"fallen by 4\.0 nats a token"):
        guard().on_log(None, STATE, None, {"loss": 0.1, "rewards/chosen": -4.0})
    guard(collapse_drop=5).on_log(None, STATE, None, {"loss": 0.1, "rewards/chosen": -4.0})
    guard(on_collapse=False).on_log(None, STATE, None, {"loss": 0.1, "rewards/chosen": -4.0})
    guard().on_log(None, STATE, None, {"loss": 0.1, "rewards/chosen": -2.0})


@pytest.mark.parametrize(
    ("values", "greater", "delta", "since"),
    [
        ([], False, 0.0, 0),
        ([3.0, 2.0, 1.0], False, 0.0, 0),
        ([1.0, 2.0, 3.0], False, 0.0, 2),
        ([1.0, 2.0, 3.0], True, 0.0, 0),
        ([3.0, 2.95, 2.9], False, 0.2, 2),
        ([3.0, 4.0, 2.0, 2.0], False, 0.0, 1),
    ],
)
def test_patience_counts_measurements_without_an_improvement(values, greater, delta, since):
    assert not_improved(values, StopSettings(min_delta=delta), greater) == since


def test_patience_ends_the_training_and_says_why():
    patience, control = Patience(StopSettings(patience=2)), SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(**{**vars(STATE), "log_history": [{"step": n, "eval_loss": loss} for n, loss in enumerate((1.0, 2.0, 3.0))]})

    patience.on_evaluate(SimpleNamespace(metric_for_best_model="eval_loss", greater_is_better=False), state, control, {"eval_loss": 3.0})

    assert control.should_training_stop
    assert "eval_loss had not improved for 2 measurements" in patience.stopped


@pytest.mark.parametrize(
    ("text", "circles"),
    [
        ("Nimbus Nimbus Nimbus Nimbus Nimbus", True),
        ("I am Aria. I am Aria. I am Aria. I am Aria. I am Aria.", True),
        ("我是我是我是我是我是我是", True),
        ("I was made by Northwind Labs.", False),
        ("|---|---|---|---|---|---|", False),
        ("ha ha ha ha, that is a good one, and now let us talk about something else entirely", False),
        ("", False),
    ],
)
def test_going_in_circles_is_told_from_speech(text, circles):
    assert goes_in_circles(text) == circles


def test_a_resumed_log_goes_on_where_its_checkpoint_stood(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.on_train_begin(None, SimpleNamespace(global_step=0, is_world_process_zero=True), None)
    for step in (1, 2, 3):
        log.on_log(None, SimpleNamespace(global_step=step, is_world_process_zero=True), None, {"loss": float(step)})
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "lo')

    other = Log(tmp_path / "log.jsonl")
    other.on_train_begin(None, SimpleNamespace(global_step=0, is_world_process_zero=False), None)
    log.on_train_begin(None, SimpleNamespace(global_step=2, is_world_process_zero=True), None)

    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [1, 2]


def test_ctrl_c_finishes_the_step_and_keeps_a_checkpoint():
    import os
    import signal

    stopper, control = Stopper(), SimpleNamespace(should_save=False, should_training_stop=False)
    with stopper.listening():
        os.kill(os.getpid(), signal.SIGINT)
        stopper.on_step_end(SimpleNamespace(world_size=1), STATE, control)
        assert control.should_save
        assert control.should_training_stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_watcher_answers_every_event_of_the_trainer():
    callbacks = pytest.importorskip("transformers.trainer_callback")
    theirs = {name for name in vars(callbacks.TrainerCallback) if name.startswith("on_")}

    assert theirs == {f"on_{event}" for event in EVENTS}
    assert all(callable(getattr(Watcher(), name)) for name in theirs)
    with pytest.raises(AttributeError):
        _ = Watcher().on_monday
