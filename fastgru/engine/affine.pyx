"""A dense layer through the kernel that projects a GRU's inputs, so that a row's bits do not depend on its batch."""

import numpy as np

from libc.string cimport memcpy

from fastgru.engine.plan cimport KernelTable

from fastgru.errors import ShapeError

from .pack import aligned_empty, pack_columns, unpack_columns

cdef enum:
    GROUP = 64                      # rows computed at a time


cdef float *address(array) except NULL:
    cdef float[::1] view = array
    return &view[0]


cdef class Affine:
    """``x @ weight.T + bias``.

    Parameters
    ----------
    kernels : KernelTable
    weight : (outputs, inputs) float32
    bias : (outputs,) float32
    """

    def __cinit__(self, KernelTable kernels not None, weight, bias):
        cdef int length = kernels.table.vector_length
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
            raise ShapeError(f"an affine layer: got weight {weight.shape} and bias {bias.shape}")
        self.owner = kernels
        self.outputs, self.inputs = weight.shape
        self.memory = [pack_columns(weight, length), pack_columns(bias.reshape(-1, 1), length)]
        self.layer.inputs = <int>self.inputs
        self.layer.part = 128
        self.layer.blocks = <int>((self.outputs + 3 * length - 1) // (3 * length))
        self.layer.tail = <int>((self.outputs + length - 1) // length % 3)
        self.layer.hidden = self.layer.width = self.layer.blocks * length
        self.layer.w_ih = <const char *>address(self.memory[0])
        self.layer.ih_block = self.inputs * 3 * length * sizeof(float)
        self.layer.b_ih = address(self.memory[1])

    @property
    def weight(self):
        """The weights that were given, as a new array."""
        return unpack_columns(self.memory[0], self.outputs, self.inputs, self.owner.table.vector_length)

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
        space = aligned_empty(min(rows, GROUP) * width)
        wide = address(space)
        with nogil:
            mode = self.owner.table.begin_work(False)
            for group in range(groups):
                first = group * GROUP
                n = min(rows - first, <Py_ssize_t>GROUP)
                for i in range(n):
                    pointers[i] = &x[first + i, 0]
                self.owner.table.project(&self.layer, n, pointers, wide, NULL)
                for i in range(n):
                    memcpy(&out[first + i, 0], wide + i * width, self.outputs * sizeof(float))
            self.owner.table.end_work(False, mode)
        return result
