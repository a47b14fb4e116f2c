"""Pickles read as data: the opcodes build plain values and inert stubs, and nothing is imported or called."""
