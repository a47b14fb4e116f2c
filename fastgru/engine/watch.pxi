# Long calls that a signal's handler can end. Part of plan.pyx.
#
# Python runs handlers in its main thread, between bytecodes: a call that computes for seconds would keep them waiting.
# The calling thread lets them run now and then. If one raises something the call is over, and all of its threads leave.

cdef extern from "Python.h":
    ctypedef struct PyObject:
        pass
    int PyErr_CheckSignals() noexcept
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **trace) noexcept
    void PyErr_Restore(PyObject *kind, PyObject *value, PyObject *trace) noexcept

cdef double BETWEEN_LOOKS = 0.05    # seconds


cdef bint look(Watch *watch) noexcept nogil:
    """Let handlers of signals run if it is time to; whether the call is over. For the calling thread.

    Another thread has a watch of its own, which follows that one.
    """
    cdef double now
    if watch == NULL or is_set(&watch.over):
        return watch != NULL
    if watch.leader != NULL:
        if is_set(&watch.leader.over):
            end(watch)
        return is_set(&watch.over)
    now = seconds_now()
    if watch.next == 0:
        watch.next = now + BETWEEN_LOOKS
    if now < watch.next:
        return False
    with gil:
        if PyErr_CheckSignals() < 0:
            catch(watch)
    watch.next = seconds_now() + BETWEEN_LOOKS
    return is_set(&watch.over)


cdef void catch(Watch *watch) noexcept:
    """End the call by what was just raised."""
    PyErr_Fetch(<PyObject **>&watch.kind, <PyObject **>&watch.value, <PyObject **>&watch.trace)
    end(watch)


cdef void end(Watch *watch) noexcept nogil:
    """Let nobody wait any more."""
    cdef int i
    set_flag(&watch.over)
    for i in range(watch.barrier_count):
        set_flag(&watch.barriers[i].over)


cdef int settle(Watch *watch) except -1:
    """Raise what ended a call, if anything did."""
    if not watch.over:
        return 0
    PyErr_Restore(<PyObject *>watch.kind, <PyObject *>watch.value, <PyObject *>watch.trace)
    return -1
