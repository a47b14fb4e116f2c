"""Promise: the engine checks every size before it uses a pointer, so that no call from Python can end the process.

Each call runs in a process of its own, which must end in an ordinary exception: never by a signal, never in silence.
To be quick about it one fresh interpreter forks a child for every call and prints how each of them ended.
"""

from __future__ import annotations

import json
import os

import pytest
from networks import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SETUP = """
import copy, pickle
import numpy as np
from fastgru.engine import dispatch, pack
from fastgru.engine import blas as of_blas
from fastgru.engine.python_gates import PythonTable, with_gates
from fastgru.engine.affine import Affine
from fastgru.engine.plan import KernelTable, Plan, check_rows
from fastgru.engine.program import Program
from fastgru.engine.state import State
from fastgru.engine.strided import Strided

table = KernelTable(dispatch.kernels())
def zeros(*shape): return np.zeros(shape, np.float32)
def ints(*values): return np.array(values, np.intp)
def weights(inputs=3, hidden=2, dtype=np.float32):
    shapes = (3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    return tuple(np.zeros(shape, dtype) for shape in shapes)
packed = Plan(table, [[weights()]], True, 2, 3)
def blas_plan(layers, reset_after=True, activation=2, recurrent=3, dtype=np.float32, hidden=2):
    return Plan(of_blas.kernels(hidden, dtype), layers, reset_after, activation, recurrent)
blas = blas_plan([[weights()]])
def raising(*_): raise ZeroDivisionError("of a function")
def alike(x): return x
def gated(act, act_r=alike): return with_gates(table, act, act_r)
def of(kernels): return Plan(kernels, [[weights()]], True, 0, 0)
of_step = Strided(0, 'f', 0, (1, 2, 2), (0, 2, 1)), Strided(1, 'f', 0, (2, 1, 3), (3, 0, 1))
def make(layers, kind=None):
    return [Plan(table, layers, True, 2, 3)] if MAKE == "packed" else [blas_plan(layers)]
def run(plan=None, x=zeros(2, 4, 3), h0=None, rows=ints(0, 1), lengths=ints(4, 4), shares=ints(0, 2)):
    return (plan or (packed if MAKE == "packed" else blas)).run(x, h0, rows, lengths, shares)
class Liar(np.ndarray):
    shape = property(lambda self: (6, 1 << 20))
"""

BOTH = {  # calls that both kinds of plan take
    "no layers": "make([])",
    "no directions": "make([[]])",
    "no directions in two layers": "make([[], []])",
    "a layer short of a direction": "make([[weights(), weights()], [weights(4)]])",
    "three directions": "make([[weights(), weights(), weights()]])",
    "no weights": "make([[()]])",
    "None for weights": "make([[None]])",
    "None for a layer": "make([None])",
    "None for layers": "make(None)",
    "one array of four": "make([[weights()[:1]]])",
    "five arrays": "make([[(*weights(), zeros(6))]])",
    "a None among the arrays": "make([[(*weights()[:3], None)]])",
    "flat matrices": "make([[(zeros(6), zeros(6), zeros(6), zeros(6))]])",
    "numbers for arrays": "make([[(1, 2, 3, 4)]])",
    "no units": "make([[(zeros(0, 3), zeros(0, 0), zeros(0), zeros(0))]])",
    "no inputs": "make([[weights(0)]])",
    "a matrix too narrow": "make([[(zeros(6, 3), zeros(6, 1), zeros(6), zeros(6))]])",
    "a bias too short": "make([[(*weights()[:3], zeros(5))]])",
    "a second layer of other inputs": "make([[weights()], [weights(3)]])",
    "weights of text": "make([[tuple(w.astype('U1') for w in weights())]])",
    "weights of objects": "run(make([[weights(dtype=object)]])[0], x=np.zeros((2, 4, 3), object))",
    "sizes beyond an int": "make([[(zeros(0, 1 << 40), zeros(0, 1 << 40), zeros(0), zeros(0))]])",
    "x of too few features": "run(x=zeros(2, 4, 2))",
    "x of no rows": "run(x=zeros(0, 4, 3), rows=ints(), lengths=ints(), shares=ints(0, 0))",
    "x of no steps": "run(x=zeros(2, 0, 3))",
    "x of two axes": "run(x=zeros(4, 3))",
    "x of another type": "run(x=np.zeros((2, 4, 3), np.float16))",
    "x of complex numbers": "run(x=np.zeros((2, 4, 3), np.complex64))",
    "x in Fortran order": "run(x=np.asfortranarray(zeros(2, 4, 3)))",
    "x swapped": "run(x=zeros(2, 4, 3).astype('>f4'))",
    "x backwards": "run(x=zeros(2, 4, 3)[::-1])",
    "x None": "run(x=None)",
    "x a list": "run(x=[[[0.0] * 3] * 4] * 2)",
    "h0 of another shape": "run(h0=zeros(1, 2, 3))",
    "h0 of another type": "run(h0=np.zeros((1, 2, 2), np.float16))",
    "h0 of two axes": "run(h0=zeros(2, 2))",
    "rows beyond the batch": "run(rows=ints(0, 2))",
    "a negative row": "run(rows=ints(0, -1))",
    "a row twice": "run(rows=ints(1, 1))",
    "too few rows": "run(rows=ints(0))",
    "too many rows": "run(rows=ints(0, 1, 1))",
    "rows of int32": "run(rows=np.array([0, 1], np.int32))",
    "rows None": "run(rows=None)",
    "a length of zero": "run(lengths=ints(4, 0))",
    "a length beyond the steps": "run(lengths=ints(5, 4))",
    "lengths that rise": "run(lengths=ints(3, 4))",
    "too few lengths": "run(lengths=ints(4))",
    "lengths None": "run(lengths=None)",
    "shares None": "run(shares=None)",
    "no shares": "run(shares=ints())",
    "one share": "run(shares=ints(0))",
    "shares beyond the batch": "run(shares=ints(0, 3))",
    "more shares than there can be threads": (
        "run(x=zeros(2000, 4, 3), rows=np.arange(2000), lengths=np.full(2000, 4), shares=np.arange(2001))"
    ),
    "shares short of the batch": "run(shares=ints(0, 1))",
    "shares from below zero": "run(shares=ints(-1, 2))",
    "shares that fall": "run(shares=ints(0, 2, 1, 2))",
    "more shares than rows": "run(shares=np.concatenate([np.zeros(100_000, np.intp), [2]]))",
    "a plan copied": "copy.copy(packed if MAKE == 'packed' else blas)",
    "a plan pickled": "pickle.dumps(packed if MAKE == 'packed' else blas)",
    "a plan of nothing": "Plan.__new__Plan",
    "a plan of an object": "object.__new__Plan",
}

