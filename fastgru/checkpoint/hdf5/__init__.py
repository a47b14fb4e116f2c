"""HDF5 files as Keras writes them, read a little at a time: the arrays, and the text of attributes.

Owns the container, with every check that a look at it needs. What Keras keeps where is for ``checkpoint.keras``.
"""
