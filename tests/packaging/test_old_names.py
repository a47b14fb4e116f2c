"""Names that earlier versions had say what they are called now."""

from __future__ import annotations

import importlib

import pytest


def test_the_old_name_of_the_layers_says_the_new_one() -> None:
    with pytest.raises(ImportError, match="now called fastgru"):
        importlib.import_module("fastgru.spec")
    with pytest.raises(ImportError, match="now called fastgru"):
        exec("from fastgru.spec import Dense")
