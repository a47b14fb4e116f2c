"""Files that always say what their layers are and how these are connected, each in words of its own.

They come from fastgru itself, RTNeural and RNNoise; no framework is asked, and no ``layers=`` is taken.
"""
