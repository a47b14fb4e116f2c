# Products in tile registers of the processor (AMX), 16 rows at a time. Part of kernels.pxi; without AMX, TILES is 0 and
# nothing here is used.
#
# * A tile of weights is 16 words of one gate of a block as they are packed, and serves two tiles of rows: they are
#   taken 32 at a time, so that weights come from the second-level cache once for every 32. Weights are padded with
#   zeros to whole tiles (`tile_words`).
# * int8: rows of bytes are what the vector route has, and sums of whole numbers are what it gives; so few rows take
#   that one. A tile costs no more than two rows on it.
# * bfloat16: every product goes this way, also that of a single row: the sums are the processor's, in an order of its
#   own, and a row's bits must not depend on its batch. So they are not those of other levels.

cdef enum:
    INPUT_TILE = 6              # see amx.h
    WEIGHT_TILE = 7
    ROWS_OF_TILE = 16


cdef inline bint in_tiles(Py_ssize_t rows, const Weight *kind) noexcept nogil:
    """Whether a product of n rows is taken in tile registers."""
    if Weight is quad:
        return TILES and rows > TILE_ROWS
    elif Weight is dot_pair:
        return TILES
    else:
        return False


cdef inline void add_products(const int tile, const Weight *kind) noexcept nogil:
    if Weight is quad:
        dot_tile_of_bytes(tile)
    else:
        dot_tile_of_pairs(tile)


cdef inline void product_in_tiles(const int heights, const int gates, int rows, Py_ssize_t words, Part *part,
                                  const Weight *weights) noexcept nogil:
    """`product` for one block and `rows` rows of as many words, in `heights` tiles of rows.

    Rows lie one after the other behind `part.x[0]`, each with its head. The second tile of rows takes the gates in the
    other order, which saves a load.
    """
    cdef vf sums[MAX_SUMS]         # (16 heights, gates)
    cdef Py_ssize_t turn, turns = (words + TILE_WORDS - 1) // TILE_WORDS
    cdef Py_ssize_t stride = (ROW_HEAD + turns * TILE_WORDS) * sizeof(float), weight_stride = gates * VL * sizeof(float)
    cdef const char *x = <const char *>part.x[0]
    cdef int height, g
    for height in range(heights):
        for g in range(gates):
            if Weight is quad:
                load_tile(height * gates + g, part.head + g * VL, 0)
            else:
                clear_tile(height * gates + g)
    for turn in range(turns):
        load_tile(INPUT_TILE, x, stride)
        for g in range(gates):
            load_tile(WEIGHT_TILE, weights + g * VL, weight_stride)
            add_products(g, weights)
        if heights == 2:
            load_tile(INPUT_TILE, x + ROWS_OF_TILE * stride, stride)
            for g in range(gates):
                if g > 0:
                    load_tile(WEIGHT_TILE, weights + (gates - 1 - g) * VL, weight_stride)
                add_products(gates + gates - 1 - g, weights)
        x += TILE_WORDS * sizeof(float)
        weights += TILE_WORDS * gates * VL
    for height in range(heights):
        for g in range(gates):
            store_tile(height * gates + g, sums + height * ROWS_OF_TILE * gates + g, weight_stride)
    finish_sums(sums, rows, 1, gates, part, weights)


cdef void multiply_in_tiles(int rows, int gates, Py_ssize_t words, Part *part, const Weight *weights) noexcept nogil:
    """`multiply` for one block and all terms."""
    if not TILES:
        return
    if rows > ROWS_OF_TILE:
        if gates == 3:
            product_in_tiles(2, 3, rows, words, part, weights)
        elif gates == 2:
            product_in_tiles(2, 2, rows, words, part, weights)
        else:
            product_in_tiles(2, 1, rows, words, part, weights)
    elif gates == 3:
        product_in_tiles(1, 3, rows, words, part, weights)
    elif gates == 2:
        product_in_tiles(1, 2, rows, words, part, weights)
    else:
        product_in_tiles(1, 1, rows, words, part, weights)
