"""The guardian by itself: whatever happens to us, to the server or to the guardian, nobody of the server's group is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline import ROOT
from tests.harness.vllm import alive, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(200)]

GUARDIAN = [sys.executable, "-I", str(ROOT / "pipeline" / "engines" / "_guardian.py")]

FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, {leader})
worker = "import signal, time; signal.signal(signal.SIGTERM, {child}); print(0, flush=True); time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), child.pid, flush=True)
time.sleep(99)
"""
"""A server with a worker; each with its own mind about SIGTERM."""


def guard(code, grace=30.0):
    """A guardian at work, and the pids of the family under it."""
    command = [*GUARDIAN, str(grace), sys.executable, "-c", code]
    guardian = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    return guardian, [int(pid) for pid in guardian.stdout.readline().split()]


def family(leader="signal.SIG_DFL", child="signal.SIG_DFL"):
    return FAMILY.format(leader=leader, child=child)


def gone(pids):
    return not any(alive(pid) for pid in pids)


def finish(guardian):
    guardian.stdin.close()
    guardian.stdout.close()
    return guardian.wait(60)


def test_a_closed_pipe_ends_the_whole_group_kindly():
    guardian, pids = guard(family())
    began = time.monotonic()
    assert finish(guardian) == 0
    assert gone(pids)
    assert time.monotonic() - began < 15


def test_who_does_not_heed_sigterm_is_killed_after_the_grace():
    guardian, pids = guard(family("signal.SIG_IGN", "signal.SIG_IGN"), grace=0.7)
    began = time.monotonic()
    finish(guardian)
    assert gone(pids)
    assert 0.6 < time.monotonic() - began < 15


def test_a_worker_that_stays_behind_is_killed_without_waiting_for_the_grace():
    guardian, pids = guard(family(child="signal.SIG_IGN"), grace=30)
    began = time.monotonic()
    finish(guardian)
    assert gone(pids)
    assert time.monotonic() - began < 15


def test_a_server_that_dies_takes_its_workers_along():
    guardian, (server, worker) = guard(family(child="signal.SIG_IGN"))
    os.kill(server, signal.SIGKILL)
    assert guardian.wait(20) == 128 + signal.SIGKILL
    assert gone([server, worker])
    finish(guardian)


def test_a_server_that_ends_by_itself_gives_its_code():
    guardian, _ = guard("import sys; print(flush=True); sys.exit(7)")
    assert guardian.wait(20) == 7
    finish(guardian)


def test_a_guardian_that_is_terminated_ends_the_server_first():
    guardian, pids = guard(family())
    guardian.terminate()
    assert guardian.wait(20) == 128 + signal.SIGTERM
    assert gone(pids)
    finish(guardian)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_server_does_not_outlive_a_guardian_that_is_killed():
    guardian, (server, worker) = guard(family())
    guardian.kill()
    assert wait_until(lambda: gone([server]), 20)
    os.kill(worker, signal.SIGKILL)
    finish(guardian)


def test_our_death_is_noticed_although_somebody_else_holds_the_pipe():
    """A process that we forked has our end of the pipe too, and lives on."""
    code = f"""
import os, subprocess, sys, time
command = {[*GUARDIAN, "30", sys.executable, "-c", family()]!r}
guardian = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
if os.fork():
    print(guardian.stdout.readline().decode(), flush=True)
    os.kill(os.getpid(), 9)
sys.stdout.close()
os.close(1)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as owner:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert owner.wait(30) == -signal.SIGKILL
        assert wait_until(lambda: gone(pids), 20)
        os.killpg(owner.pid, signal.SIGKILL)
