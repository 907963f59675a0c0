"""Programs of ours in processes of their own, on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


def local_process(module: str, *, is_silent: bool = False) -> subprocess.Popen[bytes]:
    """Run ``main`` of a module, which finds what this process finds.

    It has to end when its standard input does; ``is_silent``: what it says to a person is thrown away. Raises
    :class:`OSError`.
    """
    code = _CODE.format(path=[os.path.abspath(entry) for entry in sys.path], module=module)
    # In a group of its own, so that a Ctrl-C reaches this process alone, which then ends the others.
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if is_silent else None,
        process_group=0,
    )
