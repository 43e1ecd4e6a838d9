"""crash in ihfft, found by minigrad.testing.fuzz (seed 101, case 113939).

csrc/core/meta_copy.cpp:155:11: runtime error: signed integer overflow: 1 + 9223372036854775807 cannot be represented in type 'long int'
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'ihfft', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (0, 1))).clone())
    b = step('ihfft', lambda: m.fft.ihfft(a, 9223372036854775808))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
