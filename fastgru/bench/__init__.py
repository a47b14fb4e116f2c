"""fastgru beside other engines: one GRU or a whole model, outputs checked before any timing, engines taken in turn.

``cases`` says what is run, ``peers`` holds one adapter an engine, ``measure`` checks and times in a process of its own
that ``runner`` starts, ``results`` and ``markdown`` say what came of it. Nothing here is imported with the package, and
no framework outside that process.
"""
