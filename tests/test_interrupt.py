"""Promise: Ctrl-C during a call leaves the process as it was; it arrives when the call is over."""

from __future__ import annotations

import signal

import pytest
from networks import run_python

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")


def test_interrupts_during_calls_through_blas_leave_nothing_held():
    result = run_python("""
import os, signal, time
import numpy as np, fastgru
from threadpoolctl import ThreadpoolController
weights = {"weight_ih_l0": np.ones((96, 8)), "weight_hh_l0": np.ones((96, 32)) / 32}
gru = fastgru.from_torch(weights, precision="float64")
x = np.ones((4, 20, 8))
wanted = gru(x)[0]
blas = ThreadpoolController().select(internal_api="openblas")
before = [library["num_threads"] for library in blas.info()]
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
interrupts, until = 0, time.monotonic() + 1
while time.monotonic() < until:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0011)    # once, so that none comes while this one is dealt with
        while True:
            gru(x)
    except KeyboardInterrupt:
        interrupts += 1
child = os.fork()
if not child:
    os._exit(not np.array_equal(gru(x)[0], wanted))
assert os.waitpid(child, 0)[1] == 0
assert [library["num_threads"] for library in blas.info()] == before
assert np.array_equal(gru(x)[0], wanted) and interrupts > 100
print("held")
""")
    assert result.stdout.strip().endswith("held"), result.stderr