ONE = {
    "half floats through blas":
        "run(blas_plan([[weights(64, 64, np.float16)]], hidden=64), np.zeros((2, 4, 64), 'f2'))",
    "bytes through blas": "blas_plan([[weights(dtype=np.int8)]])",
    "integers through blas": "blas_plan([[weights(dtype=np.int32)]])",
    "complex numbers through blas": "blas_plan([[weights(dtype=complex)]])",
    "swapped doubles through blas": "blas_plan([[weights(dtype='>f8')]])",
    "doubles to the packed kernels": "Plan(table, [[weights(dtype=np.float64)]], True, 2, 3)",
    "an activation beyond an int": "Plan(table, [[weights()]], True, 1 << 40, 3)",
    "an unknown activation": "Plan(table, [[weights()]], True, 17, 3)",
    "an unknown activation through blas": "blas_plan([[weights()]], True, 2, -1)",
    "an unknown activation of values": "table.activate(6, zeros(4))",
    "values None": "table.activate(2, None)",
    "values of two axes": "table.activate(2, zeros(2, 2))",
    "doubles as values": "table.activate(2, np.zeros(4))",
    "a table of None": "KernelTable(None)",
    "a table of a foreign capsule": "import datetime; KernelTable(datetime.datetime_CAPI)",
    "a table of nothing": "KernelTable.__new__(KernelTable)",
    "a table pickled": "pickle.dumps(table)",
    "packing by no gates": "pack.pack_matrix(zeros(6, 3), 0, 8)",
    "packing by negative gates": "pack.pack_matrix(zeros(6, 3), -3, 8)",
    "packing by vectors of nothing": "pack.pack_matrix(zeros(6, 3), 3, 0)",
    "packing by negative vectors": "pack.pack_matrix(zeros(6, 3), 3, -8)",
    "packing None": "pack.pack_matrix(None, 3, 8)",
    "packing a vector by no gates": "pack.pack_vector(zeros(6), 0, 8)",
    "packing a vector by vectors of nothing": "pack.pack_vector(zeros(6), 3, 0)",
    "packing units that are not whole": "pack.pack_matrix(zeros(7, 3), 3, 8)",
    "columns of vectors of nothing": "pack.pack_columns(zeros(6, 3), 0)",
    "memory of less than nothing": "pack.aligned_empty(-5)",
    "memory beyond the address space": "pack.aligned_empty((1 << 62) + 1)",
    "a state of no streams": "State(packed, 0)",
    "a state of negative streams": "State(packed, -1)",
    "a state whose size wraps round": "State(packed, (1 << 60) + 5)",
    "a state of more than memory": "State(packed, 1 << 40)",
    "a state of the largest number": "State(packed, (1 << 63) - 1)",
    "kernels of halves": "of_blas.kernels(2, np.float16)",
    "kernels of no units": "of_blas.kernels(0, np.float32)",
    "kernels of too many units": "of_blas.kernels(1 << 30, np.float32)",
    "kernels of other units": "blas_plan([[weights()]], hidden=3)",
    "floats for kernels of doubles": "blas_plan([[weights()]], dtype=np.float64)",
    "vectors as a table of BLAS": "of_blas.BlasTable(dispatch.kernels())",
    "BLAS as a table of vectors": "KernelTable(of_blas.capsule(2, np.float32))",
    "vectors as a table of functions": "PythonTable(dispatch.kernels(), table, alike, alike)",
    "functions of None": "with_gates(None, alike, alike)",
    "functions of functions": "with_gates(gated(alike), alike, alike)",
    "functions that raise": "run(of(gated(raising, raising)))",
    "functions that raise in a stream": "State(of(gated(raising)), 1).step(zeros(3))",
    "functions of another shape": "run(of(gated(lambda x: x[:, :1, None])))",
    "functions of one gate": "run(of(gated(alike, lambda x: x[:, :1])))",
    "functions of nothing": "run(of(gated(alike, lambda x: None)))",
    "functions of other units": "of(with_gates(of_blas.kernels(3, np.float32), alike, alike))",
    "a program's GRU through BLAS":
        "Program([('output', 'f', (1, 2, 2)), ('input', 'f', 6)], 64).step('', blas, *of_step, None, 1)",
    "a state of None": "State(None, 1)",
    "a state of nothing": "State.__new__(State)",
    "a state pickled": "pickle.dumps(State(packed, 1))",
    "a state of two directions": "State(Plan(table, [[weights(), weights()]], True, 2, 3), 1)",
    "a step of None": "State(packed, 1).step(None)",
    "a step of too few features": "State(packed, 1).step(zeros(2))",
    "a step of too many rows": "State(packed, 2).step(zeros(3, 3))",
    "a step into too little": "State(packed, 1).step(zeros(3), zeros(1))",
    "a step into another rank": "State(packed, 1).step(zeros(3), zeros(1, 2))",
    "states of another shape": "State(packed, 1).set(zeros(1, 2, 2))",
    "states of None": "State(packed, 1).set(None)",
    "an affine of None": "Affine(table, None, None)",
    "an affine of nothing": "Affine(table, zeros(0, 3), zeros(0))",
    "an affine of one axis": "Affine(table, zeros(3), zeros(3))",
    "an affine with a short bias": "Affine(table, zeros(4, 3), zeros(3))",
    "an affine of None as input": "Affine(table, zeros(4, 3), zeros(4))(None)",
    "an affine of too few features": "Affine(table, zeros(4, 3), zeros(4))(zeros(5, 2))",
    "an affine backwards": "Affine(table, zeros(4, 3), zeros(4))(zeros(5, 3)[::-1])",
    "rows checked without rows": "check_rows(None, ints(1), ints(0, 1), 1, 1)",
}


