/* The elementwise functions of a program: each is a loop over n elements of one result and up to four inputs.
 *
 * p[0] is the result and p[1] ... are the inputs, with strides in bytes; a stride of 0 repeats one number. A result may
 * lie where an input does, element on element. Arithmetic is in the type of the operands and rounded after every
 * operation (the module is compiled without contraction), so that it has NumPy's bits; transcendental functions and the
 * activations that no kernel has are computed in double and rounded once.
 */
#ifndef FASTGRU_LOOPS_H
#define FASTGRU_LOOPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#define INDEPENDENT _Pragma("GCC ivdep") /* elements may be computed several at a time, as no one needs another */
#else
#define INDEPENDENT
#endif

typedef void (*Inner)(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options);
typedef uint8_t truth; /* a NumPy boolean: 0 or 1 */

#define AT(TYPE, place) (*(const TYPE *)(p[place] + i * strides[place]))
#define DENSE(TYPE, place) (strides[place] == (ptrdiff_t)sizeof(TYPE))
#define RESULT(TYPE) (*(TYPE *)(p[0] + i * strides[0]))

#define ONE(NAME, OUT, IN, EXPRESSION)                                                             \
    static void NAME(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options) \
    {                                                                                              \
        OUT *out = (OUT *)p[0];                                                                    \
        const IN *a = (const IN *)p[1];                                                            \
        (void)options;                                                                             \
        if (DENSE(OUT, 0) && DENSE(IN, 1)) {                                                       \
            INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) { IN x = a[i]; out[i] = (EXPRESSION); }  \
        } else {                                                                                   \
            for (ptrdiff_t i = 0; i < n; i++) { IN x = AT(IN, 1); RESULT(OUT) = (EXPRESSION); }    \
        }                                                                                          \
    }

#define TWO(NAME, OUT, IN, EXPRESSION)                                                                             \
    static void NAME(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options)                 \
    {                                                                                                              \
        OUT *out = (OUT *)p[0];                                                                                    \
        const IN *a = (const IN *)p[1], *b = (const IN *)p[2];                                                     \
        (void)options;                                                                                             \
        if (DENSE(OUT, 0) && DENSE(IN, 1) && DENSE(IN, 2)) {                                                       \
            INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) { IN x = a[i], y = b[i]; out[i] = (EXPRESSION); }        \
        } else if (DENSE(OUT, 0) && DENSE(IN, 1) && strides[2] == 0) {                                             \
            const IN y = *b;                                                                                       \
            INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) { IN x = a[i]; out[i] = (EXPRESSION); }                  \
        } else if (DENSE(OUT, 0) && DENSE(IN, 2) && strides[1] == 0) {                                             \
            const IN x = *a;                                                                                       \
            INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) { IN y = b[i]; out[i] = (EXPRESSION); }                  \
        } else {                                                                                                   \
            for (ptrdiff_t i = 0; i < n; i++) { IN x = AT(IN, 1), y = AT(IN, 2); RESULT(OUT) = (EXPRESSION); }     \
        }                                                                                                          \
    }

/* The second where the first holds, and elsewhere the third. */
#define CHOICE(NAME, TYPE)                                                                                            \
    static void NAME(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options)                    \
    {                                                                                                                 \
        (void)options;                                                                                                \
        for (ptrdiff_t i = 0; i < n; i++) { TYPE x = AT(TYPE, 2), y = AT(TYPE, 3); RESULT(TYPE) = AT(truth, 1) ? x : y; } \
    }

#define COPY(NAME, TYPE)                                                                           \
    static void NAME(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options) \
    {                                                                                              \
        (void)options;                                                                             \
        if (DENSE(TYPE, 0) && DENSE(TYPE, 1)) memcpy(p[0], p[1], n * sizeof(TYPE));                \
        else for (ptrdiff_t i = 0; i < n; i++) RESULT(TYPE) = AT(TYPE, 1);                         \
    }

