/* Vectors of doubles: VD = VL / 2 of them, in which sums of floats are taken and powers of e for them.
 *
 * `vd` is to double what `vf` of simd.h is to float, and a plain double where there are no vector types.
 */
#ifndef FASTGRU_DOUBLES_H
#define FASTGRU_DOUBLES_H

#include "simd.h"

#if FASTGRU_VECTORS
#define VD (VL / 2)
typedef double vd __attribute__((vector_size(8 * VD), may_alias));
typedef double vd_unaligned __attribute__((vector_size(8 * VD), aligned(8), may_alias));
typedef int64_t vl __attribute__((vector_size(8 * VD)));
typedef float few __attribute__((vector_size(4 * VD), aligned(4), may_alias)); /* VD floats */
FASTGRU_STATIC vd broadcast_double(double x) { return x - (vd){0}; }
FASTGRU_STATIC void store_rounded(float *p, vd x) { *(few *)p = __builtin_convertvector(x, few); }
/* 2^n of the whole number n in the low bits of x; and x, but 0 where d is below a limit. */
FASTGRU_STATIC vd power_of_2(vd x) { return (vd)(((vl)x + 1023) << 52); }
FASTGRU_STATIC vd zero_below(vd x, vd d, double limit) { return (vd)((vl)x & ~(vl)(d < broadcast_double(limit))); }
#else
#define VD 1
typedef double vd;
typedef double vd_unaligned;
FASTGRU_STATIC vd broadcast_double(double x) { return x; }
FASTGRU_STATIC void store_rounded(float *p, vd x) { *p = (float)x; }
FASTGRU_STATIC vd power_of_2(vd x)
{
    uint64_t n;
    memcpy(&n, &x, 8);
    n = (n + 1023) << 52;
    memcpy(&x, &n, 8);
    return x;
}
FASTGRU_STATIC vd zero_below(vd x, vd d, double limit) { return d < limit ? 0 : x; }
#endif

/* VD floats; and n < VD of them with zeros behind, of which not a byte more is read. Written out where GCC takes a
 * conversion of vectors apart. */
#if FASTGRU_VECTORS && VL == 16
FASTGRU_STATIC vd to_doubles(const float *p) { return (vd)_mm512_cvtps_pd(_mm256_loadu_ps(p)); }
FASTGRU_STATIC vd part_to_doubles(const float *p, int n)
{
    static const int32_t masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return (vd)_mm512_cvtps_pd(_mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(masks + 8 - n))));
}
#elif FASTGRU_VECTORS && VL == 8
FASTGRU_STATIC vd to_doubles(const float *p) { return (vd)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
FASTGRU_STATIC vd part_to_doubles(const float *p, int n)
{
    static const int32_t masks[8] = {-1, -1, -1, -1};
    return (vd)_mm256_cvtps_pd(_mm_maskload_ps(p, _mm_loadu_si128((const __m128i *)(masks + 4 - n))));
}
#elif FASTGRU_VECTORS
#if defined(__SSE2__)
FASTGRU_STATIC vd to_doubles(const float *p)
{
    return (vd)_mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)p)));
}
#else
FASTGRU_STATIC vd to_doubles(const float *p) { return __builtin_convertvector(*(const few *)p, vd); }
#endif
FASTGRU_STATIC vd part_to_doubles(const float *p, int n) { return n ? (vd){p[0], 0} : (vd){0, 0}; }
#else
FASTGRU_STATIC vd to_doubles(const float *p) { return *p; }
FASTGRU_STATIC vd part_to_doubles(const float *p, int n) { return n ? *p : 0; }
#endif

/* The first n lanes of x, and zeros behind them. */
FASTGRU_STATIC vd first_lanes(vd x, int n)
{
#if FASTGRU_VECTORS && VD == 8
    return (vd)((vl)x & ((vl){0, 1, 2, 3, 4, 5, 6, 7} < n));
#elif FASTGRU_VECTORS && VD == 4
    return (vd)((vl)x & ((vl){0, 1, 2, 3} < n));
#elif FASTGRU_VECTORS
    return (vd)((vl)x & ((vl){0, 1} < n));
#else
    return n ? x : 0;
#endif
}

