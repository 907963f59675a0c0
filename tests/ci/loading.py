"""The scripts of the actions, which are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ACTIONS = Path(__file__).parent.parent.parent / ".github/actions"
COMMENT = ACTIONS / "llmperf-comment/comment.py"
MEASURE = ACTIONS / "llmperf/measure.py"
INSTALL = ACTIONS / "llmperf/install.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"action_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
