"""`pairsmith serve`, as a service that is asked by Prefect."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.command import ROOT, command
from tests.harness.waiting import wait_for


@contextmanager
def serving(recipe: object, *options: str, cwd: Path = ROOT) -> Iterator[None]:
    """A recipe is served while this lasts; Ctrl-C ends it, and it must leave no traceback."""
    process = subprocess.Popen(
        command("serve", recipe, *options),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_RUNNER_POLL_FREQUENCY": "1"},  # by itself it looks every ten seconds
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert b"Traceback" not in out, out.decode()


def deployment_named(client: Any, name: str) -> Any:
    """The deployment, once it is there."""
    return wait_for(lambda: next((d for d in client.read_deployments() if d.name == name), None), pause=0.2)


def run_to_its_end(client: Any, deployment: Any, seconds: float = 120, **parameters: Any) -> None:
    """Start a deployment and see it completed."""
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    ended = wait_for(lambda: (s := client.read_flow_run(run.id).state) and s.is_final() and s, seconds, pause=0.2)
    assert ended.is_completed(), ended
