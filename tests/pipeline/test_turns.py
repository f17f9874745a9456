"""One model at a time in this machine's memory: who is up keeps the turn while it is asked, then goes."""

import asyncio
from pathlib import Path

import pytest

from flows.recipe import run_of
from pipeline.engines import scripted
from pipeline.recipe import load_recipe
from pipeline.session import Session
from pipeline.stages import ask_ahead, collect_shards, run_stage
from pipeline.turns import Turns
from tests.harness.command import write_recipe


class Holder:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def close(self) -> None:
        self.log.append(f"{self.name} goes")


def ask_both(turns: Turns, log: list[str], each: int) -> None:
    async def ask(holder: Holder, number: int) -> None:
        async with turns.of(holder):
            log.append(holder.name)
            await asyncio.sleep(0.001)

    async def all_at_once() -> None:
        a, b = Holder("a", log), Holder("b", log)
        await asyncio.gather(*(ask(h, n) for n in range(each) for h in (a, b)))

    asyncio.run(asyncio.wait_for(all_at_once(), 10))


def test_who_is_up_answers_everything_that_was_asked_before_it_goes():
    log: list[str] = []
    ask_both(Turns(), log, each=20)
    assert log == ["a"] * 20 + ["a goes"] + ["b"] * 20


def test_a_question_that_fails_or_is_given_up_ends_its_hold():
    turns, log = Turns(), list[str]()

    async def work() -> None:
        a, b = Holder("a", log), Holder("b", log)

        async def fail() -> None:
            async with turns.of(a):
                raise ValueError

        async def wait() -> None:
            async with turns.of(a):
                await asyncio.sleep(60)

        with pytest.raises(ValueError):  # noqa: PT011 - our own, above
            await fail()
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        waiting.cancel()
        async with asyncio.timeout(5), turns.of(b):
            pass

    asyncio.run(work())
    assert log == ["a goes"]


def test_those_who_share_a_memory_are_up_together_and_go_together():
    turns, log, shared = Turns(), list[str](), object()

    async def work() -> None:
        base, adapter, other = (Holder(name, log) for name in ("base", "adapter", "other"))
        for holder, memory in ((base, shared), (adapter, shared), (base, shared), (other, None), (adapter, shared)):
            async with turns.of(holder, memory):
                log.append(holder.name)

    asyncio.run(work())
    assert log == ["base", "adapter", "base", "adapter goes", "base goes", "other", "other goes", "adapter"]


@pytest.fixture
def seen(monkeypatch) -> list[str]:
    """Scripted models that count as held in memory; what they do, in order."""
    log: list[str] = []
    up: set[str] = set()
    reply = scripted.Engine.reply

    async def start(self):
        up.add(self.name)
        log.append(f"{self.name} starts, {len(up)} up")

    async def close(self):
        up.discard(self.name)

    async def replies(self, request):
        assert self.name in up
        await asyncio.sleep(0.001)
        return await reply(self, request)

    monkeypatch.setattr(scripted.Engine, "resident", True)
    monkeypatch.setattr(scripted.Engine, "start", start)
    monkeypatch.setattr(scripted.Engine, "close", close)
    monkeypatch.setattr(scripted.Engine, "reply", replies)
    return log


JUDGE = {"kind": "pairwise", "model": {"engine": "scripted", "model": "j", "default": '{{"reason": "-", "verdict": "1"}}'}}


def build(folder: Path, **run: object) -> Session:
    recipe = write_recipe(folder, judge=JUDGE, run={"folder": str(folder / "run"), "cache": str(folder / "c.sqlite"), "shard": 3, **run})
    raw = load_recipe(recipe)
    run_folder = run_of(raw, None)
    run_folder.begin(raw)
    with Session(run_folder) as session:
        shards = range(collect_shards(session))
        for model in session.in_turn:
            for shard in shards:
                ask_ahead(session, model.name, shard)
        for stage in ("answers", "verdicts", "pairs"):
            for shard in shards:
                run_stage(session, stage, shard)
    return session


def test_models_that_take_turns_are_each_started_once(tmp_path, seen):
    session = build(tmp_path, local_models="in_turn")
    assert seen == ["strong starts, 1 up", "weak starts, 1 up", "judge starts, 1 up"]
    assert session.budget.of("strong").requests == session.budget.of("weak").requests == 8


def test_models_that_are_up_together_are_not_closed_in_between(tmp_path, seen):
    build(tmp_path)
    assert sorted(s.split(" starts")[0] for s in seen) == ["judge", "strong", "weak"]
    assert seen[-1] == "judge starts, 3 up"


def test_an_engine_that_knows_of_no_room_says_so_before_anything_starts(tmp_path, seen, monkeypatch):
    asked: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(scripted, "check_together", lambda models, in_turn: asked.append((sorted(models), in_turn)), raising=False)
    build(tmp_path, local_models="in_turn")
    assert asked == [(["judge", "strong", "weak"], True)]
