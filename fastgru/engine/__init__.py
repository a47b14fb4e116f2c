"""Arithmetic: packed weights, kernels for each instruction set, and the loops over steps, rows and threads.

It is given NumPy arrays and gives NumPy arrays; it knows no file, no framework and no model beyond a stack of GRU
layers. Every size is checked again here before a pointer is used.
"""

from importlib.util import find_spec

if find_spec("fastgru.engine.cpu") is None:
    raise ImportError(
        "fastgru was imported from its source folder, where it is not built. Run Python from another folder, or build "
        'it here: pip install -e "."'
    )
