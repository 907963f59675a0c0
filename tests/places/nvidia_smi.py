"""The program that stands in for nvidia-smi: answers, errors and exit codes as of drivers 470 to 610.

What it tells is in a JSON file beside it, written by tests/places/smi.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_BANNER = """\
Fri Nov 20 10:00:00 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 570.86.15              Driver Version: 570.86.15      {cuda:<24} |
|-----------------------------------------+------------------------+----------------------+
"""


def _answer(argv: list[str], content: dict[str, Any]) -> int:
    if content["error"] is not None:
        text, code = content["error"]
        print(text)
        return int(code)
    if not argv:
        print(_BANNER.format(cuda=content["cuda"]))
        return 0
    if argv == ["-L"]:
        print(content["listing"])
        return 0
    asked = {name: value for name, _, value in (arg.partition("=") for arg in argv)}
    if asked.get("--format") != "csv,noheader,nounits":
        print("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.")
        return 1
    if fields := asked.get("--query-compute-apps"):
        rows = [
            dict(zip(("pid", "gpu_uuid", "used_memory"), one, strict=True)) for one in content["processes"]
        ]
        return _print(rows, fields.split(","), known={"pid", "gpu_uuid", "used_memory"})
    if not content["gpus"]:
        print("No devices were found")
        return 6
    wanted = [one for one in asked.get("--id", "").split(",") if one]
    rows = [gpu for gpu in content["gpus"] if not wanted or gpu["uuid"] in wanted]
    known = {name for name, value in content["gpus"][0].items() if value is not None}
    return _print(rows, asked["--query-gpu"].split(","), known)


def _print(rows: list[dict[str, Any]], fields: list[str], known: set[str]) -> int:
    for field in fields:
        if field not in known:
            print(f'Field "{field}" is not a valid field to query.\n')
            return 2
    for row in rows:
        print(", ".join(str(row[field]) for field in fields))
    return 0


if __name__ == "__main__":
    told = json.loads(Path(__file__).with_name("nvidia-smi.json").read_text())
    if told["hangs"]:
        time.sleep(600)
    sys.exit(_answer(sys.argv[1:], told))
