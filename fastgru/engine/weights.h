/* What weights are kept in beside float, and how they meet what they are multiplied with.
 *
 * half      one float16; converted to float as it is loaded
 * bf_pair   the bfloat16 of two successive inputs in 32 bits: a shift gives the first as a float, a mask the second
 * dot_pair  the same two, multiplied as they are with two bfloat16, where the processor does that: PAIRS
 * quad      the int8 of four successive inputs in 32 bits, multiplied with four 8-bit inputs and summed exactly
 *
 * A vector of quads, and of their sums, travels as a `vf` whose bits are integers.
 */
#ifndef FASTGRU_WEIGHTS_H
#define FASTGRU_WEIGHTS_H

#include "simd.h"

typedef struct { uint16_t bits; } half;
typedef struct { uint32_t bits; } bf_pair;
typedef struct { uint32_t bits; } dot_pair;
typedef struct { uint32_t bits; } quad;

/* HALF_BYTES: of the weights of a layer as float, from which on half is faster. 100 steps of one row took at least, as
 * half over as float, of 128, 256, 512, 576 and 768 units, 1.20, 1.08, 1.03, 0.98 and 0.83 by AVX-512, where 2.3 cycles a conversion
 * hide nowhere; of 32, 64, 128 and 256 units 1.04, 1.00, 0.86 and 0.79 by AVX2 (Zen 4). */
#if FASTGRU_VECTORS && VL == 16
#define HAS_HALF 1
#define HALF_BYTES (8 << 20)
FASTGRU_STATIC vf load_half(const half *p) { return (vf)_mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p)); }
#elif FASTGRU_VECTORS && VL == 8 && defined(__F16C__)
#define HAS_HALF 1
#define HALF_BYTES (128 << 10)
FASTGRU_STATIC vf load_half(const half *p) { return (vf)_mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }
#elif FASTGRU_VECTORS && defined(__aarch64__)
#define HAS_HALF 1
#define HALF_BYTES 0
#include <arm_neon.h>
FASTGRU_STATIC vf load_half(const half *p) { return (vf)vcvt_f32_f16(vld1_f16((const __fp16 *)p)); }
#else
#define HAS_HALF 0 /* weights are widened when they are packed */
#define HALF_BYTES 0
FASTGRU_STATIC vf load_half(const half *p) { (void)p; return broadcast(0); }
#endif

/* AS_BFLOAT16_BYTES: of the weights of a layer as float, from which on bf_pair is faster where all of them are bfloat16;
 * 0: nowhere. Time as bf_pair over time as float, a step / 100 steps of one row / of 16 rows, square layers (Zen 4):
 *
 *   units      32                    64                    128                   256                   512
 *   AVX-512    0.93 / 1.02 / 1.00    0.69 / 0.95 / 1.00    0.63 / 0.88 / 0.99    0.65 / 0.79 / 0.99    0.55 / 0.74 / 0.99
 *   AVX2       1.01 / 1.12 / 1.11    0.81 / 1.01 / 1.10    0.76 / 0.95 / 1.12    0.65 / 0.85 / 1.12    0.66 / 0.78 / 1.12
 */
#if FASTGRU_VECTORS && VL == 16
#define AS_BFLOAT16_BYTES (64 << 10)
#else
#define AS_BFLOAT16_BYTES 0
#endif

/* PAIRS: the processor multiplies pairs of bfloat16, so that inputs and states become bfloat16 where they meet weights.
 * sums[lane] += weights[lane].second * inputs.second, then the same of the first, each with one rounding, as two fused
 * multiply-adds; subnormal numbers are zeros (the emulation in tests/engine/test_bfloat16.py has the same bits). */
