# The instructions of a program that multiply: dense layers, convolutions, and products of two values. Part of program.pyx.

@cython.boundscheck(True)
@cython.wraparound(True)
cdef class Multiplying(Buffers):
    """Buffers with the instructions that multiply."""

    def linear(self, str name, Affine affine not None, out, x, int activation=0):
        """``out = activation(x @ weight.T + bias)`` over the last axis; an activation of the kernels."""
        cdef Instruction *it = self.new(run_linear, name)
        check_activation(activation)
        if x.shape[-1] != affine.inputs or out.shape != (*x.shape[:-1], affine.outputs):
            raise ShapeError(f"program: a product of {x.shape} to {out.shape}")
        if (x.strides[-1] != 1 and x.shape[-1] != 1) or (out.strides[-1] != 1 and out.shape[-1] != 1):
            raise ShapeError("program: a product of features that do not lie together")
        self.rows_of(it, [out, x], "ff")
        self.weights_of(it, affine, activation, out.size)
        self.done(name)

    cdef int weights_of(self, Instruction *it, Affine affine, int activation, outputs) except -1:
        self.owned.append(affine)
        it.kernels, it.layer, it.code = affine.owner.table, &affine.layer, activation
        it.length = affine.outputs
        self.add_work(outputs * affine.inputs)
        self.scratch_bytes = max(self.scratch_bytes,
                                 (ROWS * affine.layer.blocks * 3 * it.kernels.vector_length
                                  + scratch_of_rows(it.layer)) * <Py_ssize_t>sizeof(float))
        return 0

    def convolve(self, str name, Affine affine not None, out, x, int size, int stride, int dilation, before,
                 int activation=0):
        """A product of windows: (..., places, inputs) to (..., windows, outputs); places that are not are zeros."""
        cdef Instruction *it = self.new(run_convolution, name)
        cdef Py_ssize_t inputs
        check_activation(activation)
        if len(x.shape) < 2 or len(out.shape) != len(x.shape) or x.shape[:-2] != out.shape[:-2]:
            raise ShapeError(f"program: windows of {x.shape} to {out.shape}")
        inputs = x.shape[-1]
        if size < 1 or stride < 1 or dilation < 1 or size * x.shape[-1] != affine.inputs or out.shape[-1] != affine.outputs:
            raise ShapeError(f"program: windows of {size} places of {inputs} channels for {affine.inputs} inputs")
        if (x.strides[-1] != 1 and x.shape[-1] != 1) or (out.strides[-1] != 1 and out.shape[-1] != 1):
            raise ShapeError("program: a convolution of channels that do not lie together")
        self.check(x, "f", &it.operands[1], False)
        self.check(out, "f", &it.operands[0], True)
        axis = len(x.shape) - 2
        self.loop(it, [out.taken(axis, 0).taken(axis, 0), x.taken(axis, 0).taken(axis, 0)], "ff")
        it.operands[0].along, it.operands[1].along = out.strides[-2] * 4, x.strides[-2] * 4
        it.numbers[0], it.numbers[1], it.numbers[2], it.numbers[3] = size, stride, dilation, before
        it.numbers[4], it.numbers[5], it.numbers[6] = x.shape[-2], out.shape[-2], inputs
        self.weights_of(it, affine, activation, out.size)
        it.numbers[7] = ROWS * affine.layer.blocks * 3 * it.kernels.vector_length
        self.scratch_bytes = max(self.scratch_bytes, (it.numbers[7] + (ROWS * affine.inputs + 15) // 16 * 16
                                                       + scratch_of_rows(it.layer)) * <Py_ssize_t>sizeof(float))
        self.done(name)

    def matmul(self, str name, KernelTable kernels not None, out, x, y):
        """``out = x @ y`` over the last two axes; all have the same axes before these.

        The terms of ``x`` and the columns of ``out`` lie together, and of ``y`` either.
        """
        cdef Instruction *it = self.new(run_matmul, name)
        if min(len(part.shape) for part in (out, x, y)) < 2:
            raise ShapeError(f"program: a product of {x.shape} and {y.shape}")
        rows, columns, terms = x.shape[-2], y.shape[-1], x.shape[-1]
        if out.shape != (*x.shape[:-2], rows, columns) or y.shape != (*x.shape[:-2], terms, columns):
            raise ShapeError(f"program: a product of {x.shape} and {y.shape} to {out.shape}")
        if (x.strides[-1] != 1 and terms != 1) or (out.strides[-1] != 1 and columns != 1):
            raise ShapeError("program: a product of terms or to columns that do not lie together")
        if y.strides[-1] != 1 and y.strides[-2] != 1 and min(terms, columns) > 1:
            raise ShapeError("program: a product with what has neither terms nor columns together")
        for place, part in enumerate((out, x, y)):
            self.check(part, "f", &it.operands[place], place == 0)
        axis = len(out.shape) - 2
        self.loop(it, [part.taken(axis, 0).taken(axis, 0) for part in (out, x, y)], "fff")
        it.kernels = kernels.table
        it.numbers[0], it.numbers[1], it.numbers[2] = rows, terms, columns
        it.numbers[3], it.numbers[4] = out.strides[-2], x.strides[-2]
        it.numbers[5], it.numbers[6] = y.strides[-2], 1 if columns == 1 else y.strides[-1]
        self.owned.append(kernels)
        self.add_work(out.size * terms)
        self.scratch_bytes = max(self.scratch_bytes, room_of_matmul(it.kernels) * <Py_ssize_t>sizeof(float))
        self.done(name)
