/* Which instruction sets this processor and this operating system run, and which compiler this is. It only detects;
 * nothing is chosen here. */
#ifndef FASTGRU_CPU_H
#define FASTGRU_CPU_H

#if defined(__clang__)
#define COMPILER __VERSION__ /* begins with "clang", or with who made it */
#elif defined(__GNUC__)
#define COMPILER "GCC " __VERSION__
#elif defined(_MSC_VER)
#define AS_TEXT(number) #number
#define WITH_NUMBER(name, number) name AS_TEXT(number)
#define COMPILER WITH_NUMBER("MSVC ", _MSC_FULL_VER)
#else
#define COMPILER "unknown"
#endif

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
static int runs_avx512_bf16(void)
{
    unsigned int a, b, c, d;
    return runs_avx512_vnni() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}
static int runs_avx2_vnni(void)
{
    unsigned int a, b, c, d;
    return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

/* AMX: the processor has tile registers and both products, the system saves them (XCR0), and it lets this process use
 * them, for which it must be asked. Permission is the process's, with threads and children, for good; from then on the
 * system refuses alternate stacks for signals that cannot hold the tiles, and where it finds one it refuses. */
#if defined(FASTGRU_AMX_EMULATED)
static int runs_amx(void) { return runs_avx512_vnni(); }
#elif defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

static int permits_tiles(void)
{
    static int permitted = -1;
    if (permitted < 0) permitted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
    return permitted;
}
static int runs_amx(void)
{
    const unsigned int wanted = 1u << 22 | 1u << 24 | 1u << 25; /* amx-bf16, amx-tile, amx-int8 */
    unsigned int a, b, c, d, saved, high;
    if (!runs_avx512_vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & wanted) != wanted) return 0;
    __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    return (saved >> 17 & 3) == 3 && permits_tiles();
}
#else
static int runs_amx(void) { return 0; }
#endif
#else
static int runs_avx2(void) { return 0; }
static int runs_avx2_vnni(void) { return 0; }
static int runs_avx512(void) { return 0; }
static int runs_avx512_vnni(void) { return 0; }
static int runs_avx512_bf16(void) { return 0; }
static int runs_amx(void) { return 0; }
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
static int runs_neon(void) { return 1; }
#else
static int runs_neon(void) { return 0; }
#endif

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
static int runs_neon_dotprod(void) { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; } /* HWCAP_ASIMDDP */
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
static int runs_neon_dotprod(void)
{
    int found = 0;
    size_t size = sizeof found;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, 0, 0) == 0 && found;
}
#else
static int runs_neon_dotprod(void) { return 0; }
#endif

#endif
