/* Which instruction sets this processor and this operating system run. It only detects; nothing is chosen here. */
#ifndef FASTGRU_CPU_H
#define FASTGRU_CPU_H

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#include <cpuid.h>

static int runs_avx2(void) /* and converts float16, as every processor with AVX2 does */
{
    unsigned int a, b, c, d;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
           (c & (1u << 29));
}
static int runs_avx512(void)
{
    __builtin_cpu_init();
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
static int runs_avx512_vnni(void) { return runs_avx512() && __builtin_cpu_supports("avx512vnni"); }
static int runs_avx2_vnni(void)
{
    unsigned int a, b, c, d;
    return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}
#else
static int runs_avx2(void) { return 0; }
static int runs_avx2_vnni(void) { return 0; }
static int runs_avx512(void) { return 0; }
static int runs_avx512_vnni(void) { return 0; }
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
static int runs_neon(void) { return 1; }
#else
static int runs_neon(void) { return 0; }
#endif

#endif
