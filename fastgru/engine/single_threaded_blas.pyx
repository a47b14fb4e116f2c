"""Hold OpenBLAS to one thread while some of our calls are inside it, and see beforehand that it has memory.

Our own threads each take rows; a BLAS that starts threads of its own inside them is slower by several times. The
number of threads is one setting for the whole process, so calls are counted: the first in lowers it, the last out
puts back what was there. ``enter`` and ``leave`` run no Python code and keep the GIL, so neither another thread nor a
Ctrl-C comes between their lines. A fork waits until nobody is inside.

OpenBLAS keeps a buffer for each thread that is inside, and asks for one until the system gives it, for ever or until it
ends the process. So they are made before a call goes in, if there is room for them; a MemoryError says that there is
not.
"""

import os
import time

cdef enum:
    MAX_LIBRARIES = 8                       # BLAS libraries in one process; NumPy and SciPy bring one each
    MAX_BUFFERS = 2048

ctypedef int (*Ask)() noexcept
ctypedef void (*Set)(int) noexcept
ctypedef void *(*Allocate)(int) noexcept
ctypedef void (*Release)(void *) noexcept

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__x86_64__) || defined(_M_X64)
    #define BUFFER_MIB 36 /* 32 are a buffer's; the others are for whoever else allocates at this moment */
    #else
    #define BUFFER_MIB 136 /* up to 128 on other processors */
    #endif
    static int has_room(size_t bytes)
    {
        void *volatile memory = malloc(bytes); /* volatile, or the compiler leaves both calls out */
        int has = memory != NULL;
        free(memory);
        return has;
    }
    """
    const size_t BUFFER_MIB
    bint has_room(size_t bytes)

cdef Ask asks[MAX_LIBRARIES]
cdef Set sets[MAX_LIBRARIES]
cdef Allocate allocates[MAX_LIBRARIES]      # NULL where a library does not give its allocator away
cdef Release releases[MAX_LIBRARIES]
cdef int before[MAX_LIBRARIES]              # their numbers of threads when the first came in
cdef Py_ssize_t buffers[MAX_LIBRARIES]      # that they are known to have
cdef int libraries = -1                     # -1: not looked for yet
cdef Py_ssize_t inside = 0
cdef Py_ssize_t using = 0                   # threads inside, each of which may have a buffer
cdef Py_ssize_t forking = 0                 # forks that wait or are being made; several threads may fork
cdef void *held[MAX_BUFFERS]

NAMES = [(f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
         for prefix in ("", "scipy_") for suffix in ("", "64_", "_64")]


def find():
    """Look for the OpenBLAS libraries of the process; SciPy's comes with the import of ``blas``, which calls this.

    threadpoolctl finds them, in 400 us; its version 3.8 lets only one thread of the process change them, so the
    libraries' own functions are called. Other BLAS libraries keep their threads; MKL by itself starts none inside a
    parallel region.
    """
    global libraries
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        for ask, set_threads in NAMES:
            if hasattr(library.dynlib, ask) and hasattr(library.dynlib, set_threads):
                add(library.dynlib, ask, set_threads)
                break
    libraries = max(libraries, 0)


cdef int add(library, str ask, str set_threads) except -1:
    global libraries
    cdef int i = max(libraries, 0)
    cdef Ask found = <Ask>address(library, ask)
    for known in range(i):
        if asks[<int>known] == found:
            return 0
    if i == MAX_LIBRARIES:
        return 0
    asks[i], sets[i] = found, <Set>address(library, set_threads)
    allocates[i], releases[i] = NULL, NULL
    if hasattr(library, "blas_memory_alloc") and hasattr(library, "blas_memory_free"):
        allocates[i] = <Allocate>address(library, "blas_memory_alloc")
        releases[i] = <Release>address(library, "blas_memory_free")
    buffers[i], before[i] = 0, asks[i]()
    libraries = i + 1
    return 0


cdef void *address(library, str name) except NULL:
    import ctypes

    return <void *><size_t>ctypes.cast(getattr(library, name), ctypes.c_void_p).value


cdef int reserve(int threads) except -1:
    """A buffer for each of ``threads`` more threads, in every library: made, and given back to it for them.

    None is made if there is no room for all: a library keeps what it has.
    """
    cdef Py_ssize_t total = using + threads, missing = 0, count
    cdef int i
    for i in range(libraries):
        if allocates[i] != NULL and buffers[i] < total:
            missing += total - max(buffers[i] - using, 0)       # those inside may have all that there are
    if missing == 0:
        return 0
    if total > MAX_BUFFERS or not has_room(missing * (BUFFER_MIB << 20)):
        raise no_room(total)
    for i in range(libraries):
        if allocates[i] == NULL or buffers[i] >= total:
            continue
        count = 0
        while count < total:
            held[count] = allocates[i](0)
            if held[count] == NULL:
                break
            count += 1
        buffers[i] = max(buffers[i], count)
        while count > 0:
            count -= 1
            releases[i](held[count])
        if buffers[i] < total:
            raise no_room(total)
    return 0


cdef no_room(Py_ssize_t threads):
    return MemoryError(f"BLAS needs {BUFFER_MIB} MiB for each of {threads} threads; there is too little memory or "
                       "address space")


def wait_for_fork():
    """Let a fork pass before a call goes in."""
    while forking > 0:
        time.sleep(0.0002)


cpdef int enter(int threads) except -1:
    """From here to ``leave`` OpenBLAS computes every call in the thread that made it, of which there are ``threads``.

    Raises a MemoryError, and nobody is inside, if it could not.
    """
    global inside, using
    cdef int i
    reserve(threads)
    if inside == 0:
        for i in range(libraries):
            before[i] = asks[i]()
            sets[i](1)
    inside += 1
    using += threads
    return 0


cpdef void leave(int threads) noexcept:
    global inside, using
    cdef int i
    inside -= 1
    using -= threads
    if inside == 0:
        for i in range(libraries):
            sets[i](before[i])


def product(x, y):
    """``x @ y`` by NumPy, with the threads that its BLAS has.

    Raises
    ------
    MemoryError
        BLAS has no room for its buffer, and would not come back.
    """
    global using
    if libraries < 0:
        find()
    reserve(1)
    using += 1
    try:
        return x @ y
    finally:
        using -= 1


def before_fork():
    """A thread inside BLAS may hold one of its locks, and the child would wait for it for ever: let all come out."""
    global forking
    forking += 1
    while inside > 0:
        time.sleep(0.0002)


def after_fork():
    global forking
    forking -= 1


def after_fork_in_child():
    """Whoever was inside, or waited to fork too, is not in the child."""
    global forking, inside, using
    cdef int i
    if inside > 0:
        for i in range(libraries):
            sets[i](before[i])
    forking = inside = using = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)
