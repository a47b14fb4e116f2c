/* How the threads of a run come together, and where those of a team meet between steps. A step lasts microseconds, so
 * they wait by looking; a thread that has looked for long gives its processor away, since the one it waits for may need
 * it.
 */
#ifndef FASTGRU_BARRIER_H
#define FASTGRU_BARRIER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for sched_getcpu */
#endif

#ifndef FASTGRU_THREADS
#define FASTGRU_THREADS 0 /* whether there are POSIX threads, and a compiler with GNU's atomics; setup.py says */
#endif
#include <time.h>
#if FASTGRU_THREADS
#include <sched.h>
#elif defined(_OPENMP)
#include <omp.h>
#endif

#define PROCESSORS 1024 /* as many as a cpu_set_t has */

typedef struct {
    int members;
    int arrived;
    int round;
    int stalled; /* whether a member waited here for as long as only one that had lost its processor lets others wait */
    int over;    /* whether nobody waits here any more */
    char apart[44]; /* so that no other's data shares the cache line */
} Barrier;

typedef struct {
    char taken[PROCESSORS];
    char crowded; /* whether one found its processor taken and no other to go to */
} Claims;

#if FASTGRU_THREADS
static inline int is_set(const int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
static inline void set_flag(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }
#define STALL 300e-6 /* seconds */
static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void look_again(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Wait until all members have come here. What each wrote before, all can read after. */
static inline void meet_within(Barrier *barrier, const int patience)
{
    double since = 0;
    int round, looks;
    if (barrier->members < 2) return;
    round = __atomic_load_n(&barrier->round, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == barrier->members) {
        __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (looks = 0; __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round && !is_set(&barrier->over); looks++) {
        if (looks < patience) {
            look_again();
        } else {
            if (looks == patience) since = seconds_now();
            sched_yield();
        }
    }
    if (looks > patience && seconds_now() - since > STALL) __atomic_store_n(&barrier->stalled, 1, __ATOMIC_RELAXED);
}

static int team_taken = 0;
static inline int take_team(void) { return !__atomic_exchange_n(&team_taken, 1, __ATOMIC_ACQUIRE); }
static inline void give_team(void) { __atomic_store_n(&team_taken, 0, __ATOMIC_RELEASE); }
static inline void meet(Barrier *barrier) { meet_within(barrier, 1024); }

/* Threads that were asleep are often woken on the processor of the one that wakes them, which is busy, and stay there
 * for 5 to 15 ms although another is idle. So each claims a processor, and one that finds its own taken moves to
 * one that is free; and all wait for each other with little patience, so that it gets the time to. Returns whether
 * there was none for one of them: as a team they would take turns, at every step.
 */
static inline int come_together(Barrier *barrier, Claims *claims)
{
#if defined(__linux__) && defined(CPU_CLR)
    cpu_set_t allowed, elsewhere;
    int processor = sched_getcpu(), i, left = 0;
    if (processor >= 0 && processor < PROCESSORS && __atomic_exchange_n(&claims->taken[processor], 1, __ATOMIC_RELAXED)
        && sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        CPU_ZERO(&elsewhere);
        for (i = 0; i < PROCESSORS; i++)
            if (CPU_ISSET(i, &allowed) && !__atomic_load_n(&claims->taken[i], __ATOMIC_RELAXED)) {
                CPU_SET(i, &elsewhere);
                left++;
            }
        if (left && sched_setaffinity(0, sizeof elsewhere, &elsewhere) == 0) {
            __atomic_store_n(&claims->taken[sched_getcpu()], 1, __ATOMIC_RELAXED);
            sched_setaffinity(0, sizeof allowed, &allowed);
        } else {
            __atomic_store_n(&claims->crowded, 1, __ATOMIC_RELAXED);
        }
    }
#endif
    meet_within(barrier, 64);
    return claims->crowded;
}
#else
static inline int is_set(const int *flag) { return *(const volatile int *)flag; }
static inline void set_flag(int *flag) { *(volatile int *)flag = 1; }
static inline void meet(Barrier *barrier) { (void)barrier; }
static inline int come_together(Barrier *barrier, Claims *claims) { (void)barrier, (void)claims; return 0; }
static inline int take_team(void) { return 0; }
static inline void give_team(void) {}
static inline double seconds_now(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
#endif

#endif
