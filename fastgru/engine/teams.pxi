# The threads of a call, and who may have a team of them. Part of plan.pyx, so that the process has them once.

cdef extern from "workers.h" nogil:
    bint take_team()
    void give_team()
    int run_in_parallel(int threads, Work work, void *what)
    int prepare_for_forks()

cdef double alone_until = 0     # by the clock of `seconds_now`; whoever has the team reads and writes it
cdef double STALLED = 50e-3     # seconds


if prepare_for_forks():
    raise MemoryError("the handler of forks could not be registered")


cdef int in_parallel(int threads, Work work, void *what) noexcept nogil:
    """Let ``threads`` threads do a work together, or as many as the system gives; returns how many these were."""
    return run_in_parallel(threads, work, what)


cdef int check_came(int came, int wanted) except -1:
    if came < wanted and THREADS != "none":
        from fastgru.threads import warn_of_few

        warn_of_few(came, wanted)
    return 0


cdef bint enter_team() noexcept nogil:
    """Whether the calling thread may have a team now; whoever may not computes alone.

    There is one team at a time in a process, as two would wait for each other's processors; and none soon after one in
    which a member had no processor or lost it to another process, as it will again.
    """
    if not take_team():
        return False
    if seconds_now() < alone_until:
        give_team()
        return False
    return True


cdef void leave_team(bint stalled) noexcept nogil:
    global alone_until
    if stalled:
        alone_until = seconds_now() + STALLED
    give_team()
