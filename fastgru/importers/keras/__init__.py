"""Keras's models, from files of every version and live: configurations are data, and class names are only compared.

``model`` is the way in. Each layer becomes one of this package's, with its weights and the mask that comes with it.
"""
