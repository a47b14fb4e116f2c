"""The old name of ``fastgru.layers``: importing it says so."""

raise ImportError("fastgru.spec is now called fastgru.layers: write `from fastgru.layers import ...`")
