/* The limits of a core, each by a loop that does nothing else: products of float32, of pairs of bfloat16 and of bytes,
 * reading, and a barrier of two threads.
 *
 *     limits THREADS RUNS BYTES...
 *
 * Compiled with -DWIDTH=16, 32 or 64, the bytes of a vector, and the flags that let the compiler use it. Prints one JSON
 * object: GFLOP/s of all threads together, one figure a run, and of pairs and bytes none where there is no instruction; GB/s of all threads together for each working set, which
 * every thread has to itself; nanoseconds a barrier, where there are threads.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define MAX_THREADS 64
#define SECONDS 0.004 /* of one run, so that the scheduler's tick spoils few of them */
#define BARRIERS 20000
#define CHAINS 12 /* 4 cycles latency times 2 units is 8; with the two operands they fit AVX2's 16 registers */
#define READS 8

typedef float vf __attribute__((vector_size(WIDTH)));
typedef int32_t vi __attribute__((vector_size(WIDTH)));

static int threads;
static volatile float scale = 0.999f, addend = 0.001f; /* what the compiler must not know */
static volatile float float_sink;
static volatile int32_t int_sink;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The thread stays on the CPU of its number among those of the process: two that spin on one would wait for ever. */
static void stay(int number) {
#ifdef __linux__
    static cpu_set_t allowed;
    if (CPU_COUNT(&allowed) == 0) sched_getaffinity(0, sizeof allowed, &allowed);
    for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == number % CPU_COUNT(&allowed)) {
            cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(cpu, &own);
            sched_setaffinity(0, sizeof own, &own);
        }
#else
    (void)number;
#endif
}

/* Every thread adds one, and waits until all have: ``round`` counts from 1. */
static void barrier(long *arrived, long round) {
    __atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(arrived, __ATOMIC_ACQUIRE) < round * threads) relax();
}

/* Independent chains a = a * m + b: 2 * CHAINS * WIDTH / 4 operations a round. */
static void multiply_add(long rounds) {
    vf m, b, a[CHAINS];
    for (int i = 0; i < WIDTH / 4; i++) m[i] = scale, b[i] = addend;
    for (int c = 0; c < CHAINS; c++) a[c] = m + (float)c;
    for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) a[c] = a[c] * m + b;
    }
    for (int c = 1; c < CHAINS; c++) a[0] += a[c];
    float_sink = a[0][0];
}

/* The same of an instruction that adds products of several numbers to every lane: two of bfloat16, or four bytes. */
#if defined(__AVX512BF16__)
#define PAIRS "vdpbf16ps %1, %1, %0"
#endif
#if defined(__AVX512VNNI__)
#define BYTES "vpdpbusd %1, %1, %0"
#elif defined(__AVXVNNI__)
#define BYTES "{vex} vpdpbusd %1, %1, %0"
#endif
#define MULTIPLY(name, instruction) \
    static void name(long rounds) { \
        vi x = {0}, a[CHAINS]; \
        _Pragma("GCC unroll 12") \
        for (int c = 0; c < CHAINS; c++) a[c] = x + c; \
        for (long round = 0; round < rounds; round++) { \
            _Pragma("GCC unroll 12") \
            for (int c = 0; c < CHAINS; c++) __asm__(instruction : "+v"(a[c]) : "v"(x)); \
        } \
        _Pragma("GCC unroll 12") \
        for (int c = 1; c < CHAINS; c++) a[0] += a[c]; \
        int_sink = a[0][0]; \
    }
#ifdef PAIRS
MULTIPLY(multiply_pairs, PAIRS)
#else
static void multiply_pairs(long rounds) { (void)rounds; }
#endif
#ifdef BYTES
MULTIPLY(multiply_bytes, BYTES)
#else
static void multiply_bytes(long rounds) { (void)rounds; }
#endif

/* Read ``bytes`` a number of times; an integer OR keeps up with the loads on every processor there is. */
static void read_all(const char *data, size_t bytes, long rounds) {
    vi found[READS] = {{0}};
    for (long round = 0; round < rounds; round++) {
        const vi *end = (const vi *)(data + bytes);
        for (const vi *p = (const vi *)data; p < end; p += READS) {
#pragma GCC unroll 8
            for (int i = 0; i < READS; i++) found[i] |= p[i];
        }
        __asm__ volatile("" ::: "memory");
    }
    for (int i = 1; i < READS; i++) found[0] |= found[i];
    int_sink = found[0][0];
}

typedef struct {
    enum { MULTIPLY_ADD, MULTIPLY_PAIRS, MULTIPLY_BYTES, READ, BARRIER } what;
    long rounds;
    size_t bytes;
    char *data[MAX_THREADS];
    double begun[MAX_THREADS], ended[MAX_THREADS];
    long arrived; /* at the barrier before */
    char apart[128];
    long met;     /* at the barriers that are timed, in a cache line of its own */
} Job;

