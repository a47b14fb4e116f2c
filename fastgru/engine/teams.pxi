# Who may have a team of threads. Part of plan.pyx.

cdef bint forked = False        # the threads of OpenMP are not in a forked child
cdef double alone_until = 0     # by the clock of `seconds_now`
cdef double STALLED = 50e-3     # seconds


cdef bint enter_team() noexcept nogil:
    """Whether the calling thread may have a team now; whoever may not computes alone.

    There is one team at a time in a process, as two would wait for each other's processors; and none soon after one in
    which a member had no processor or lost it to another process, as it will again.
    """
    if forked or seconds_now() < alone_until:
        return False
    return take_team()


cdef void leave_team(bint stalled) noexcept nogil:
    global alone_until
    if stalled:
        alone_until = seconds_now() + STALLED
    give_team()


def _mark_forked():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)
