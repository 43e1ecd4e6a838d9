"""crash in sequence, found by minigrad.testing.fuzz (seed 6, case 6019).

status 256: Traceback (most recent call last):
  File "minigrad/testing/fuzz/worker.py", line 184, in isolated
    result = work(lambda name: phase.__setitem__(0, PHASES.index(name)))
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "minigrad/testin
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'sequence', False


def program(m, step):
    b = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), ())).clone().requires_grad_())
    c = step('clone', lambda: b.clone())
    e = step('as_strided', lambda: c.as_strided((0, 0), (1, -1)))
    f = step('unfold', lambda: e.unfold(0, 0, 1))
    g = step('setitem', lambda: c.__setitem__((), True))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
