"""hang in tensor_split, found by minigrad.testing.fuzz (seed 102, case 11523).

no result after 20 s
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'tensor_split', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([2, 1, 2, -2, 2, 0, -1, 2, -1, 0], 'int8'), (5, 5))).clone())
    b = step('tensor_split', lambda: a.tensor_split(18446744073709551615))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
