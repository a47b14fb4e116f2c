"""Promise: a team of threads computes the same bits as one thread, whatever its size, and nobody waits for ever."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from networks import LEVELS, network, numbers, plan_at, same_bits, states_of

from fastgru import GRU, threads
from fastgru.engine.state import State

NETWORKS = [  # inputs, hidden, layers, directions: fewer blocks than members, odd numbers of blocks, tails
    (1, 1, 1, 1),
    (5, 33, 2, 1),
    (3, 48, 1, 2),
    (20, 65, 3, 2),
    (40, 100, 2, 1),
    (7, 140, 1, 1),
]


def run(plan, x, h0, lengths, shares, team):
    order = np.argsort(-lengths, kind="stable")
    return plan.run(x, h0, order, lengths[order], np.array(shares, np.intp), True, team)


@pytest.mark.parametrize("reset_after", [True, False], ids=["reset_after", "reset_before"])
@pytest.mark.parametrize("shape", NETWORKS, ids=str)
@pytest.mark.parametrize("level", LEVELS)
def test_teams_of_any_size_agree(level, shape, reset_after):
    plan = plan_at(level, network(*shape, reset_after=reset_after))
    for batch, steps in ((1, 1), (1, 5), (1, 23), (3, 9), (9, 4)):
        x = numbers(batch, steps, shape[0])
        h0 = numbers(shape[2] * shape[3], batch, shape[1])
        lengths = np.maximum(steps - np.arange(batch), 1)
        wanted = run(plan, x, h0, lengths, [0, batch], 1)
        for team in (2, 3, 4, 7):
            for shares in [[0, batch]] + [[0, 1, batch]] * (batch > 1):
                got = run(plan, x, h0, lengths, shares, team)
                assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), (batch, steps, team)


@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("level", LEVELS)
def test_a_team_steps_as_one_thread(level, batch):
    spec = network(256, 256, 2)
    plan = plan_at(level, spec)
    alone, together = State(plan, batch), State(plan, batch, 3)
    assert (alone.members, together.members > 1) == (1, True)
    for step in range(30):  # one after the other, so that the team is awake
        x = numbers(batch, 256, seed=step)
        assert same_bits(alone.step(x), together.step(x)), step
    assert same_bits(alone.get(), together.get())


def test_a_small_step_has_no_team():
    assert State(plan_at(LEVELS[-1], network(64, 64)), 1, 8).members == 1
    assert State(plan_at(LEVELS[-1], network(256, 256, reset_after=False)), 1, 8).members == 1


def test_a_gru_of_one_row_uses_a_team(monkeypatch):
    monkeypatch.setattr(threads, "STEP_WORK_PER_MEMBER", 1)
    for shape in NETWORKS:
        spec = network(*shape)
        x, h0 = numbers(40, shape[0]), numbers(states_of(spec), shape[1])
        wanted = GRU(spec, backend="packed", n_threads=1)(x, h0)
        got = GRU(spec, backend="packed", n_threads=3)(x, h0)
        assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True)), shape


def test_many_callers_and_one_team():
    gru = GRU(network(128, 128, 1, 2), backend="packed", n_threads=4)
    inputs = [numbers(60, 128, seed=seed) for seed in range(6)]
    wanted = [GRU(gru.spec, backend="packed", n_threads=1)(x) for x in inputs]
    wrong: list[int] = []

    def call(who: int) -> None:
        for _ in range(20):
            if not all(same_bits(a, b) for a, b in zip(gru(inputs[who]), wanted[who], strict=True)):
                wrong.append(who)

    callers = [threading.Thread(target=call, args=(who,)) for who in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and not any(caller.is_alive() for caller in callers)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_team_on_one_processor_ends_and_leaves_affinities_alone():
    before = os.sched_getaffinity(0)
    gru = GRU(network(64, 96), backend="packed", n_threads=4)
    x = numbers(50, 64)
    wanted = gru(x)
    assert os.sched_getaffinity(0) == before
    try:
        os.sched_setaffinity(0, {min(before)})
        got = gru(x)
    finally:
        os.sched_setaffinity(0, before)
    assert all(same_bits(one, other) for one, other in zip(got, wanted, strict=True))


def test_the_size_of_a_team(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    monkeypatch.setattr(threads, "_from_environment", lambda: None)
    monkeypatch.setattr(threads, "_startable", 1024)
    little, much, step = threads.TEAM_WORK - 1, threads.TEAM_WORK, threads.STEP_WORK_PER_MEMBER
    assert threads.team_for(None, 1, little, 1, 100 * step) == 1
    assert threads.team_for(None, 1, much, 1, 100 * step) == 8
    assert threads.team_for(None, 1, much, 1, 3 * step) == 3
    assert threads.team_for(None, 1, much, 2, 3 * step) == 6
    assert threads.team_for(None, 3, 3 * much, 2, 100 * step) == 2
    assert threads.team_for(None, 8, 8 * much, 1, 100 * step) == 1
    assert threads.team_for(2, 1, 0, 1, 100 * step) == threads.team_for(2, 1, 0, 2, 0) == 2
    assert threads.team_for(2, 1, 0, 1, 2 * step - 1) == threads.team_for(1, 1, much, 2, 100 * step) == 1
    monkeypatch.setattr(threads, "_forked", True)
    assert threads.team_for(4, 1, much, 2, 100 * step) == threads.threads_for_steps(4) == 1
