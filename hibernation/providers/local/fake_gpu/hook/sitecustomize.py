"""Python imports this at its start when the folder is on ``PYTHONPATH``: puts the ctypes stub in place."""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path

if os.environ.get("DUMONT_FAKE_GPU_STUB") == "1":
    # Loaded by its folder: the machine's Python knows nothing of the package it lies in.
    package = types.ModuleType("dumont_fake_gpu")
    package.__path__ = [str(Path(__file__).resolve().parent.parent)]
    sys.modules[package.__name__] = package
    importlib.import_module("dumont_fake_gpu.ctypes_stub").install()
