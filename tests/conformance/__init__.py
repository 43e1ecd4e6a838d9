"""PyTorch's operator test database (op_db) as a conformance test of minigrad. See docs/testing.md, "Conformance".

Map: names.txt, missing.txt, known_wrong.txt, excluded.txt hold the lists (lists.py reads them); mapping.py finds minigrad's
counterpart of an entry, convert.py rebuilds its inputs, compare.py judges values, checks.py has the columns, isolate.py runs an op
in a forked child, run.py / report.py are the commands, test_op_db.py the pytest face.
"""

from __future__ import annotations

import os
import sys

# `python -m` puts the current directory first; an installed minigrad (with its compiled core) has precedence over a bare source tree.
_here = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
_local = [p for p in sys.path if os.path.realpath(p or ".") == _here]
sys.path[:] = [p for p in sys.path if p not in _local] + _local

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a forked child must find no thread pool
    os.environ.setdefault(_name, "1")
