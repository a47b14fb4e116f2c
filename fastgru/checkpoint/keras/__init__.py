"""Keras's files as Keras lays them out: whole HDF5 files, the zip of Keras 3, and weights that are split over several.

A configuration is parsed and handed on; what a layer is, is for the importers.
"""