#if defined(__AMX_BF16__) || defined(__AMXBF16__) /* as clang calls it before version 16 */
#define COMPILER_HAS_TILES 1
#else
#define COMPILER_HAS_TILES 0
#endif
#if FASTGRU_VECTORS && VL == 16 && (defined(__AVX512BF16__) || COMPILER_HAS_TILES)
#define PAIRS 1
#else
#define PAIRS 0
#endif
#if PAIRS && defined(__AVX512BF16__)
FASTGRU_STATIC vf dot_pairs(vf sums, vf weights, vf inputs)
{
#if defined(__clang__) /* see `dot` */
    return (vf)_mm512_dpbf16_ps((__m512)sums, (__m512bh)inputs, (__m512bh)weights);
#else
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(inputs), "vm"(weights));
    return sums;
#endif
}
#else
FASTGRU_STATIC vf dot_pairs(vf sums, vf weights, vf inputs) { (void)weights, (void)inputs; return sums; } /* tiles do it */
#endif

/* The nearest bfloat16 of each lane, ties to even, and NaN for NaN. */
FASTGRU_STATIC void store_bfloat16(void *p, vf x)
{
#if PAIRS && defined(__AVX512BF16__)
    __m256bh halves = _mm512_cvtneps_pbh((__m512)x);
    memcpy(p, &halves, sizeof halves);
#elif PAIRS
    typedef uint32_t words __attribute__((vector_size(4 * VL)));
    typedef uint16_t halves __attribute__((vector_size(2 * VL)));
    words all = (words)x, nan = (words)((all & 0x7fffffff) > 0x7f800000);
    words rounded = all + (0x7fff + ((all >> 16) & 1));
    halves result = __builtin_convertvector(((rounded & ~nan) | ((all | 0x400000) & nan)) >> 16, halves);
    memcpy(p, &result, sizeof result);
#else
    (void)p, (void)x;
#endif
}

FASTGRU_STATIC vf first_of(vf pairs) { return floats(bits(pairs) << 16); }
FASTGRU_STATIC vf second_of(vf pairs) { return floats(bits(pairs) & -65536); }

/* Four 8-bit inputs for all lanes. */
FASTGRU_STATIC vf broadcast_inputs(const float *p)
{
    int32_t four;
    memcpy(&four, p, 4);
    return floats(four + bits(broadcast(0)));
}

/* sums[lane] += the four products of weights[lane] and inputs[lane]. Inputs are from -127 to 127, weights from -128:
 * INPUT_ZERO is added to inputs where the processor multiplies unsigned numbers with signed ones; the sum of a unit's
 * weights times it is taken off before. Nothing here can saturate: sums of two products stay below 2^15 in the second
 * way, and the third multiplies 16-bit numbers. */
#if FASTGRU_VECTORS && VL == 16 && defined(__AVX512VNNI__)
#define INPUT_ZERO 128
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
#if defined(__clang__) /* which takes "vm" for memory, and writes registers there first: 1.3 to 5 times as long */
    return (vf)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)inputs, (__m512i)weights);
#else /* with the intrinsic GCC 12 copies sums back and forth: batches took 1.2 to 1.25 times as long */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(inputs), "vm"(weights));
    return sums;
