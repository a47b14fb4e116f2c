"""The matrices of a model's layers, wherever they are: in memory, packed, rounded, or in the file they came from."""