/* Activations in double; their formulas are those of activation_formulas.py. */
static double above(double x, double low) { return x > low || x != x ? x : low; }
static double below(double x, double high) { return x < high || x != x ? x : high; }
static double logistic(double x) { double power = exp(-fabs(x)); return (x < 0 ? power : x != x ? x : 1) / (1 + power); }
static double softplus(double x) { return above(x, 0) + log1p(exp(-fabs(x))); }
static double normal(double x) /* P(X <= x) */
{
    double beyond = 0.5 * erfc(fabs(x) * 0.70710678118654752440);
    return x > 0 ? 1 - beyond : beyond;
}

COPY(copy_float, float)
COPY(copy_whole, int64_t)
COPY(copy_truth, truth)
CHOICE(where_float, float)
CHOICE(where_whole, int64_t)
CHOICE(where_truth, truth)

/* A larger and a smaller number let a NaN of either operand pass; of equal ones the second is taken, as NumPy does. */
TWO(add_float, float, float, x + y)
TWO(subtract_float, float, float, x - y)
TWO(multiply_float, float, float, x *y)
TWO(divide_float, float, float, x / y)
TWO(maximum_float, float, float, x > y || x != x ? x : y)
TWO(minimum_float, float, float, x < y || x != x ? x : y)
TWO(power_float, float, float, y == 2 ? x * x : (float)pow((double)x, (double)y))
TWO(gated_float, float, float, (float)((double)x * logistic((double)y)))
TWO(equal_float, truth, float, x == y)
TWO(unequal_float, truth, float, x != y)
TWO(less_float, truth, float, x < y)
TWO(at_most_float, truth, float, x <= y)
TWO(more_float, truth, float, x > y)
TWO(at_least_float, truth, float, x >= y)
TWO(add_whole, int64_t, int64_t, (int64_t)((uint64_t)x + (uint64_t)y))
TWO(subtract_whole, int64_t, int64_t, (int64_t)((uint64_t)x - (uint64_t)y))
TWO(multiply_whole, int64_t, int64_t, (int64_t)((uint64_t)x * (uint64_t)y))
TWO(maximum_whole, int64_t, int64_t, x > y ? x : y)
TWO(minimum_whole, int64_t, int64_t, x < y ? x : y)
TWO(equal_whole, truth, int64_t, x == y)
TWO(unequal_whole, truth, int64_t, x != y)
TWO(less_whole, truth, int64_t, x < y)
TWO(at_most_whole, truth, int64_t, x <= y)
TWO(more_whole, truth, int64_t, x > y)
TWO(at_least_whole, truth, int64_t, x >= y)
TWO(both_truth, truth, truth, x && y)
TWO(either_truth, truth, truth, x || y)
TWO(one_truth, truth, truth, !x != !y)
TWO(equal_truth, truth, truth, !x == !y)

ONE(abs_float, float, float, fabsf(x))
ONE(negative_float, float, float, -x)
ONE(ceil_float, float, float, ceilf(x))
ONE(floor_float, float, float, floorf(x))
ONE(round_float, float, float, rintf(x))
ONE(trunc_float, float, float, truncf(x))
ONE(root_float, float, float, sqrtf(x))
ONE(rsqrt_float, float, float, 1.0f / sqrtf(x))
ONE(reciprocal_float, float, float, 1.0f / x)
ONE(square_float, float, float, x *x)
ONE(sign_float, float, float, x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f)
ONE(is_nan_float, truth, float, x != x)
ONE(is_finite_float, truth, float, isfinite(x) != 0)
ONE(is_infinite_float, truth, float, isinf(x) != 0)
ONE(not_float, truth, float, x == 0)
ONE(not_whole, truth, int64_t, x == 0)
ONE(not_truth, truth, truth, !x)
ONE(float_of_whole, float, int64_t, (float)x)
ONE(float_of_truth, float, truth, (float)x)
ONE(whole_of_truth, int64_t, truth, (int64_t)x)
ONE(truth_of_float, truth, float, x != 0)
ONE(truth_of_whole, truth, int64_t, x != 0)

