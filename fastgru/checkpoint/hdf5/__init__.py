"""HDF5 files as Keras writes them, read from their bytes: the arrays, and the text of attributes.

Owns the container, with every check that a look at it needs. What Keras keeps where is for ``checkpoint.keras``.
"""
