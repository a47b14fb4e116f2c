/* Squares of VL x VL floats with rows and columns exchanged, by vectors; after simd.h. */
#ifndef FASTGRU_TRANSPOSE_H
#define FASTGRU_TRANSPOSE_H

/* The lower halves of two vectors, lane by lane in turn, and the upper halves. */
#if !FASTGRU_VECTORS
FASTGRU_STATIC vf lower_in_turn(vf a, vf b) { (void)b; return a; }
FASTGRU_STATIC vf upper_in_turn(vf a, vf b) { (void)a; return b; }
#else
#if VL == 16
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VL == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#endif
#if defined(__clang__)
FASTGRU_STATIC vf lower_in_turn(vf a, vf b) { return __builtin_shufflevector(a, b, LOWER); }
FASTGRU_STATIC vf upper_in_turn(vf a, vf b) { return __builtin_shufflevector(a, b, UPPER); }
#else
FASTGRU_STATIC vf lower_in_turn(vf a, vf b) { return __builtin_shuffle(a, b, (vi){LOWER}); }
FASTGRU_STATIC vf upper_in_turn(vf a, vf b) { return __builtin_shuffle(a, b, (vi){UPPER}); }
#endif
#endif

/* to[k * to_row + j] = from[j * from_row + k] for k and j below VL. Each turn deals the first half of the rows and the
 * second out like two halves of a pack of cards; after log2(VL) of them rows are columns. */
FASTGRU_STATIC void transpose_square(float *to, ptrdiff_t to_row, const float *from, ptrdiff_t from_row)
{
    vf rows[VL], dealt[VL];
    UNROLLED for (int i = 0; i < VL; i++) rows[i] = load_unaligned(from + i * from_row);
    UNROLLED for (int turn = 1; turn < VL; turn *= 2) {
        UNROLLED for (int i = 0; i < VL / 2; i++) {
            dealt[2 * i] = lower_in_turn(rows[i], rows[i + VL / 2]);
            dealt[2 * i + 1] = upper_in_turn(rows[i], rows[i + VL / 2]);
        }
        UNROLLED for (int i = 0; i < VL; i++) rows[i] = dealt[i];
    }
    UNROLLED for (int i = 0; i < VL; i++) store_unaligned(to + i * to_row, rows[i]);
}

#endif
