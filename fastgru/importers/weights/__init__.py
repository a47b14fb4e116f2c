"""Weights by PyTorch's names: which modules a state dict or a live module holds, and the chain that is made of them.

The names say what there is; in which order it runs is said by a tree of PyTorch's own classes, or by a person.
"""