ONE(exp_float, float, float, (float)exp((double)x))
ONE(expm1_float, float, float, (float)expm1((double)x))
ONE(log_float, float, float, (float)log((double)x))
ONE(log10_float, float, float, (float)log10((double)x))
ONE(log1p_float, float, float, (float)log1p((double)x))
ONE(log2_float, float, float, (float)log2((double)x))
ONE(sin_float, float, float, (float)sin((double)x))
ONE(cos_float, float, float, (float)cos((double)x))
ONE(tan_float, float, float, (float)tan((double)x))
ONE(sinh_float, float, float, (float)sinh((double)x))
ONE(cosh_float, float, float, (float)cosh((double)x))
ONE(asin_float, float, float, (float)asin((double)x))
ONE(acos_float, float, float, (float)acos((double)x))
ONE(atan_float, float, float, (float)atan((double)x))
ONE(acosh_float, float, float, (float)acosh((double)x))
ONE(asinh_float, float, float, (float)asinh((double)x))
ONE(atanh_float, float, float, (float)atanh((double)x))
ONE(erf_float, float, float, (float)erf((double)x))

#define ACTIVATION(NAME, EXPRESSION) ONE(NAME, float, float, (float)(EXPRESSION))
ACTIVATION(celu, x > 0 ? x : options[0] * expm1(x / options[0]))
ACTIVATION(elu, x > 0 ? x : options[0] * expm1(x))
ACTIVATION(gelu, (double)x *normal(x))
ACTIVATION(gelu_by_tanh, (double)x *logistic(1.5957691216057308 * ((double)x + 0.044715 * (double)x * (double)x * (double)x)))
ACTIVATION(hard_shrink, fabs((double)x) <= options[0] ? 0 : x)
ACTIVATION(hard_silu, (double)x *below(above((double)x / 6 + 0.5, 0), 1))
ACTIVATION(clipped, below(above(x, options[0]), options[1]))
ACTIVATION(leaky_relu, x > 0 ? x : options[0] * x)
ACTIVATION(log_sigmoid, below(x, 0) - log1p(exp(-fabs((double)x))))
ACTIVATION(mish, (double)x *tanh(softplus(x)))
ACTIVATION(selu, 1.0507009873554804934193349852946 * (x > 0 ? (double)x : 1.6732632423543772848170429916717 * expm1(x)))
ACTIVATION(silu, (double)x *logistic(x))
ACTIVATION(softplus_of, options[0] * x > options[1] ? (double)x : softplus(options[0] * x) / options[0])
ACTIVATION(softsign, (double)x / (1 + fabs((double)x)))


/* (x - mean) scale + beta */
static void scaled_float(ptrdiff_t n, char *const *p, const ptrdiff_t *strides, const double *options)
{
    (void)options;
    if (DENSE(float, 0) && DENSE(float, 1) && DENSE(float, 2) && DENSE(float, 3) && DENSE(float, 4)) {
        float *out = (float *)p[0];
        const float *x = (const float *)p[1], *mean = (const float *)p[2], *scale = (const float *)p[3];
        const float *beta = (const float *)p[4];
        INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) out[i] = (x[i] - mean[i]) * scale[i] + beta[i];
    } else {
        for (ptrdiff_t i = 0; i < n; i++)
            RESULT(float) = (AT(float, 1) - AT(float, 2)) * AT(float, 3) + AT(float, 4);
    }
}

