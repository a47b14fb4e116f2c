/* The vector type of one instruction set and the few operations the kernels are written in.
 *
 * `vf` is a GCC/Clang vector of VL floats; + - * / work on it as they are, so no intrinsic is needed, and Cython can
 * treat it as a float. Where the compiler has no vector types (or FASTGRU_SCALAR is set) `vf` is a plain float and VL
 * is 1. Vector types never leave the module that includes this file.
 */
#ifndef FASTGRU_SIMD_H
#define FASTGRU_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__GNUC__) && !defined(FASTGRU_SCALAR)
#define FASTGRU_VECTORS 1
#define FASTGRU_STATIC static __inline__ __attribute__((always_inline))
#else
#define FASTGRU_VECTORS 0
#define FASTGRU_STATIC static
#endif

/* TILE_ROWS x 3 gates are the accumulators of the widest tile: 24 of 32 registers, or 12 of 16. LOOKAHEAD_ROWS x 3 are
 * those of a projection beside the 6 of a single row's step, where the registers reach for both. */
#if !FASTGRU_VECTORS
#define VL 1
#define TILE_ROWS 4
#define LOOKAHEAD_ROWS 0
#elif defined(__AVX512F__)
#define VL 16
#define TILE_ROWS 8
#define LOOKAHEAD_ROWS 6
#elif defined(__AVX2__)
#define VL 8
#define TILE_ROWS 4
#define LOOKAHEAD_ROWS 0
#define THREE_BLOCKS 1 /* whether a single row may take as many, of few units: see `all_tiles` */
#elif defined(__aarch64__)
#define VL 4
#define TILE_ROWS 8
#define LOOKAHEAD_ROWS 6
#else
#define VL 4
#define TILE_ROWS 4
#define LOOKAHEAD_ROWS 0
#endif

#ifndef THREE_BLOCKS
#define THREE_BLOCKS 0
#endif

#if FASTGRU_VECTORS
typedef float vf __attribute__((vector_size(4 * VL), may_alias));
typedef float vf_unaligned __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
FASTGRU_STATIC vi bits(vf x) { return (vi)x; }
FASTGRU_STATIC vf floats(vi x) { return (vf)x; }
FASTGRU_STATIC vf broadcast(float x) { return x - (vf){0}; } /* folded to one broadcast; `0 + x` would cost an add */
#else
typedef float vf;
typedef float vf_unaligned;
typedef int32_t vi;
FASTGRU_STATIC vi bits(vf x) { vi i; memcpy(&i, &x, 4); return i; }
FASTGRU_STATIC vf floats(vi i) { vf x; memcpy(&x, &i, 4); return x; }
FASTGRU_STATIC vf broadcast(float x) { return x; }
#endif

FASTGRU_STATIC vf load(const float *p) { return *(const vf *)p; } /* p is 4 * VL aligned */
FASTGRU_STATIC void store(float *p, vf x) { *(vf *)p = x; }       /* p is 4 * VL aligned */
FASTGRU_STATIC vf load_unaligned(const float *p) { return *(const vf_unaligned *)p; }
FASTGRU_STATIC void store_unaligned(float *p, vf x) { *(vf_unaligned *)p = x; }
FASTGRU_STATIC void store_part(float *p, vf x, int n) /* the first n < VL lanes, and not a byte more */
{
    float lanes[VL];
    memcpy(lanes, &x, sizeof lanes);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}

/* to[0..n) = 0, and n vectors from and to memory; unrolled whatever n is, so that the vectors can stay in registers:
 * GCC by itself stops at 16. */
#if defined(__GNUC__)
#define UNROLLED _Pragma("GCC unroll 24")
#else
#define UNROLLED
#endif
FASTGRU_STATIC void clear_vectors(vf *to, const int n)
{
    UNROLLED for (int i = 0; i < n; i++) to[i] = broadcast(0);
}
FASTGRU_STATIC void load_vectors(vf *to, const float *p, const int n)
{
    UNROLLED for (int i = 0; i < n; i++) to[i] = load(p + i * VL);
}
FASTGRU_STATIC void store_vectors(float *p, const vf *from, const int n)
{
    UNROLLED for (int i = 0; i < n; i++) store(p + i * VL, from[i]);
}

