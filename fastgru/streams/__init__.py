"""Streams of single steps: through a GRU, through a model, and pools of many."""
