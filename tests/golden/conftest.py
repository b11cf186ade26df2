"""The golden tests and the script that made their fixtures share a module, `machine`."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("machine", Path(__file__).with_name("machine.py"))
machine = importlib.util.module_from_spec(_spec)
sys.modules["machine"] = machine
_spec.loader.exec_module(machine)