FORKS = """
import json, os, sys
def ending(code):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            exec(code, globals())
            said = "was taken"
        except Exception as error:
            said = f"refused: {error}"
        os.write(writer, said[:1000].encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 4000).decode()
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said
print(json.dumps({name: ending(code) for name, code in json.loads(sys.stdin.read()).items()}))
"""


def endings_of(cases: dict[str, str], kind: str) -> dict[str, tuple[int, str]]:
    """How a process that runs each case ended: its return code, negative for a signal, and what was said."""
    result = run_python(f"MAKE = {kind!r}\n{SETUP}\n{FORKS}", given=json.dumps(cases))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def endings() -> dict[str, dict[str, tuple[int, str]]]:
    return {"packed": endings_of(BOTH | ONE, "packed"), "blas": endings_of(BOTH, "blas")}


@pytest.mark.parametrize("kind", ["packed", "blas"])
@pytest.mark.parametrize("name", BOTH)
def test_a_plan_refuses(name, kind, endings):
    code, said = endings[kind][name]
    assert code == 0 and said.startswith("refused: "), (code, said)


@pytest.mark.parametrize("name", ONE)
def test_the_engine_refuses(name, endings):
    code, said = endings["packed"][name]
    assert code == 0 and said.startswith("refused: "), (code, said)


@pytest.mark.parametrize("kind", ["packed", "blas"])
def test_a_shape_that_lies_cannot_reach_beyond_the_weights(kind):
    case = "first, *rest = weights(); run(make([[(first.view(Liar), *rest)]])[0], x=zeros(2, 4, 1 << 20))"
    code, _ = endings_of({"liar": case}, kind)["liar"]
    assert code == 0


@pytest.mark.parametrize("kind", ["packed", "blas"])
def test_a_plan_keeps_weights_of_its_own(kind):
    case = """
import warnings
mine = weights(30, 2)
plan = make([[mine]])[0]
x = zeros(2, 4, 30)
before = run(plan, x)[0]
warnings.simplefilter("ignore")
mine[0].shape = (1, mine[0].size)
for array in mine:
    array[...] = 1
assert np.array_equal(run(plan, x)[0], before), "the weights changed under it"
"""
    assert endings_of({"kept": case}, kind)["kept"] == [0, "was taken"]
