"""Hold OpenBLAS to one thread while some of our calls are inside it.

Our own threads each take rows; a BLAS that starts threads of its own inside them is slower by several times. The
number of threads is one setting for the whole process, so calls are counted: the first in lowers it, the last out
puts back what was there. ``enter`` and ``leave`` run no Python code and keep the GIL, so neither another thread nor a
Ctrl-C comes between their lines. A fork waits until nobody is inside.
"""

import ctypes
import os
import time

cdef enum:
    MOST = 8                        # BLAS libraries in one process; NumPy and SciPy bring one each

ctypedef int (*Ask)() noexcept
ctypedef void (*Set)(int) noexcept

cdef Ask asks[MOST]
cdef Set sets[MOST]
cdef int before[MOST]               # their numbers of threads when the first came in
cdef int libraries = -1             # -1: not looked for yet
cdef Py_ssize_t inside = 0
cdef bint forking = False

NAMES = [(f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
         for prefix in ("", "scipy_") for suffix in ("", "64_", "_64")]


def find():
    """Look for the OpenBLAS libraries of the process, once, for it takes 400 us; and let a fork pass first.

    threadpoolctl finds them; its version 3.8 lets only one thread of the process change them, so the libraries' own
    functions are called. Other BLAS libraries keep their threads; MKL by itself starts none inside a parallel region.
    """
    global libraries
    cdef int count = 0
    while forking:
        time.sleep(0.0002)
    if libraries >= 0:
        return
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(internal_api="openblas").lib_controllers[:MOST]:
        for ask, set_threads in NAMES:
            if hasattr(library.dynlib, ask) and hasattr(library.dynlib, set_threads):
                asks[count] = <Ask><size_t>ctypes.cast(getattr(library.dynlib, ask), ctypes.c_void_p).value
                sets[count] = <Set><size_t>ctypes.cast(getattr(library.dynlib, set_threads), ctypes.c_void_p).value
                count += 1
                break
    libraries = count


cpdef void enter() noexcept:
    """From here to ``leave`` OpenBLAS computes every call in the thread that made it. ``find`` comes first."""
    global inside
    cdef int i
    if inside == 0:
        for i in range(libraries):
            before[i] = asks[i]()
            sets[i](1)
    inside += 1


cpdef void leave() noexcept:
    global inside
    cdef int i
    inside -= 1
    if inside == 0:
        for i in range(libraries):
            sets[i](before[i])


def before_fork():
    """A thread inside BLAS may hold one of its locks, and the child would wait for it for ever: let all come out."""
    global forking
    forking = True
    while inside > 0:
        time.sleep(0.0002)


def after_fork():
    global forking
    forking = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork)
