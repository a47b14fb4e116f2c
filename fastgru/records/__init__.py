"""Immutable records of named fields and sealed arrays, which descriptions and operations are made of."""
