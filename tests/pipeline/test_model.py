"""Many questions at once: all are waited for, and whoever stops waiting stops them."""

import asyncio

import pytest

from pipeline.model import settle


def test_everything_arrives_before_the_first_error_is_raised():
    arrived = []

    async def work(number):
        await asyncio.sleep(0.001 * (50 - number))
        if number % 20 == 0:
            raise ValueError(number)
        arrived.append(number)

    with pytest.raises(ValueError, match=r"^0$"):
        asyncio.run(settle(work(n) for n in range(50)))
    assert len(arrived) == 47


def test_results_stand_in_the_order_of_the_questions():
    async def work(number):
        await asyncio.sleep(0.001 * (40 - number))
        return number

    assert asyncio.run(settle(work(n) for n in range(40))) == list(range(40))


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
def test_a_cancelled_wait_leaves_nothing_running(turns):
    running = set()

    async def work(number):
        running.add(number)
        try:
            await asyncio.sleep(60)
        finally:
            running.discard(number)

    async def cancel_after_some_turns():
        task = asyncio.create_task(settle(work(n) for n in range(100)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        assert running == set()

    asyncio.run(cancel_after_some_turns())
