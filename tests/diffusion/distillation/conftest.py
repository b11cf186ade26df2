"""`oracles.py` is a file of its own, so that the samplers' tests can read it too."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("oracles", Path(__file__).with_name("oracles.py"))
oracles = importlib.util.module_from_spec(_spec)
sys.modules["oracles"] = oracles
_spec.loader.exec_module(oracles)
