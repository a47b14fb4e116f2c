# Tables of kernels as Python has them, and how each packs a layer. Part of plan.pyx.

cdef enum:
    MAX_BYTES = 65536           # inputs of a product of bytes: its sums stay below 2^31


cdef class KernelTable:
    """The kernels of one instruction set; made from the capsule of a ``kernels_*`` module.

    Classes of tables whose weights lie in another order are made by the modules that have their kernels.
    """

    def __cinit__(self, capsule, *_):
        self.table = <const Kernels *>PyCapsule_GetPointer(capsule, "fastgru.engine.kernels")
        self.capsule = capsule
        self.dtype = np.dtype(np.float64 if self.table.words == 2 else np.float32)
        if type(self) is KernelTable and self.table.packing != VECTORS:
            raise ShapeError(f"kernels: {self.name} are of another class of tables")

    @property
    def name(self):
        return self.table.name.decode()

    @property
    def vector_length(self):
        return self.table.vector_length

    @property
    def tile_words(self):
        return self.table.tile_words

    @property
    def layout(self):
        """How these kernels read packed weights."""
        return Layout(self.table.vector_length, self.table.input_zero, self.table.tile_words)

    def last_vectors(self, Py_ssize_t units):
        """The vectors of the last tile of a GRU's gates where that joins two blocks of units, or 0; see ``pack``.

        For kernels with registers for eight rows: a tile of four vectors and three rows takes more loads than it saves
        (by AVX2 1.02 to 1.08 times the time of batches of 20 to 100 units; by AVX-512 0.80 to 0.91 of it, Zen 4).
        """
        return last_vectors(units, self.table.vector_length) if self.table.joins_last else 0

    @property
    def pairs(self):
        """Whether inputs and states become bfloat16 where they meet weights of bfloat16."""
        return bool(self.table.pairs)

    @property
    def as_bfloat16_bytes(self):
        """Bytes of a layer's weights, from which on float32 that are bfloat16 are kept so; 0: never."""
        return self.table.as_bfloat16_bytes

    @property
    def half_bytes(self):
        """Bytes of a layer's weights in float32, from which on float16 is faster to compute with."""
        return self.table.half_bytes

    def weight_kind(self, str precision, Py_ssize_t terms):
        """What these kernels keep the weights for a number of inputs in: ``precision``, or float32 for what they lack."""
        lacks_half = precision == "float16" and not self.table.has_half
        return "float32" if lacks_half or (precision == "int8" and terms > MAX_BYTES) else precision

    def activate(self, int activation, const float[::1] x not None):
        """``activation(x)``, by the same code as inside the kernels; for a whole array."""
        cdef float[::1] out = np.empty(x.shape[0], dtype=np.float32)
        cdef unsigned int mode
        check_activation(activation)
        if x.shape[0]:
            with nogil:
                mode = self.table.begin_work(False)
                self.table.activate(activation, x.shape[0], &x[0], &out[0])
                self.table.end_work(False, mode)
        return np.asarray(out)

    cdef int enter(self, int threads) except -1:
        """Before a call; how many threads may compute it."""
        return threads

    cdef int leave(self, int threads) except -1:
        """After a call of as many threads as ``enter`` said."""
        return 0

    cdef int pack(self, Plan plan, Layer *layer, tuple weights, str precision, str kept, str name) except -1:
        """One direction of one layer, of which inputs, hidden, width and reset_after are known."""
        cdef int hidden = layer.hidden, length = self.table.vector_length
        w_ih, w_hh, b_ih, b_hh = weights
        layer.blocks = (hidden + length - 1) // length
        if layer.reset_after:
            layer.last = self.last_vectors(hidden)
        # Shorter sums where there are few units, whose weights are large; see kernels.pxi for what they cost.
        layer.part = min(max(hidden + hidden % 2, 8), 128 if hidden <= 256 else 256)
        kind = self.weight_kind(kept, max(layer.inputs, hidden))
        names = [f"weight_ih_{name}", f"weight_hh_{name}"]
        forms = [None, None]        # each is let go of when it is packed
        if precision == kind == "float32" and self.may_narrow(3 * <Py_ssize_t>hidden * (layer.inputs + hidden)):
            kind = self.kind_of_packed((w_ih, w_hh))
            if kind is None:
                kind, forms = narrowed_forms((w_ih, w_hh), names)
        layer.kind = KINDS.index(kind)
        if layer.kind == INT8:
            layer.part = MAX_BYTES
        layer.tiled = self.table.tile_words > 1 and layer.kind in (BFLOAT16, INT8)
        layer.pairs = self.table.pairs and layer.kind == BFLOAT16
        inputs = self.packed_matrix(w_ih, precision, kind, (3,), layer.last, names[0], forms.pop(0))
        states = self.packed_matrix(w_hh, precision, kind, GATES[layer.reset_after], layer.last, names[1], forms.pop())
        plan.packed.append((inputs, states))
        layer.ih_block = self.block_bytes(inputs.arrays[0], hidden, 3, layer.last)
        layer.w_ih = plan.own(inputs.arrays[0])
        layer.hh_block = self.block_bytes(states.arrays[0], hidden, 3 if layer.reset_after else 2, layer.last)
        layer.w_hh = plan.own(states.arrays[0])
        if not layer.reset_after:
            layer.hn_block = self.block_bytes(states.arrays[1], hidden, 1, 0)
            layer.w_hn = plan.own(states.arrays[1])
        early, late = biases_of(b_ih, b_hh, layer.reset_after)
        layer.b_ih = <float *>plan.own(pack_vector(early, 3, length, layer.last))
        layer.b_hh = <float *>plan.own(pack_vector(late, 3, length, layer.last))
        return 0

    def block_bytes(self, array, hidden, gates, last):
        """From one block of packed weights to the next."""
        return gates * (array.nbytes // vectors_of(hidden, gates, self.table.vector_length, last))

    def may_narrow(self, Py_ssize_t size):
        """Whether a layer of ``size`` weights of float32 is kept as bfloat16 if every one is a bfloat16."""
        return 0 < self.table.as_bfloat16_bytes <= 4 * size

    def kind_of_packed(self, matrices):
        """The kind that both matrices of a layer are packed in for these kernels, of those of float32; or None."""
        found = {each.packed[:2] if getattr(each, "packed", None) is not None else None for each in matrices}
        for kind in ("float32", AS_BFLOAT16):
            if found == {(self.layout, kind)}:
                return kind
        return None

    def packed_matrix(self, matrix, str precision, str kind, tuple gates, int last, str name, numbers=None):
        """One matrix as these kernels read it: packed now, or as it was packed before for the same ones.

        ``numbers`` are those of its kind, where they are known; otherwise it is asked for them.
        """
        layout, scales = self.layout, None
        packed = getattr(matrix, "packed", None)
        fits = packed is not None and packed.precision == precision
        if not fits or packed[:5] != (layout, kind, tuple(matrix.shape), gates, last):
            if numbers is None:
                numbers, scales = form_of(matrix, precision, name)
                if kind != precision:
                    numbers, scales = widen(numbers, scales), None
            packed = PackedMatrix.of(numbers, scales, kind, gates, layout, last)
        packed.check(layout, kind, tuple(matrix.shape), gates, last)
        if hasattr(matrix, "settle"):
            matrix.settle(packed.form, precision, packed)
        return packed


cdef tuple narrowed_forms(tuple matrices, list names):
    """What both matrices of a layer of float32 are kept in, and their numbers: bfloat16 if all are.

    A matrix that is asked for its numbers may have to read a file, so each is asked once.
    """
    numbers = form_of(matrices[0], "float32", names[0])[0]
    inputs = upper_halves(numbers)
    if inputs is None:
        return "float32", [numbers, None]
    numbers = form_of(matrices[1], "float32", names[1])[0]
    states = upper_halves(numbers)
    if states is None:
        return "float32", [widen(inputs, None), numbers]
    return AS_BFLOAT16, [inputs, states]


cdef tuple biases_of(b_ih, b_hh, bint reset_after):
    """The biases that are added to the inputs' product, summed in float64, and to the states'."""
    cdef Py_ssize_t gates = 2 * (b_hh.shape[0] // 3)
    early, late = b_ih.astype(np.float64), np.zeros_like(b_hh)
    early[:gates] += b_hh[:gates]
    if reset_after:
        late[gates:] = b_hh[gates:]
    return early, late
