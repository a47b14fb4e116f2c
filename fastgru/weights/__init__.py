"""The matrices of a model's GRUs, wherever they are: in memory, packed, rounded, or in the file they came from."""
