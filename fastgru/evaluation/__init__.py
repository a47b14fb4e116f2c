"""What a model computes over many rows, beside what was expected, or beside the same model in other precisions.

It opens no file and prints nothing: that is for ``command``.
"""
