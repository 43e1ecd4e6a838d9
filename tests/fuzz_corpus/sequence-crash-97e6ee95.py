"""crash in sequence, found by minigrad.testing.fuzz (seed 103, case 11921).

csrc/cpu/index.cpp:38:65: runtime error: signed integer overflow: 8 * 4611686018427387904 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'sequence', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1], 'int64'), (0,))).clone())
    c = step('getitem', lambda: a[(slice(2, 0, 4611686018427387904),)])
    e = step('getitem', lambda: c[(m.zeros((0,), dtype=m.int64),)])


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
