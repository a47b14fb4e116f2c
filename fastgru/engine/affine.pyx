"""A dense layer through the kernel that projects a GRU's inputs, so that a row's bits do not depend on its batch."""

from functools import partial

import numpy as np

from libc.string cimport memcpy

from fastgru.engine.kernels cimport BFLOAT16, FLOAT32, project_rows, scratch_of_rows
from fastgru.engine.plan cimport KernelTable

from fastgru.errors import ShapeError

from .pack import aligned_empty, joined, pack_columns, unpack_columns
from .reduced import bfloat16_bits, widen

cdef enum:
    GROUP = 64                      # rows computed at a time


cdef float *address(array) except NULL:
    cdef float[::1] view = array
    return &view[0]


def paired(tile_words, rows):
    return joined(bfloat16_bits(rows), 2, tile_words)


cdef class Affine:
    """``x @ weight.T + bias``.

    Parameters
    ----------
    kernels : KernelTable
    weight : (outputs, inputs) float32
    bias : (outputs,) float32
    precision : str
        With ``"bfloat16"``, and kernels that multiply pairs of them, weights and inputs are rounded to bfloat16.
        Whatever else it is, they are float32.
    """

    def __cinit__(self, KernelTable kernels not None, weight, bias, str precision="float32"):
        cdef int length = kernels.table.vector_length
        cdef bint pairs = precision == "bfloat16" and kernels.table.pairs
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
            raise ShapeError(f"an affine layer: got weight {weight.shape} and bias {bias.shape}")
        self.owner = kernels
        self.outputs, self.inputs = weight.shape
        self.memory = [
            pack_columns(weight, length, partial(paired, kernels.table.tile_words)) if pairs
            else pack_columns(weight, length),
            pack_columns(bias.reshape(-1, 1), length),
        ]
        self.layer.inputs = <int>self.inputs
        self.layer.kind = BFLOAT16 if pairs else FLOAT32
        self.layer.pairs = pairs
        self.layer.tiled = pairs and kernels.table.tile_words > 1
        self.layer.part = 128
        self.layer.blocks = <int>((self.outputs + 3 * length - 1) // (3 * length))
        self.layer.last = <int>((self.outputs + length - 1) // length % 3)
        self.layer.hidden = self.layer.width = self.layer.blocks * length
        self.layer.w_ih = <const char *>address(self.memory[0])
        self.layer.ih_block = self.memory[0].size // ((self.outputs + length - 1) // length) * 3 * sizeof(float)
        self.layer.b_ih = address(self.memory[1])

    @property
    def weight(self):
        """The weights, as they were given or rounded to bfloat16, as a new array."""
        words = self.layer.ih_block // (3 * self.owner.table.vector_length * sizeof(float))
        given = unpack_columns(self.memory[0], self.outputs, words, self.owner.table.vector_length)
        return widen(given.view(np.uint16)[:, : self.inputs], None) if self.layer.pairs else given

    @property
    def precision(self):
        """What the weights are kept in."""
        return "bfloat16" if self.layer.pairs else "float32"

    @property
    def arrays(self):
        """All that it holds."""
        return list(self.memory)

    def __call__(self, const float[:, ::1] x not None):
        """(rows, inputs) float32 to (rows, outputs) float32."""
        cdef Py_ssize_t rows = x.shape[0], width = self.layer.blocks * 3 * self.owner.table.vector_length
        cdef Py_ssize_t first, i, n, groups = (rows + GROUP - 1) // GROUP, group
        cdef const float *pointers[GROUP]
        cdef float *wide
        cdef float[:, ::1] out
        cdef unsigned int mode
        if x.shape[1] != self.inputs:
            raise ShapeError(f"an affine layer: got {x.shape[1]} features, wanted {self.inputs}")
        result = np.empty((rows, self.outputs), dtype=np.float32)
        if rows == 0:
            return result
        out = result
        space = aligned_empty(min(rows, GROUP) * width + scratch_of_rows(&self.layer))
        wide = address(space)
        with nogil:
            mode = self.owner.table.begin_work(self.layer.tiled)
            for group in range(groups):
                first = group * GROUP
                n = min(rows - first, <Py_ssize_t>GROUP)
                for i in range(n):
                    pointers[i] = &x[first + i, 0]
                project_rows(self.owner.table, &self.layer, n, pointers, wide, wide + min(rows, GROUP) * width)
                for i in range(n):
                    memcpy(&out[first + i, 0], wide + i * width, self.outputs * sizeof(float))
            self.owner.table.end_work(self.layer.tiled, mode)
        return result