/* For products of several rows by AVX2, whose 16 registers hold 12 sums, 3 weights and an input, and not one thing
 * more. GCC by itself loads a weight anew for each row, and lets sums change their registers, so that some of them spill:
 * 8 to 12 % slower (Zen 3, batches of 64 to 256 units). `held` is x in a register, in this order; `added` is sum + x * y
 * in the register of the sum, and in this order: clang 19 loads the next input ahead and spills a sum for it (2.1 times
 * as long; Zen 4, batches of 32), and clang 14 does so by AVX-512 (1.5 times); GCC needs nothing of this there. */
#if FASTGRU_VECTORS && defined(__FMA__) && (VL == 8 || (VL == 16 && defined(__clang__)))
FASTGRU_STATIC vf held(vf x) { __asm__ __volatile__("" : "+v"(x)); return x; }
FASTGRU_STATIC vf added(vf sum, vf x, vf y)
{
    __asm__ __volatile__("vfmadd231ps %1, %2, %0" : "+v"(sum) : "v"(x), "v"(y));
    return sum;
}
#else
FASTGRU_STATIC vf held(vf x) { return x; }
FASTGRU_STATIC vf added(vf sum, vf x, vf y) { return sum + x * y; }
#endif

/* Whether the products of a single row are written as clang wants them; see `accumulate_single`. */
#if defined(__clang__)
#define FOR_CLANG 1
#else
#define FOR_CLANG 0
#endif

/* The compiler may keep nothing of what memory holds in registers beyond here. */
#if defined(__GNUC__)
#define compiler_barrier() __asm__ __volatile__("" ::: "memory")
#else
#define compiler_barrier() ((void)0)
#endif

/* columns[k][i] = rows[i][k] for LOOKAHEAD_ROWS rows; pairs of them at a time, half the stores of one by one. */
FASTGRU_STATIC void to_columns(float *columns, const float *const *rows, ptrdiff_t terms)
{
    ptrdiff_t k = 0;
#if FASTGRU_VECTORS && defined(__SSE2__)
    for (; k + 4 <= terms; k += 4) {
        for (int i = 0; i < LOOKAHEAD_ROWS; i += 2) {
            __m128 low = _mm_unpacklo_ps(_mm_loadu_ps(rows[i] + k), _mm_loadu_ps(rows[i + 1] + k));
            __m128 high = _mm_unpackhi_ps(_mm_loadu_ps(rows[i] + k), _mm_loadu_ps(rows[i + 1] + k));
            float *to = columns + k * LOOKAHEAD_ROWS + i;
            _mm_storel_pi((__m64 *)to, low);
            _mm_storeh_pi((__m64 *)(to + LOOKAHEAD_ROWS), low);
            _mm_storel_pi((__m64 *)(to + 2 * LOOKAHEAD_ROWS), high);
            _mm_storeh_pi((__m64 *)(to + 3 * LOOKAHEAD_ROWS), high);
        }
    }
#endif
    for (; k < terms; k++)
        for (int i = 0; i < LOOKAHEAD_ROWS; i++) columns[k * LOOKAHEAD_ROWS + i] = rows[i][k];
}

/* The larger and the smaller of x and a constant; both let a NaN in x pass. MAXPS and MINPS give their second operand
 * where one is NaN; NEON's give NaN; a comparison with NaN is false. */
#if FASTGRU_VECTORS && VL == 16
#include <immintrin.h>
FASTGRU_STATIC vf at_least(vf x, float low) { return (vf)_mm512_max_ps(_mm512_set1_ps(low), (__m512)x); }
FASTGRU_STATIC vf at_most(vf x, float high) { return (vf)_mm512_min_ps(_mm512_set1_ps(high), (__m512)x); }
#elif FASTGRU_VECTORS && VL == 8
#include <immintrin.h>
FASTGRU_STATIC vf at_least(vf x, float low) { return (vf)_mm256_max_ps(_mm256_set1_ps(low), (__m256)x); }
FASTGRU_STATIC vf at_most(vf x, float high) { return (vf)_mm256_min_ps(_mm256_set1_ps(high), (__m256)x); }
#elif FASTGRU_VECTORS
FASTGRU_STATIC vf select_(vi mask, vf a, vf b) { return floats((mask & bits(a)) | (~mask & bits(b))); }
FASTGRU_STATIC vf at_least(vf x, float low) { return select_((vi)(x < broadcast(low)), broadcast(low), x); }
FASTGRU_STATIC vf at_most(vf x, float high) { return select_((vi)(x > broadcast(high)), broadcast(high), x); }
#else
FASTGRU_STATIC vf at_least(vf x, float low) { return x < low ? low : x; }
FASTGRU_STATIC vf at_most(vf x, float high) { return x > high ? high : x; }
#endif

