"""The batcher and the memory budget, by themselves."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import services

from multimix.inference.predictor import Predictor
from multimix.inference.stability import Job, Work, changes
from multimix.io.arrays import as_radiograph
from multimix.serve.batching import Batcher
from multimix.serve.budget import Budget

GUARD = 60.0
"""Seconds after which a test that hangs fails; one that passes never gets near."""
NEVER = 100 * GUARD
"""Seconds of patience that no test can wait for."""


def test_what_comes_while_a_batch_runs_is_the_next_batch():
    batches: list[list[int]] = []
    running, go = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        batches.append(items)
        running.set()
        assert go.wait(GUARD)
        return [item * 10 for item in items]

    batcher = Batcher(work, size=3)
    first = batcher.submit(0)
    assert running.wait(GUARD)
    rest = [batcher.submit(i) for i in range(1, 6)]
    assert batcher.waiting == 5
    go.set()
    assert [f.result(GUARD) for f in (first, *rest)] == [0, 10, 20, 30, 40, 50]
    assert batches == [[0], [1, 2, 3], [4, 5]]
    batcher.close()


def test_a_batch_waits_for_what_is_announced_and_a_lone_item_does_not():
    batches: list[int] = []
    batcher: Batcher[int, int] = Batcher(lambda items: batches.append(len(items)) or items, patience=NEVER)
    assert batcher.submit(1).result(GUARD) == 1
    with batcher.coming(), batcher.coming():
        first = batcher.submit(2)
        second = batcher.submit(3)
    assert [first.result(GUARD), second.result(GUARD)] == [2, 3]
    assert batches == [1, 2]
    batcher.close()


def test_an_announced_item_that_never_comes_costs_the_patience_only():
    batcher: Batcher[int, int] = Batcher(lambda items: items, patience=0.05)
    with batcher.coming():
        assert batcher.submit(1).result(GUARD) == 1
    batcher.close()


def test_a_bad_item_fails_alone():
    def work(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    batcher = Batcher(work, patience=0.05)
    with batcher.coming():
        futures = [batcher.submit(i) for i in (1, 0, 2)]
    assert futures[0].result(GUARD) == 1
    assert futures[2].result(GUARD) == 0.5
    with pytest.raises(ZeroDivisionError):
        futures[1].result(GUARD)
    batcher.close()
    assert not batcher.alive
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(1)


def test_a_cancelled_item_is_left_out():
    seen: list[int] = []
    batcher: Batcher[int, int] = Batcher(lambda items: seen.extend(items) or items, patience=NEVER)
    with batcher.coming():
        cancelled, kept = batcher.submit(1), batcher.submit(2)
        assert cancelled.cancel()
    assert kept.result(GUARD) == 2
    batcher.close()
    assert seen == [2]


def test_many_threads_get_their_own_answers():
    batcher: Batcher[int, int] = Batcher(lambda items: [i * i for i in items], size=7)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: batcher.submit(i).result(GUARD), range(500)))
    assert answers == [i * i for i in range(500)]
    batcher.close()


def test_budget_is_kept_and_given_in_order():
    async def scenario() -> list[str]:
        budget, order, out = Budget(10), [], 0

        async def use(name: str, amount: int) -> None:
            nonlocal out
            async with budget.hold(amount):
                out += min(amount, 10)
                assert out <= 10
                order.append(name)
                await asyncio.sleep(0)
                out -= min(amount, 10)

        await asyncio.gather(use("a", 6), use("b", 6), use("c", 1), use("huge", 99), use("d", 4))
        assert budget.left == 10
        return order

    assert asyncio.run(scenario()) == ["a", "b", "c", "huge", "d"]


def test_budget_survives_one_who_gives_up_waiting():
    async def scenario() -> None:
        budget = Budget(10)

        async def use(amount: int) -> None:
            async with budget.hold(amount):
                pass

        async with budget.hold(8):
            waiting, behind = asyncio.create_task(use(9)), asyncio.create_task(use(2))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait_for(behind, GUARD)
        assert budget.left == 10

    asyncio.run(scenario())


def test_budget_survives_a_timeout_of_holders_and_waiters_together():
    async def scenario() -> None:
        budget = Budget(10)

        async def use() -> None:
            async with budget.hold(7):
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(use(), use(), use())
        assert budget.left == 10
        async with asyncio.timeout(GUARD), budget.hold(10):
            pass

    asyncio.run(scenario())


@pytest.mark.numeric
def test_side_by_side_gives_the_same_answers(predictor: Predictor):
    jobs = [Job(as_radiograph(services.pixels(seed=i), 1, "x"), stability=i == 2) for i in range(5)]
    one_by_one, at_once = Work(predictor, 1), Work(predictor, 2)
    alone, parallel = one_by_one(jobs), at_once(jobs)
    at_once.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        at_once(jobs)
    for one, other in zip(alone, parallel, strict=True):
        assert one.prediction.probabilities == pytest.approx(other.prediction.probabilities, abs=1e-5)
        np.testing.assert_array_equal(one.prediction.masks["lungs"], other.prediction.masks["lungs"])
    assert [result.p_range is not None for result in parallel] == [False, False, True, False, False]


def test_changes_are_small_and_keep_the_range():
    image = np.linspace(0, 1, 50 * 50, dtype=np.float32).reshape(1, 50, 50)
    changed = list(changes(image))
    assert len(changed) == 6
    np.testing.assert_array_equal(changed[0][0, :-1], image[0, 1:])  # up by one row of 50, 2 %
    np.testing.assert_array_equal(changed[0][0, -1], image[0, -1])
    np.testing.assert_array_equal(changed[3][0, :, 1:], image[0, :, :-1])
    assert all(c.shape == image.shape and c.min() >= 0 and c.max() <= 1 for c in changed)
