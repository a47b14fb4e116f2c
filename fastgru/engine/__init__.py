"""Arithmetic: packed weights, kernels for each instruction set, and the loops over steps, rows and threads.

It is given NumPy arrays and gives NumPy arrays; it knows no file, no framework and no model beyond a stack of GRU
layers. Every size is checked again here before a pointer is used.
"""