/* Hints that the 64 bytes at p are read soon, or later, so that the second-level cache will do. */
#if defined(__GNUC__)
#define prefetch(p) __builtin_prefetch(p)
#define prefetch_far(p) __builtin_prefetch(p, 0, 2)
#else
#define prefetch(p) ((void)(p))
#define prefetch_far(p) ((void)(p))
#endif

/* exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln(2) / 2. The polynomial is the near-minimax fit of
 * (e^r - 1 - r) / r^2 of degree 4: its error is 8e-9 of e^r. |x| <= 88. */
typedef struct { vf scale, tail; } power; /* exp(x) = scale + scale * tail: scale = 2^n, tail = e^r - 1 */
FASTGRU_STATIC power exponential(vf x)
{
    const float rounder = 12582912.0f; /* 1.5 * 2^23: adding it leaves round(x) in the low bits */
    vf shifted = x * broadcast(1.44269504f) + broadcast(rounder);
    vf n = shifted - broadcast(rounder);
    vf r = x - n * broadcast(0.693359375f); /* ln 2 in two parts, the first of 10 bits, so that n times it is exact */
    r = r - n * broadcast(-2.12194440e-4f);
    vf r2 = r * r; /* the polynomial by halves, so that fewer operations wait for each other */
    vf q = broadcast(1.3926926614e-3f) * r2 + (broadcast(8.36377387e-3f) * r + broadcast(4.16665501e-2f));
    q = q * r2 + (broadcast(1.66665734e-1f) * r + broadcast(0.5f));
    power e;
#if FASTGRU_VECTORS
    e.scale = floats((bits(shifted) << 23) + 0x3f800000);
#else
    e.scale = floats((vi)(((uint32_t)bits(shifted) << 23) + 0x3f800000u));
#endif
    e.tail = r2 * q + r;
    return e;
}

/* 1 / (1 + exp(-x)) */
FASTGRU_STATIC vf sigmoid(vf x)
{
    power e = exponential(-at_most(at_least(x, -88.0f), 88.0f));
    return broadcast(1.0f) / (broadcast(1.0f) + (e.scale + e.scale * e.tail));
}

/* m / (m + 2) with m = exp(2 |x|) - 1, which loses nothing near zero. Above 9.02 a float's tanh is 1. */
FASTGRU_STATIC vf hyperbolic_tangent(vf x)
{
    vi sign = bits(x) & (bits(broadcast(-0.0f)));
    vf size = at_most(floats(bits(x) ^ sign), 9.02f);
    power e = exponential(size + size);
    vf m = e.scale * e.tail + (e.scale - broadcast(1.0f));
    return floats(bits(m / (m + broadcast(2.0f))) | sign);
}

/* Subnormal numbers cost up to 150 cycles an operation, so that a decaying state slows a network 93 times. They are
 * flushed to zero inside a call, and the mode of the process is put back at its end. */
#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
static unsigned int flush_subnormals(void)
{
    unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* FTZ and DAZ */
    return before;
}
static void restore_floating_mode(unsigned int before) { _mm_setcsr(before); }
#elif defined(__aarch64__) && defined(__GNUC__)
static unsigned int flush_subnormals(void)
{
    uint64_t before, after;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(before));
    after = before | (UINT64_C(1) << 24);
    __asm__ __volatile__("msr fpcr, %0" : : "r"(after));
    return (unsigned int)before;
}
static void restore_floating_mode(unsigned int before)
{
    uint64_t value = before;
    __asm__ __volatile__("msr fpcr, %0" : : "r"(value));
}
#else
static unsigned int flush_subnormals(void) { return 0; }
static void restore_floating_mode(unsigned int before) { (void)before; }
#endif

#endif
