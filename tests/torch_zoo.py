"""PyTorch modules around GRUs as people write them, each with an example of its inputs: ``ZOO``."""

from __future__ import annotations

import torch_zoo_control  # noqa: F401 - they fill it
import torch_zoo_operations  # noqa: F401
import torch_zoo_packed  # noqa: F401
import torch_zoo_sequences  # noqa: F401
import torch_zoo_speech  # noqa: F401
import torch_zoo_text  # noqa: F401
from torch_zoo_registry import ZOO, Entry

__all__ = ["ZOO", "Entry"]