/* By name and kinds, of which the result's comes first: f float, i int64, b boolean. */
typedef struct { const char *name, *kinds; Inner inner; } Loop;
static const Loop LOOPS[] = {
    {"copy", "ff", copy_float}, {"copy", "ii", copy_whole}, {"copy", "bb", copy_truth},
    {"where", "fbff", where_float}, {"where", "ibii", where_whole}, {"where", "bbbb", where_truth},
    {"add", "fff", add_float}, {"sub", "fff", subtract_float}, {"mul", "fff", multiply_float},
    {"div", "fff", divide_float}, {"maximum", "fff", maximum_float}, {"minimum", "fff", minimum_float},
    {"pow", "fff", power_float}, {"gated", "fff", gated_float}, {"eq", "bff", equal_float}, {"ne", "bff", unequal_float}, {"lt", "bff", less_float},
    {"le", "bff", at_most_float}, {"gt", "bff", more_float}, {"ge", "bff", at_least_float},
    {"add", "iii", add_whole}, {"sub", "iii", subtract_whole}, {"mul", "iii", multiply_whole},
    {"maximum", "iii", maximum_whole}, {"minimum", "iii", minimum_whole}, {"eq", "bii", equal_whole},
    {"ne", "bii", unequal_whole}, {"lt", "bii", less_whole}, {"le", "bii", at_most_whole}, {"gt", "bii", more_whole},
    {"ge", "bii", at_least_whole}, {"logical_and", "bbb", both_truth}, {"logical_or", "bbb", either_truth},
    {"logical_xor", "bbb", one_truth}, {"eq", "bbb", equal_truth}, {"ne", "bbb", one_truth},
    {"abs", "ff", abs_float}, {"neg", "ff", negative_float}, {"ceil", "ff", ceil_float}, {"floor", "ff", floor_float},
    {"round", "ff", round_float}, {"trunc", "ff", trunc_float}, {"sqrt", "ff", root_float},
    {"rsqrt", "ff", rsqrt_float}, {"reciprocal", "ff", reciprocal_float}, {"square", "ff", square_float},
    {"sign", "ff", sign_float}, {"isnan", "bf", is_nan_float}, {"isfinite", "bf", is_finite_float},
    {"isinf", "bf", is_infinite_float}, {"logical_not", "bf", not_float}, {"logical_not", "bi", not_whole},
    {"logical_not", "bb", not_truth}, {"cast", "fi", float_of_whole}, {"cast", "fb", float_of_truth},
    {"cast", "ib", whole_of_truth}, {"cast", "bf", truth_of_float}, {"cast", "bi", truth_of_whole},
    {"exp", "ff", exp_float}, {"expm1", "ff", expm1_float}, {"log", "ff", log_float}, {"log10", "ff", log10_float},
    {"log1p", "ff", log1p_float}, {"log2", "ff", log2_float}, {"sin", "ff", sin_float}, {"cos", "ff", cos_float},
    {"tan", "ff", tan_float}, {"sinh", "ff", sinh_float}, {"cosh", "ff", cosh_float}, {"asin", "ff", asin_float},
    {"acos", "ff", acos_float}, {"acosh", "ff", acosh_float}, {"asinh", "ff", asinh_float}, {"atanh", "ff", atanh_float},
    {"atan", "ff", atan_float}, {"erf", "ff", erf_float},
    {"celu", "ff", celu}, {"elu", "ff", elu}, {"exponential", "ff", exp_float}, {"gelu", "ff", gelu},
    {"gelu_by_tanh", "ff", gelu_by_tanh}, {"hard_shrink", "ff", hard_shrink}, {"hard_silu", "ff", hard_silu},
    {"clipped", "ff", clipped}, {"leaky_relu", "ff", leaky_relu}, {"log_sigmoid", "ff", log_sigmoid},
    {"mish", "ff", mish}, {"selu", "ff", selu}, {"silu", "ff", silu}, {"softplus", "ff", softplus_of},
    {"softsign", "ff", softsign}, {"scaled", "fffff", scaled_float},
};
enum { LOOP_COUNT = sizeof(LOOPS) / sizeof(LOOPS[0]) };

#endif
