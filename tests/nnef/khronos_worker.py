"""Asks the Khronos parser about texts: JSON lines in, one verdict per line out. It may abort the process."""

from __future__ import annotations

import json
import sys

import nnef

for line in sys.stdin:
    try:
        graph = nnef.parse_string(json.loads(line))
        answer = {"operations": [operation.name for operation in graph.operations]}
    except nnef.Error as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