#endif
}
#elif FASTGRU_VECTORS && VL == 8 && defined(__AVXVNNI__)
#define INPUT_ZERO 128
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
    return (vf)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)inputs, (__m256i)weights);
}
#elif FASTGRU_VECTORS && VL == 8
#define INPUT_ZERO 0
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
    __m256i sizes = _mm256_abs_epi8((__m256i)weights);
    __m256i twos = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8((__m256i)inputs, (__m256i)weights));
    return (vf)_mm256_add_epi32((__m256i)sums, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
}
#elif FASTGRU_VECTORS && (VL == 16 || (VL == 4 && defined(__SSE2__)))
#define INPUT_ZERO 0
typedef short two_bytes __attribute__((vector_size(4 * VL)));
#if VL == 16
FASTGRU_STATIC vi sums_of_two(two_bytes a, two_bytes b) { return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#else
#include <emmintrin.h>
FASTGRU_STATIC vi sums_of_two(two_bytes a, two_bytes b) { return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#endif
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
    two_bytes w = (two_bytes)weights, x = (two_bytes)inputs;
    vi even = sums_of_two((w << 8) >> 8, (x << 8) >> 8), odd = sums_of_two(w >> 8, x >> 8);
    return floats(bits(sums) + (even + odd));
}
#elif FASTGRU_VECTORS && defined(__ARM_FEATURE_DOTPROD)
#define INPUT_ZERO 0
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
    return (vf)vdotq_s32((int32x4_t)sums, (int8x16_t)weights, (int8x16_t)inputs);
}
#else
#define INPUT_ZERO 0
#if FASTGRU_VECTORS
FASTGRU_STATIC vi byte_at(vf x, int place) { return (bits(x) << (24 - 8 * place)) >> 24; }
#else
FASTGRU_STATIC vi byte_at(vf x, int place) { return (vi)(int8_t)((uint32_t)bits(x) >> (8 * place)); }
#endif
FASTGRU_STATIC vf dot(vf sums, vf weights, vf inputs)
{
    vi all = bits(sums);
    for (int i = 0; i < 4; i++) all = all + byte_at(weights, i) * byte_at(inputs, i);
    return floats(all);
}
#endif

/* Sums of products as floats. */
#if FASTGRU_VECTORS
FASTGRU_STATIC vf int_to_float(vf sums) { return __builtin_convertvector(bits(sums), vf); }
#else
FASTGRU_STATIC vf int_to_float(vf sums) { return (float)bits(sums); }
#endif

/* The larger of two numbers without their signs. NaN is larger than any: among the bits of floats without signs, the
 * order is that of the integers. */
FASTGRU_STATIC vf max_abs(vf a, vf b)
{
    vi one = bits(a) & 0x7fffffff, other = bits(b) & 0x7fffffff;
#if FASTGRU_VECTORS && VL == 16
    return (vf)_mm512_max_epi32((__m512i)one, (__m512i)other);
#elif FASTGRU_VECTORS && VL == 8
    return (vf)_mm256_max_epi32((__m256i)one, (__m256i)other);
#elif FASTGRU_VECTORS
    vi mask = one > other;
    return floats((one & mask) | (other & ~mask));
#else
    return floats(one > other ? one : other);
#endif
}
FASTGRU_STATIC float horizontal_max(vf x)
{
    int32_t largest = 0;
    float result;
#if FASTGRU_VECTORS && VL == 16
    largest = _mm512_reduce_max_epi32((__m512i)x);
#elif FASTGRU_VECTORS && VL == 8
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    largest = _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
#else
    int32_t lanes[VL];
    memcpy(lanes, &x, sizeof lanes);
    for (int i = 0; i < VL; i++) largest = lanes[i] > largest ? lanes[i] : largest;
#endif
    memcpy(&result, &largest, 4);
    return result;
}

/* x rounded to whole numbers, for |x| <= 127: the low byte of each lane is the number with INPUT_ZERO added. */
FASTGRU_STATIC vf round_to_bits(vf x) { return x + broadcast(12582912.0f + INPUT_ZERO); } /* 1.5 * 2^23 */
FASTGRU_STATIC vf rounded_from(vf x) { return x - broadcast(12582912.0f + INPUT_ZERO); }

/* The low byte of each lane, one after the other; written out, because GCC takes a conversion of vectors apart. */
FASTGRU_STATIC void store_bytes(int8_t *p, vf x)
{
#if FASTGRU_VECTORS && VL == 16
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)x));
#elif FASTGRU_VECTORS && VL == 8
    __m256i first = _mm256_shuffle_epi8((__m256i)x, _mm256_set1_epi32(0x0c080400)); /* four bytes in each half */
    __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(first), _mm256_extracti128_si256(first, 1));
    _mm_storel_epi64((__m128i *)p, both);
#else
    int32_t lanes[VL];
    memcpy(lanes, &x, sizeof lanes);
    for (int i = 0; i < VL; i++) p[i] = (int8_t)lanes[i];
#endif
}

#endif
