"""PyTorch's files: the zip and the older format, ``torch.export``, and the tensors, modules and state dicts in them.

Everything is taken from pickles that are read as data and from bytes; torch is never imported.
"""
