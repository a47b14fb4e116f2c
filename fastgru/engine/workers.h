/* The threads that compute beside the calling one: started when first wanted, then kept, and asleep between works.
 *
 * They are our own because GNU OpenMP ends the process if a thread cannot be started, and hangs in a forked child. Here
 * a work is done by as many threads as the system gives, and a child of a fork starts its own.
 */
#ifndef FASTGRU_WORKERS_H
#define FASTGRU_WORKERS_H

#include "barrier.h"

/* What each of `threads` threads does of a work. */
typedef void (*Work)(void *what, int thread, int threads);

#if FASTGRU_THREADS
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define IDLE 2e-4           /* seconds that a thread looks for its turn before it sleeps: waking it takes 30 to 60 us */
#define STACK_BYTES 1048576 /* BLAS keeps tens of kilobytes on it; the usual 8 MiB are what address space runs out of */

typedef struct Worker {
    int working;  /* 1: it is the worker's turn, 0: the caller's */
    int sleepers; /* who waits for `turned`; counted under `lock` */
    Work work;
    void *what;
    int thread, threads;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    pthread_t self, caller; /* `caller` is whose processors it may use */
    struct Worker *next;
} Worker;

static Worker *idle_workers = NULL;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;

static void give_turn(Worker *worker, int working)
{
    __atomic_store_n(&worker->working, working, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&worker->sleepers, __ATOMIC_SEQ_CST) == 0) return; /* whoever comes later sees the turn */
    pthread_mutex_lock(&worker->lock);
    pthread_cond_broadcast(&worker->turned);
    pthread_mutex_unlock(&worker->lock);
}

static void await_turn(Worker *worker, int working)
{
    double until = 0;
    int looks;
    for (looks = 0; __atomic_load_n(&worker->working, __ATOMIC_ACQUIRE) != working; looks++) {
        if (looks < 1024) {
            look_again();
            continue;
        }
        if (looks == 1024) until = seconds_now() + IDLE;
        if (seconds_now() > until) break;
        sched_yield();
    }
    if (__atomic_load_n(&worker->working, __ATOMIC_ACQUIRE) == working) return;
    pthread_mutex_lock(&worker->lock);
    __atomic_add_fetch(&worker->sleepers, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&worker->working, __ATOMIC_SEQ_CST) != working)
        pthread_cond_wait(&worker->turned, &worker->lock);
    __atomic_sub_fetch(&worker->sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&worker->lock);
}

static void *worker_loop(void *given)
{
    Worker *worker = (Worker *)given;
    for (;;) {
        await_turn(worker, 1);
        worker->work(worker->what, worker->thread, worker->threads);
        give_turn(worker, 0);
    }
    return NULL;
}

/* A thread that takes no signal of the process, which are for the threads that Python knows; NULL if there is none. */
static Worker *start_worker(void)
{
    Worker *worker = NULL;
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed;
    if (posix_memalign((void **)&worker, 64, (sizeof *worker + 63) / 64 * 64)) return NULL;
    worker->working = worker->sleepers = 0;
    worker->caller = pthread_self(); /* from which it has its processors */
    worker->next = NULL;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->turned, NULL);
    sigfillset(&all); /* but what a thread's own instructions raise, and Python's faulthandler reports */
    sigdelset(&all, SIGSEGV), sigdelset(&all, SIGBUS), sigdelset(&all, SIGFPE), sigdelset(&all, SIGILL);
    failed = pthread_attr_init(&attributes);
    if (!failed) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        failed = pthread_create(&worker->self, &attributes, worker_loop, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (!failed) return worker;
    pthread_cond_destroy(&worker->turned);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
    return NULL;
}

/* A worker computes where its caller may. One that served the same caller before is there already. */
static void follow_caller(Worker *worker, pthread_t caller)
{
#if defined(__linux__) && defined(CPU_CLR)
    cpu_set_t allowed;
    if (!pthread_equal(worker->caller, caller) && sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        pthread_setaffinity_np(worker->self, sizeof allowed, &allowed);
#endif
    worker->caller = caller;
}

/* Let `threads` threads, the calling one among them, do a work together, or as many as there are; returns how many.
 * Workers are taken and given back in one order, so that each has the same part again, whose weights it has in cache. */
static int run_in_parallel(int threads, Work work, void *what)
{
    Worker *first = NULL, **end = &first, *worker;
    int count = 1, thread = 1;
    if (threads < 2) {
        work(what, 0, 1);
        return 1;
    }
    pthread_mutex_lock(&idle_lock);
    for (worker = idle_workers; worker != NULL && count < threads; worker = worker->next, count++) {
        *end = worker;
        end = &worker->next;
    }
    idle_workers = worker;
    pthread_mutex_unlock(&idle_lock);
    for (; count < threads && (worker = start_worker()) != NULL; count++) {
        *end = worker;
        end = &worker->next;
    }
    *end = NULL;
    for (worker = first; worker != NULL; worker = worker->next) {
        follow_caller(worker, pthread_self());
        worker->work = work, worker->what = what, worker->thread = thread++, worker->threads = count;
        give_turn(worker, 1);
    }
    work(what, 0, count);
    for (worker = first; worker != NULL; worker = worker->next) await_turn(worker, 0);
    if (first != NULL) {
        pthread_mutex_lock(&idle_lock);
        *end = idle_workers;
        idle_workers = first;
        pthread_mutex_unlock(&idle_lock);
    }
    return count;
}

/* A forked child has none of its parent's threads, nor whoever had the team. What they left is never looked at again. */
static void forget_workers(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    idle_lock = fresh;
    idle_workers = NULL;
    give_team();
}

static int prepare_for_forks(void) { return pthread_atfork(NULL, NULL, forget_workers); }

#else
static int prepare_for_forks(void) { return 0; }

static int run_in_parallel(int threads, Work work, void *what)
{
    int count = 1;
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads)
    {
#pragma omp master
        count = omp_get_num_threads();
        work(what, omp_get_thread_num(), omp_get_num_threads());
    }
#else
    (void)threads;
    work(what, 0, 1);
#endif
    return count;
}
#endif

#endif
