/* The threads of the engine without Python: works shared out by several callers at a time, with meetings, ends and forks.
 *
 * Built by .ci/sanitize with ThreadSanitizer. Every member writes where another reads after the next meeting, so that a
 * meeting or a turn that orders too little is a race. Prints how many works were done, and fails where one was not.
 */
#include "workers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 4
#define MEMBERS 3
#define WORKS 40
#define STEPS 20

typedef struct {
    Barrier everyone, step;
    Claims claims;
    int over;                 /* a work that ends early, as a signal's handler ends one */
    int ended_at;             /* the step after which the calling thread says so, or -1 */
    long numbers[2][MEMBERS]; /* of this step and of the last, one by each member */
    long left[MEMBERS];
} Shared;

static void steps_of_member(void *what, int thread, int threads)
{
    Shared *shared = (Shared *)what;
    int step;
    long *to, *from;
    if (threads < MEMBERS) { /* nobody to meet */
        shared->left[thread] = -1;
        return;
    }
    if (come_together(&shared->everyone, &shared->claims)) set_flag(&shared->everyone.stalled);
    for (step = 0; step < STEPS && !is_set(&shared->over); step++) {
        to = shared->numbers[step & 1], from = shared->numbers[~step & 1];
        to[thread] = step == 0 ? 1 : from[(thread + 1) % MEMBERS] + 1;
        if (thread == 0 && step == shared->ended_at) {
            set_flag(&shared->over);
            set_flag(&shared->step.over);
            break;
        }
        meet(&shared->step);
        if (is_set(&shared->over)) break;
    }
    shared->left[thread] = step;
}

static int done_by(int seed)
{
    Shared *shared = NULL;
    int came, member, right = 1;
    if (posix_memalign((void **)&shared, 64, (sizeof *shared + 63) / 64 * 64)) return 0;
    memset(shared, 0, sizeof *shared);
    shared->everyone.members = shared->step.members = MEMBERS;
    shared->ended_at = seed % 7 == 6 ? seed % STEPS : -1;
    came = run_in_parallel(MEMBERS, steps_of_member, shared);
    for (member = 0; member < came; member++) {
        if (came < MEMBERS || shared->ended_at >= 0) continue;
        right = right && shared->left[member] == STEPS && shared->numbers[(STEPS - 1) & 1][member] == STEPS;
    }
    free(shared);
    return right;
}

static void *caller(void *given)
{
    long right = 0;
    int work;
    for (work = 0; work < WORKS; work++) {
        right += done_by(work);
        if (work % 10 == 9) usleep(500); /* so that workers fall asleep, and are woken */
    }
    *(long *)given = right;
    return NULL;
}

int main(void)
{
    pthread_t threads[CALLERS];
    long right[CALLERS], all = 0;
    int i, status = 1;
    pid_t child;
    if (prepare_for_forks()) return 2;
    for (i = 0; i < CALLERS; i++)
        if (pthread_create(&threads[i], NULL, caller, &right[i])) return 2;
    for (i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        all += right[i];
    }
    child = fork();
    if (child == 0) _exit(done_by(0) ? 0 : 1); /* on threads of its own */
    if (child > 0) waitpid(child, &status, 0);
    printf("%ld of %d works, and one in a forked child: %s\n", all, CALLERS * WORKS, status ? "failed" : "done");
    return all != CALLERS * WORKS || status != 0;
}
