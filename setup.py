"""How the extension modules are compiled; all else stands in pyproject.toml.

Kernels have one source, built as far as the compiler can: without vector types with FASTGRU_BUILD_SCALAR=1, without
threads with FASTGRU_BUILD_THREADS=0, for no levels but FASTGRU_BUILD_LEVELS, with FASTGRU_BUILD_FLAGS added. What is
left out is said here, and by ``fastgru config``.
"""

import os
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy
from Cython.Distutils.build_ext import build_ext
from setuptools import Extension, setup
from setuptools.errors import CompileError, LinkError, PlatformError

ENGINE = "fastgru/engine"
HEADERS = [str(path) for pattern in ("*.h", "*.pxi", "*.pxd") for path in Path(ENGINE).glob(pattern)]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"]
LEVELS = {  # kernel level: (the compiler's name of the processor, flags)
    "baseline": ("1", []),
    "avx2": ("defined(__x86_64__)", AVX2),
    "avx2_vnni": ("defined(__x86_64__)", [*AVX2, "-mavxvnni"]),
    "avx512": ("defined(__x86_64__)", AVX512),
    "avx512_vnni": ("defined(__x86_64__)", [*AVX512, "-mavx512vnni"]),
    "avx512_bf16": ("defined(__x86_64__)", [*AVX512, "-mavx512vnni", "-mavx512bf16"]),
    "amx": ("defined(__x86_64__)", [*AVX512, "-mavx512vnni", "-mamx-tile", "-mamx-int8", "-mamx-bf16"]),
    "neon": ("defined(__aarch64__)", []),
    "neon_dotprod": ("defined(__aarch64__)", ["-march=armv8.2-a+dotprod"]),
}
# GCC unrolls the loops over a tile's sums, and so keeps them in registers, only up to so many instructions; and it
# copies them by a slow `rep movs` where it takes the copy for a memcpy. Where functions begin in a cache line would be
# left to chance, and with it 40 ns of a step (of 170 with 8 units, Zen 4: what sets the floating-point mode).
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden", "-g0",
         "--param=max-completely-peeled-insns=2000", "-fno-tree-loop-distribute-patterns",
         "-falign-functions=64"]
SEPARATE = ["-ffp-contract=off"]  # of what has NumPy's bits: products and sums are rounded one by one
INLINE = ("CYTHON_INLINE", "__inline__ __attribute__((always_inline, unused))")
EMPTY = "int main(void) { return 0; }"
VECTORS = """#ifndef __GNUC__ /* as clang-cl, whose headers differ */
#error
#endif
typedef float v __attribute__((vector_size(16)));
int main(void) { v a = {0}; a = a * a; return 0; }"""
THREADS = {  # flags of the compiler, the first that work: what they must compile
    ("-pthread", "-DFASTGRU_THREADS=1"):
        "#include <pthread.h>\n#include <sched.h>\nint word;\nint main(void) { pthread_t thread = pthread_self();"
        "return sched_yield() + __atomic_exchange_n(&word, 0, __ATOMIC_SEQ_CST) + !pthread_equal(thread, thread); }",
    ("/openmp",): "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }",
}