typedef struct {
    Job *job;
    int number;
} Worker;

static void *work(void *argument) {
    Worker *worker = argument;
    Job *job = worker->job;
    int number = worker->number;
    stay(number);
    barrier(&job->arrived, 1);
    job->begun[number] = now();
    if (job->what == MULTIPLY_ADD) multiply_add(job->rounds);
    if (job->what == MULTIPLY_PAIRS) multiply_pairs(job->rounds);
    if (job->what == MULTIPLY_BYTES) multiply_bytes(job->rounds);
    if (job->what == READ) read_all(job->data[number], job->bytes, job->rounds);
    if (job->what == BARRIER)
        for (long round = 1; round <= job->rounds; round++) barrier(&job->met, round);
    job->ended[number] = now();
    return NULL;
}

/* Seconds from the first thread's beginning to the last one's end. */
static double seconds_of(Job *job) {
    pthread_t started[MAX_THREADS];
    Worker workers[MAX_THREADS];
    job->arrived = job->met = 0;
    for (int i = 0; i < threads; i++) workers[i] = (Worker){job, i};
    for (int i = 1; i < threads; i++)
        if (pthread_create(&started[i], NULL, work, &workers[i])) exit(fputs("cannot start a thread\n", stderr) + 1);
    work(&workers[0]);
    for (int i = 1; i < threads; i++) pthread_join(started[i], NULL);
    double begun = job->begun[0], ended = job->ended[0];
    for (int i = 1; i < threads; i++) {
        if (job->begun[i] < begun) begun = job->begun[i];
        if (job->ended[i] > ended) ended = job->ended[i];
    }
    return ended - begun;
}

/* As many rounds as take SECONDS. */
static void settle(Job *job) {
    job->rounds = 1;
    for (double taken; (taken = seconds_of(job)) < SECONDS && job->rounds < 1L << 40;)
        job->rounds = taken < SECONDS / 16 ? 8 * job->rounds : (long)(1.1 * job->rounds * SECONDS / taken) + 1;
}

/* One figure a run: ``amount`` of each round and thread over the time, times ``unit``. */
static void print_rates(Job *job, int runs, double amount, double unit) {
    for (int run = 0; run < runs; run++)
        printf("%s%.6g", run ? ", " : "", unit * amount * job->rounds * threads / seconds_of(job));
}

static char *filled(size_t bytes) {
    void *data = NULL;
    if (posix_memalign(&data, 2 << 20, bytes)) exit(fputs("not enough memory\n", stderr) + 1);
#ifdef MADV_HUGEPAGE
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
    memset(data, 1, bytes);
    return data;
}

int main(int count, char **arguments) {
    if (count < 3) return fputs("usage: limits THREADS RUNS BYTES...\n", stderr), 2;
    threads = atoi(arguments[1]);
    int runs = atoi(arguments[2]);
    if (threads < 1 || threads > MAX_THREADS || runs < 1) return fputs("THREADS or RUNS is out of range\n", stderr), 2;
    size_t most = 0;
    for (int i = 3; i < count; i++) {
        size_t bytes = strtoull(arguments[i], NULL, 10);
        if (bytes == 0 || bytes % (READS * WIDTH)) return fputs("BYTES: wanted multiples of 512\n", stderr), 2;
        if (bytes > most) most = bytes;
    }
    static Job job;
    stay(0);
    job.what = MULTIPLY_ADD;
    settle(&job);
    printf("{\"width\": %d, \"gflops\": [", WIDTH);
    print_rates(&job, runs, 2.0 * CHAINS * WIDTH / 4, 1e-9);
    printf("], \"pairs\": [");
#ifdef PAIRS
    job.what = MULTIPLY_PAIRS;
    settle(&job);
    print_rates(&job, runs, 2.0 * CHAINS * WIDTH / 2, 1e-9);
#endif
    printf("], \"bytes\": [");
#ifdef BYTES
    job.what = MULTIPLY_BYTES;
    settle(&job);
    print_rates(&job, runs, 2.0 * CHAINS * WIDTH, 1e-9);
#endif
    printf("], \"read\": [");
    for (int i = 0; i < threads && most; i++) job.data[i] = filled(most);
    job.what = READ;
    for (int i = 3; i < count; i++) {
        job.bytes = strtoull(arguments[i], NULL, 10);
        settle(&job);
        printf("%s{\"bytes\": %zu, \"gbs\": [", i > 3 ? ", " : "", job.bytes);
        print_rates(&job, runs, job.bytes, 1e-9);
        printf("]}");
    }
    printf("], \"barrier_ns\": [");
    job.what = BARRIER;
    job.rounds = BARRIERS;
    for (int run = 0; run < runs && threads > 1; run++)
        printf("%s%.6g", run ? ", " : "", 1e9 * seconds_of(&job) / BARRIERS);
    printf("]}\n");
    return 0;
}