#define DOUBLES_OF_BLOCK (4 * VD)

FASTGRU_STATIC vd load_doubles(const double *p) { return *(const vd_unaligned *)p; }
FASTGRU_STATIC void store_doubles(double *p, vd x) { *(vd_unaligned *)p = x; }

/* The sum of all lanes: the halves of a vector, then the halves of what they give. */
FASTGRU_STATIC double sum_of_lanes(vd x)
{
    double lanes[VD];
    memcpy(lanes, &x, sizeof lanes);
#if VD == 8
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
#elif VD == 4
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
#elif VD == 2
    return lanes[0] + lanes[1];
#else
    return lanes[0];
#endif
}

/* The larger and the smaller of two numbers, and b where one is NaN or both are equal. */
#if FASTGRU_VECTORS && VL == 16
FASTGRU_STATIC vf larger(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
FASTGRU_STATIC vf smaller(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif FASTGRU_VECTORS && VL == 8
FASTGRU_STATIC vf larger(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
FASTGRU_STATIC vf smaller(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#elif FASTGRU_VECTORS && defined(__SSE2__)
FASTGRU_STATIC vf larger(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
FASTGRU_STATIC vf smaller(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
#elif FASTGRU_VECTORS
FASTGRU_STATIC vf larger(vf a, vf b) { return select_((vi)(a > b), a, b); }
FASTGRU_STATIC vf smaller(vf a, vf b) { return select_((vi)(a < b), a, b); }
#else
FASTGRU_STATIC vf larger(vf a, vf b) { return a > b ? a : b; }
FASTGRU_STATIC vf smaller(vf a, vf b) { return a < b ? a : b; }
#endif

/* b, and NaN where a is: what `larger` and `smaller` lose. */
#if FASTGRU_VECTORS
FASTGRU_STATIC vf unless_nan(vf a, vf b) { return floats(bits(b) | (vi)(a != a)); }
#else
FASTGRU_STATIC vf unless_nan(vf a, vf b) { return a != a ? a : b; }
#endif

/* The largest lane of numbers none of which is NaN. */
FASTGRU_STATIC float largest_of_lanes(vf x)
{
    float lanes[VL];
    memcpy(lanes, &x, sizeof lanes);
    for (int half = VL / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
    return lanes[0];
}

/* e^d for d <= 0, within 3e-13 of it: 2^n e^r with n = round(d / ln 2) and |r| <= ln(2) / 2. The polynomial is that of
 * degree 7 which is (e^r - 1 - r) / r^2 at 8 Chebyshev points; its error is 7.4e-14 of e^r. e^d is 0 below -700, which
 * is far below a float, and NaN of NaN. */
FASTGRU_STATIC vd power_of_e(vd d)
{
    const double rounder = 6755399441055744.0; /* 1.5 * 2^52: adding it leaves round(x) in the low bits */
    vd shifted = d * broadcast_double(1.4426950408889634) + broadcast_double(rounder);
    vd r = d - (shifted - broadcast_double(rounder)) * broadcast_double(0.6931471805599453);
    vd r2 = r * r, r4 = r2 * r2; /* by halves, so that fewer operations wait for each other */
    vd a = broadcast_double(0.16666666666662583) * r + broadcast_double(0.4999999999995507);
    vd b = broadcast_double(0.008333333344209506) * r + broadcast_double(0.041666666786337556);
    vd c = broadcast_double(0.00019841224581544105) * r + broadcast_double(0.001388883909064138);
    vd e = broadcast_double(2.761757684835413e-06) * r + broadcast_double(2.4867883453521802e-05);
    vd q = (e * r2 + c) * r4 + (b * r2 + a);
    vd result = (q * r2 + (r + broadcast_double(1.0))) * power_of_2(shifted);
    return zero_below(result, d, -700.0);
}

#endif
