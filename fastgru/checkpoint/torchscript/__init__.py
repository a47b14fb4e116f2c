"""TorchScript's files: the tensors of the modules, and the code, which is parsed to a tree and never run."""