class BuildEngine(build_ext):
    """Probes the compiler, then builds each module with the flags that it took."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel, self.cython_c_in_temp = os.cpu_count(), True  # generated C never lands in the tree
        self.cython_directives = {"language_level": "3", "boundscheck": False, "wraparound": False, "cdivision": True,
                                  "initializedcheck": False, "embedsignature": True}
        self.force = self.force or not self.inplace  # what is built depends on the environment, and files' ages do not

    def build_extensions(self):
        self.require_compiler()
        added = os.environ.get("FASTGRU_BUILD_FLAGS", "").split()
        self.strict = ["-Werror"] if self.compiles(EMPTY, ["-Werror"]) else []  # clang only warns of some unknown flags
        flags = [*(flag for flag in FLAGS if self.compiles(EMPTY, [*self.strict, flag])), *added]
        separate = [flag for flag in SEPARATE if self.compiles(EMPTY, [flag])]
        threads = [] if os.environ.get("FASTGRU_BUILD_THREADS") == "0" else next(
            ([*wanted] for wanted, probe in THREADS.items() if self.compiles(probe, wanted, link=True)), [])
        no_vectors = self.why_no_vectors()
        levels, left_out = ({"baseline": []}, {}) if no_vectors else self.choose_levels()
        self.extensions = [module for module in self.extensions if level_of(module) in {"", *levels}]
        for module in self.extensions:
            if level_of(module):
                module.define_macros = [("FASTGRU_SCALAR", "1")] if no_vectors else [INLINE]
            threaded = [] if level_of(module) else threads  # a kernel is one thread's
            exact = separate if module.name.endswith(".program") else []
            module.extra_compile_args = [*flags, *exact, *levels.get(level_of(module), []), *threaded]
            module.extra_link_args = [*added, *(flag for flag in threaded if flag == "-pthread")]
        self.cython_include_dirs.append(self.write_blas_int())
        *most, last = sorted(self.extensions, key=lambda module: module.name.rpartition(".")[2] == "cpu")
        self.extensions, self.refused = most, []
        super().build_extensions()
        for module in self.refused:
            self.leave_out(module, left_out)
        write_generated(self.build_temp, "built.pxi", f"NO_VECTORS = {no_vectors!r}\nLEFT_OUT = {left_out!r}\n")
        super().build_extension(last)
        self.extensions.append(last)

    def build_extension(self, module):
        try:
            super().build_extension(module)
        except (CompileError, LinkError):
            self.refused.append(module)

    def leave_out(self, module, left_out):
        """Go on without a level that the compiler refused; without any other module there is no package."""
        said = self.first_error(lambda: super(BuildEngine, self).build_extension(module))
        level = level_of(module)
        if level in ("", "baseline"):
            raise CompileError(f"the compiler refused {module.name}: {said}")
        left_out[level] = f"the compiler refused it: {said}"
        self.warn(f"kernel level {level} is left out, {left_out[level]}")
        self.extensions.remove(module)
        for folder in (self.build_lib, "."):  # where an earlier build may have put it
            Path(folder, self.get_ext_filename(module.name)).unlink(missing_ok=True)

    def choose_levels(self):
        """The levels to build, each with its flags; and why others of this processor are left out."""
        wanted = {"baseline", *os.environ.get("FASTGRU_BUILD_LEVELS", " ".join(LEVELS)).split()}
        if unknown := wanted - {*LEVELS}:
            raise PlatformError(f"FASTGRU_BUILD_LEVELS: got {' '.join(sorted(unknown))}, wanted of {' '.join(LEVELS)}")
        levels, left_out = {}, {}
        for level, described in LEVELS.items():
            processor, flags = self.for_its_half(*described)
            probe = f"#if !({processor})\n#error\n#endif\n{EMPTY}"
            if not self.compiles(probe, []):
                continue
            if level not in wanted:
                left_out[level] = "FASTGRU_BUILD_LEVELS does not name it"
            elif self.compiles(probe, [*self.strict, *flags]):
                levels[level] = flags
            else:
                left_out[level] = f"the compiler does not know {' '.join(flags)}"
                self.warn(f"kernel level {level} is left out, {left_out[level]}")
        return levels, left_out

    def for_its_half(self, processor, flags):
        """A level's processor and flags where one file is compiled for two processors, as for macOS' universal2.

        The other half gets the level too, compiled without its flags, and never chooses it.
        """
        halves = set(re.findall(r"-arch (\w+)", " ".join(getattr(self.compiler, "compiler_so", []))))
        if len(halves) < 2:
            return processor, flags
        half = "arm64" if "aarch64" in processor else "x86_64"
        return str(int(half in halves)), [word for flag in flags for word in (f"-Xarch_{half}", flag)]

    def why_no_vectors(self):
        if os.environ.get("FASTGRU_BUILD_SCALAR") == "1":
            return "FASTGRU_BUILD_SCALAR=1 when it was built"
        if self.compiles(VECTORS, []):
            return ""
        self.warn("this compiler has no vector types, so the kernels are plain C and several times slower; GCC and "
                  "clang have them, on Windows those of MinGW-w64")
        return "the compiler has none; GCC and clang do"

    def require_compiler(self):
        """Where nothing can be compiled, end in one line that says what is missing."""
        if said := self.first_error(lambda: self.compile(EMPTY, link=True)):
            raise PlatformError(f"fastgru needs a C compiler and found none that works ({said}): install GCC or clang "
                                "(Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; macOS: "
                                "xcode-select --install), or set CC to yours")
        if self.first_error(lambda: self.compile(f"#include <Python.h>\n{EMPTY}")):
            raise PlatformError("fastgru needs the C headers of Python and found no Python.h: install them (Debian, "
                                "Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)")

    def compiles(self, source, flags, link=False):
        return not self.first_error(lambda: self.compile(source, flags, link))

    def compile(self, source, flags=(), link=False):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "probe.c").write_text(source)
            objects = self.compiler.compile([f"{folder}/probe.c"], output_dir=folder, extra_postargs=[*flags])
            if link:
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=[*flags])

    def first_error(self, attempt):
        """What the compiler says first against what is attempted, which is not shown; "" where that succeeds."""
        with tempfile.TemporaryFile("w+", errors="replace") as said, open(os.dup(2)) as shown:
            os.dup2(said.fileno(), 2)
            try:
                attempt()
                return ""
            except (CompileError, LinkError, OSError) as error:
                said.seek(0)
                return next((line.strip() for line in said if "error" in line), str(error))
            finally:
                os.dup2(shown.fileno(), 2)

    def write_blas_int(self):
        """SciPy before 1.18 has no ``blas_int`` and takes int; later it says whether it was built with 64 bits."""
        header = Path(find_spec("scipy").origin).with_name("linalg") / "cython_blas.pxd"
        known = re.search(r"^\s*ctypedef .*\bblas_int$", header.read_text(), re.MULTILINE)
        declared = "from scipy.linalg.cython_blas cimport" if known else "ctypedef int"
        return write_generated(self.build_temp, "blas_int.pxi", f"{declared} blas_int\n")


def level_of(module):
    """The kernel level that a module is, or ""."""
    return module.name.partition("kernels_")[2]


def write_generated(build_temp, name, text):
    """Write a file for Cython to include; returns its folder."""
    (folder := Path(build_temp, "generated")).mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return str(folder)


MODULES = ["cpu", "pack", "plan", "affine", "strided", "program", "state", "blas", "python_gates",
           "single_threaded_blas", *map("kernels_{}".format, LEVELS)]
setup(
    cmdclass={"build_ext": BuildEngine},
    ext_modules=[Extension(f"fastgru.engine.{name}", [f"{ENGINE}/{name}.pyx"], depends=HEADERS,
                           include_dirs=[ENGINE, numpy.get_include()],
                           define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]) for name in MODULES],
)
