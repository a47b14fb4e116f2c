"""PyTorch's modules, files and weights as graphs."""
