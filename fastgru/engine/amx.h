/* Tile registers of the processor (Intel AMX): what the kernels need of them, as few operations on numbered tiles.
 *
 * All tiles have 16 rows of 64 bytes. Tiles 0 to 5 hold sums, (16 rows, 16 units); tile 6 is 16 rows of inputs, and
 * tile 7 the weights that 16 units have for them, (16 words, 16 units, 4 bytes), where a word is four int8 or two
 * bfloat16 of successive inputs: as weights are packed. One configuration serves all shapes: rows that a batch does not
 * have are multiplied too, whatever stands in their memory, and their sums are not used.
 *
 * The products read no mode of the thread: they always take subnormal numbers for zeros, and round to nearest.
 *
 * With FASTGRU_AMX_EMULATED the same operations are computed without AMX, as Intel's manual (SDM volume 2, LDTILECFG,
 * TDPBUSD, TDPBF16PS) defines them, for tests; a tile that is used unconfigured ends the process there. So far this is
 * the only way in which the kernels of level amx have been run.
 *
 * A tile's number must be known when this is compiled; a switch lets it be a loop's variable. No product is added to
 * tiles 6 and 7: clang refuses an instruction that takes one tile twice.
 */
#ifndef FASTGRU_AMX_H
#define FASTGRU_AMX_H

#include "weights.h"

#define PICK_SUMS(n, operation) \
    switch (n) { \
    case 0: operation(0); break; \
    case 1: operation(1); break; \
    case 2: operation(2); break; \
    case 3: operation(3); break; \
    case 4: operation(4); break; \
    default: operation(5); \
    }
#define PICK_TILE(n, operation) \
    switch (n) { \
    case 6: operation(6); break; \
    case 7: operation(7); break; \
    default: PICK_SUMS(n, operation) \
    }

#if FASTGRU_VECTORS && VL == 16 && COMPILER_HAS_TILES
#define TILES 1
#define TILE_WORDS 16 /* of weights and of inputs, in 32 bits */
#define MAX_SUMS 96 /* vectors: two tiles of rows, three gates */

#ifdef FASTGRU_AMX_EMULATED
#include <stdlib.h>

static __thread int tiles_configured;
static __thread __m512i tile_registers[8][16];

#define EMULATED static __attribute__((noinline))
EMULATED __m512i *tile_register(int n)
{
    if (!tiles_configured) abort();
    return tile_registers[n];
}
EMULATED void configure_tiles(void)
{
    memset(tile_registers, 0, sizeof tile_registers);
    tiles_configured = 1;
}
EMULATED void release_tiles(void) { tiles_configured = 0; }
EMULATED void clear_tile(int n) { memset(tile_register(n), 0, sizeof tile_registers[n]); }
EMULATED void load_tile(int n, const void *p, long stride)
{
    __m512i *rows = tile_register(n);
    for (int i = 0; i < 16; i++) rows[i] = _mm512_loadu_si512((const char *)p + i * stride);
}
EMULATED void store_tile(int n, void *p, long stride)
{
    const __m512i *rows = tile_register(n);
    for (int i = 0; i < 16; i++) _mm512_storeu_si512((char *)p + i * stride, rows[i]);
}
EMULATED void dot_tile_of_bytes(int n)
{
    __m512i *sums = tile_register(n);
    const int32_t *inputs = (const int32_t *)tile_register(6);
    const __m512i *weights = tile_register(7);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < 16; k++)
            sums[row] = _mm512_dpbusd_epi32(sums[row], _mm512_set1_epi32(inputs[row * 16 + k]), weights[k]);
}
/* Sums of the even inputs, and of the odd ones, each product added with one rounding; only then are the two added to
 * each other, and to the tile. The thread flushes subnormal numbers as AMX does: see flush_subnormals. */
EMULATED void dot_tile_of_pairs(int n)
{
    __m512i *sums = tile_register(n);
    const int32_t *inputs = (const int32_t *)tile_register(6);
    const __m512i *weights = tile_register(7);
    for (int row = 0; row < 16; row++) {
        __m512 even = _mm512_setzero_ps(), odd = even;
        for (int k = 0; k < 16; k++) {
            vf pair = broadcast_inputs((const float *)&inputs[row * 16 + k]);
            even = _mm512_fmadd_ps((__m512)first_of(pair), (__m512)first_of((vf)weights[k]), even);
            odd = _mm512_fmadd_ps((__m512)second_of(pair), (__m512)second_of((vf)weights[k]), odd);
        }
        sums[row] = (__m512i)_mm512_add_ps((__m512)sums[row], _mm512_add_ps(even, odd));
    }
}
#else
#include <immintrin.h>

static void configure_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_of_row[16];
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}
static void release_tiles(void) { _tile_release(); }
FASTGRU_STATIC void clear_tile(const int n) { PICK_TILE(n, _tile_zero) }
FASTGRU_STATIC void load_tile(const int n, const void *p, long stride)
{
    __asm__ __volatile__("" ::: "memory"); /* GCC's intrinsic does not say that it reads memory */
#define LOAD(number) _tile_loadd(number, p, stride)
    PICK_TILE(n, LOAD)
#undef LOAD
}
FASTGRU_STATIC void store_tile(const int n, void *p, long stride)
{
#define STORE(number) _tile_stored(number, p, stride)
    PICK_TILE(n, STORE)
#undef STORE
}
FASTGRU_STATIC void dot_tile_of_bytes(const int n)
{
#define DOT(number) _tile_dpbusd(number, 6, 7)
    PICK_SUMS(n, DOT)
#undef DOT
}
FASTGRU_STATIC void dot_tile_of_pairs(const int n)
{
#define DOT(number) _tile_dpbf16ps(number, 6, 7)
    PICK_SUMS(n, DOT)
#undef DOT
}
#endif

#else
#define TILES 0
#define TILE_WORDS 1
#define MAX_SUMS 24
#define configure_tiles() ((void)0)
#define release_tiles() ((void)0)
#define clear_tile(n) ((void)(n))
#define load_tile(n, p, stride) ((void)(n), (void)(p), (void)(stride))
#define store_tile(n, p, stride) ((void)(n), (void)(p), (void)(stride))
#define dot_tile_of_bytes(n) ((void)(n))
#define dot_tile_of_pairs(n) ((void)(n))
#endif

#endif
