"""crash in vander, found by minigrad.testing.fuzz (seed 101, case 586074).

csrc/core/tensor.cpp:106:11: runtime error: signed integer overflow: 3 * 4611686018427387903 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'vander', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([True], 'bool'), (3,))).clone())
    b = step('vander', lambda: m.vander(a, 4611686018427387904))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
