"""What an instruction of a program reads or writes: a part of a buffer, seen through a shape and strides.

Taking a place, a slice or an order of axes of one gives another without an instruction. Nothing here is checked against
memory: ``Program`` does that for every one that it is given. All numbers are Python's, which cannot overflow. It is
compiled because a graph is compiled anew for every shape of its inputs, and makes some ten of these for each node.
"""

cimport cython

ITEMSIZES = {"f": 4, "d": 8, "i": 8, "b": 1}  # float32, float64, int64, booleans


@cython.final
@cython.freelist(256)
@cython.boundscheck(True)       # of shapes and axes, which are as a file has them
@cython.wraparound(True)
cdef class Strided:
    """Elements of a buffer: element ``index`` lies ``offset + sum(index * strides)`` elements from its start.

    Parameters
    ----------
    buffer : int
    kind : str
        Of ``ITEMSIZES``.
    offset : int
    shape, strides : tuple of int
    """

    def __cinit__(self):
        self.buffer, self.offset, self.kind, self.shape, self.strides = 0, 0, "f", (), ()

    def __init__(self, buffer, str kind not None, offset, tuple shape not None, tuple strides not None):
        self.buffer, self.kind, self.offset, self.shape, self.strides = buffer, kind, offset, shape, strides

    def __eq__(self, other):
        cdef Strided it
        if type(other) is not Strided:
            return False
        it = other
        return (self.buffer == it.buffer and self.kind == it.kind and self.offset == it.offset
                and self.shape == it.shape and self.strides == it.strides)

    def __repr__(self):
        return (f"Strided(buffer={self.buffer}, kind={self.kind!r}, offset={self.offset}, shape={self.shape}, "
                f"strides={self.strides})")

    @property
    def size(self):
        """How many elements there are."""
        total = 1
        for size in self.shape:
            total = total * size
        return total

    @property
    def contiguous(self):
        """Whether the elements lie one after the other in C order."""
        return self.strides == strides_of(self.shape)

    @property
    def dense(self):
        """Whether the elements lie beside each other with none between, in the order of some of their axes."""
        step = 1
        if self.strides == strides_of(self.shape):
            return True
        for stride, size in sorted([each for each in zip(self.strides, self.shape) if each[1] != 1]):
            if stride != step:
                return False
            step = step * size
        return True

    @staticmethod
    def of(shape):
        """The strides of an array in C order; 0 for axes of one place, so that equal layouts are equal."""
        return strides_of(tuple(shape))

    def viewed(self, shape, strides=None):
        """What lies from the first element on under another shape and strides, if not given those of C order."""
        cdef tuple sizes = tuple(shape)
        return made(self, self.offset, sizes, strides_of(sizes) if strides is None else tuple(strides))

    def taken(self, Py_ssize_t axis, index):
        """One place along an axis, which is then gone."""
        return made(self, self.offset + index * self.strides[axis], without(self.shape, axis),
                    without(self.strides, axis))

    def sliced(self, Py_ssize_t axis, start, count, step=1):
        """``count`` places along an axis from ``start``, every ``step``-th; backwards where it is negative."""
        cdef list shape = list(self.shape), strides = list(self.strides)
        stride = self.strides[axis]
        shape[axis], strides[axis] = count, stride * step if count != 1 else 0
        return made(self, self.offset + start * stride, tuple(shape), tuple(strides))

    def permuted(self, order):
        """The axes in another order."""
        return made(self, self.offset, tuple([self.shape[axis] for axis in order]),
                    tuple([self.strides[axis] for axis in order]))

    def expanded(self, shape):
        """Sizes of 1 repeated, and new axes in front; None where the shapes do not fit."""
        cdef tuple sizes = tuple(shape)
        cdef Py_ssize_t added = len(sizes) - len(self.shape), axis
        cdef list strides
        if sizes == self.shape:
            return self
        if added < 0:
            return None
        strides = [0] * added
        for axis in range(len(self.shape)):
            own, size = self.shape[axis], sizes[added + axis]
            if own != size and own != 1:
                return None
            strides.append(self.strides[axis] if own == size else 0)
        return made(self, self.offset, sizes, tuple(strides))

    def reshaped(self, shape):
        """The same elements in the same order under another shape of as many; None where that takes a copy."""
        cdef tuple sizes = tuple(shape)
        cdef list old = [each for each in zip(self.shape, self.strides) if each[0] != 1]
        cdef list new = [size for size in sizes if size != 1]
        cdef list regrouped = [], group, strides = []
        cdef Py_ssize_t first = 0, begin = 0, last, end, at
        while first < len(old) and begin < len(new):
            last, end = first + 1, begin + 1
            have, wanted = old[first][0], new[begin]
            while have != wanted:  # the fewest axes that hold as many elements
                if have < wanted and last < len(old):
                    have, last = have * old[last][0], last + 1
                elif wanted < have and end < len(new):
                    wanted, end = wanted * new[end], end + 1
                else:
                    return None
            for at in range(first, last - 1):
                if old[at][1] != old[at + 1][0] * old[at + 1][1]:
                    return None
            stride, group = old[last - 1][1], []
            for at in range(end - 1, begin - 1, -1):
                group.append(stride)
                stride = stride * new[at]
            group.reverse()
            regrouped += group
            first, begin = last, end
        if first < len(old) or begin < len(new):
            return None
        at = 0
        for size in sizes:
            strides.append(0 if size == 1 else regrouped[at])
            at += size != 1
        return made(self, self.offset, sizes, tuple(strides))


cdef Strided made(Strided of, offset, tuple shape, tuple strides):
    """Another part of the same buffer."""
    cdef Strided it = Strided.__new__(Strided)
    it.buffer, it.kind, it.offset, it.shape, it.strides = of.buffer, of.kind, offset, shape, strides
    return it


cdef tuple strides_of(tuple shape):
    cdef Py_ssize_t axis
    cdef list strides = [0] * len(shape)
    step = 1
    for axis in range(len(shape) - 1, -1, -1):
        size = shape[axis]
        if size != 1:
            strides[axis] = step
            step = step * size
    return tuple(strides)


cdef tuple without(tuple sizes, Py_ssize_t axis):
    cdef list left = list(sizes)
    del left[axis]
    return tuple(left)
