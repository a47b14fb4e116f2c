"""How the extension modules are compiled; all else stands in pyproject.toml.

Kernels have one source, built as far as the compiler can: without vector types with FASTGRU_BUILD_SCALAR=1, without
threads with FASTGRU_BUILD_THREADS=0, for no levels but FASTGRU_BUILD_LEVELS, with FASTGRU_BUILD_FLAGS added.
"""

import os
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy
from Cython.Distutils.build_ext import build_ext
from setuptools import Extension, setup
from setuptools.errors import CompileError, LinkError

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
}
# GCC unrolls the loops over a tile's sums, and so keeps them in registers, only up to so many instructions; and it
# copies them by a slow `rep movs` where it takes the copy for a memcpy.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden", "-g0",
         "--param=max-completely-peeled-insns=2000", "-fno-tree-loop-distribute-patterns"]
SEPARATE = ["-ffp-contract=off"]  # of what has NumPy's bits: products and sums are rounded one by one
INLINE = ("CYTHON_INLINE", "__inline__ __attribute__((always_inline))")
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
        added = os.environ.get("FASTGRU_BUILD_FLAGS", "").split()
        flags = [*(flag for flag in FLAGS if self.compiles("int main(void) { return 0; }", [flag])), *added]
        separate = [flag for flag in SEPARATE if self.compiles("int main(void) { return 0; }", [flag])]
        threads = [] if os.environ.get("FASTGRU_BUILD_THREADS") == "0" else next(
            ([*wanted] for wanted, probe in THREADS.items() if self.compiles(probe, wanted, link=True)), [])
        vectors = os.environ.get("FASTGRU_BUILD_SCALAR") != "1" and self.compiles(
            "typedef float v __attribute__((vector_size(16))); int main(void) { v a = {0}; a = a * a; return 0; }", [])
        wanted = os.environ.get("FASTGRU_BUILD_LEVELS", " ".join(LEVELS)).split() if vectors else ["baseline"]
        for extension in list(self.extensions):
            processor, extra = LEVELS.get(level := extension.name.partition("kernels_")[2], ("1", []))
            if level:
                probe = f"#if !({processor})\n#error\n#endif\nint main(void) {{ return 0; }}"
                if level not in wanted or not self.compiles(probe, extra):
                    self.extensions.remove(extension)
                extension.define_macros = [INLINE] if vectors else [("FASTGRU_SCALAR", "1")]
            threaded = threads if extension.name.endswith((".plan", ".state", ".blas")) else []
            exact = separate if extension.name.endswith(".program") else []
            extension.extra_compile_args = [*flags, *exact, *extra, *threaded]
            extension.extra_link_args = [*added, *(flag for flag in threaded if flag == "-pthread")]
        self.cython_include_dirs.append(self.write_blas_int())
        super().build_extensions()

    def compiles(self, source, flags, link=False):
        with tempfile.TemporaryDirectory() as folder, open(os.dup(2)) as said, open(os.devnull, "w") as nowhere:
            Path(folder, "probe.c").write_text(source)
            os.dup2(nowhere.fileno(), 2)  # what the compiler says of a probe is for nobody
            try:
                objects = self.compiler.compile([f"{folder}/probe.c"], output_dir=folder, extra_postargs=[*flags])
                if link:
                    self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=flags)
                return True
            except (CompileError, LinkError):
                return False
            finally:
                os.dup2(said.fileno(), 2)

    def write_blas_int(self):
        """SciPy before 1.18 has no ``blas_int`` and takes int; later it says whether it was built with 64 bits."""
        header = Path(find_spec("scipy").origin).with_name("linalg") / "cython_blas.pxd"
        known = re.search(r"^\s*ctypedef .*\bblas_int$", header.read_text(), re.MULTILINE)
        (folder := Path(self.build_temp, "generated")).mkdir(parents=True, exist_ok=True)
        declared = "from scipy.linalg.cython_blas cimport" if known else "ctypedef int"
        (folder / "blas_int.pxi").write_text(f"{declared} blas_int\n")
        return str(folder)


MODULES = ["cpu", "pack", "plan", "affine", "program", "state", "blas", "single_threaded_blas",
           *map("kernels_{}".format, LEVELS)]
setup(
    cmdclass={"build_ext": BuildEngine},
    ext_modules=[Extension(f"fastgru.engine.{name}", [f"{ENGINE}/{name}.pyx"], depends=HEADERS,
                           include_dirs=[ENGINE, numpy.get_include()],
                           define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]) for name in MODULES],
)
