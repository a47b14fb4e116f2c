"""Sequences of unequal length: what is given, how it is grouped, and how a group runs."""
