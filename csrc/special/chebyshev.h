// Evaluation of the Chebyshev tables of coefficients.h. Everything in csrc/special is plain scalar double; float32
// calls it and rounds once. They are long, so they are kernels of their own (cpu/pointwise_special_isa.cpp) and not
// lines of scalar.h.
#pragma once
#include <cmath>
#include <cstddef>
#include <limits>

#include "coefficients.h"

namespace mg::special {

constexpr double kPi = 3.14159265358979323846, kInf = std::numeric_limits<double>::infinity(),
                 kNan = std::numeric_limits<double>::quiet_NaN();

// sum c_k T_k(t), |t| <= 1, by Clenshaw's recurrence.
template <size_t N>
MG_SPECIAL double chebyshev(const double (&c)[N], double t) {
  double b1 = 0, b2 = 0;
  for (size_t k = N - 1; k > 0; --k) {
    const double b = 2 * t * b1 - b2 + c[k];
    b2 = b1;
    b1 = b;
  }
  return t * b1 - b2 + c[0];
}

}  // namespace mg::special
