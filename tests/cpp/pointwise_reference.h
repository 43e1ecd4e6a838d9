// Scalar double arithmetic for every line of csrc/scalar.h: what the SIMD kernels are tested against.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../csrc/cpu/pointwise_table.h"
#include "../../csrc/scalar_math.h"
#include "check.h"

using namespace mg;
using namespace mg::cpu;
using namespace mg::scalar;

// Inside mg::scalar, so that exp(double) means the overload there and not ::exp.
namespace mg::scalar::reference_ops {
#define F1(name, cls, res, a, ...)            \
  struct op_##name {                          \
    template <class T>                        \
    static auto apply([[maybe_unused]] T a) { \
      return __VA_ARGS__;                     \
    }                                         \
  };
#define F2(name, cls, res, a, b, ...)                               \
  struct op_##name {                                                \
    template <class T>                                              \
    static auto apply([[maybe_unused]] T a, [[maybe_unused]] T b) { \
      return __VA_ARGS__;                                           \
    }                                                               \
  };
#define F3(name, cls, res, a, b, c, ...) \
  struct op_##name {                     \
    template <class T>                   \
    static auto apply(T a, T b, T c) {   \
      return __VA_ARGS__;                \
    }                                    \
  };
#define F4(name, cls, res, a, b, c, d, ...) \
  struct op_##name {                        \
    template <class T>                      \
    static auto apply(T a, T b, T c, T d) { \
      return __VA_ARGS__;                   \
    }                                       \
  };
#define FW(name, cls, res, m, a, b, ...) \
  struct op_##name {                     \
    template <class T>                   \
    static auto apply(T m0, T a, T b) {  \
      const bool m = m0 != T(0);         \
      return __VA_ARGS__;                \
    }                                    \
  };
#define MG_OP1 F1
#define MG_OP2 F2
#define MG_DIV2 F2
#define MG_OP3 F3
#define MG_OP4 F4
#define MG_WHERE FW
#include "../../csrc/scalar.h"
}  // namespace mg::scalar::reference_ops

namespace {

using namespace mg::scalar::reference_ops;

struct Reference {
  const char* name;
  char cls;
  double (*real)(const double* x);            // classes F, N, A
  int64_t (*whole[kDTypes])(const int64_t*);  // classes N, A, I
};
template <class R>
double to_double(R r) {
  return double(r);
}
template <class R>
int64_t to_int(Int<R> r) {
  return int64_t(r.v);
}
int64_t to_int(int r) { return r; }
template <class Op, int N, class T>
auto apply_to(const T* x) {
  if constexpr (N == 1) return Op::apply(x[0]);
  else if constexpr (N == 2) return Op::apply(x[0], x[1]);
  else if constexpr (N == 3) return Op::apply(x[0], x[1], x[2]);
  else return Op::apply(x[0], x[1], x[2], x[3]);
}
template <class Op, int N>
double real_reference(const double* x) {
  return to_double(apply_to<Op, N>(x));
}
template <class Op, int N, class T>
int64_t int_reference(const int64_t* x) {
  Int<T> v[4] = {T(0), T(0), T(0), T(0)};
  for (int k = 0; k < N; ++k) v[k] = Int<T>(T(x[k]));
  return to_int(apply_to<Op, N>(v));
}
template <class Op, int N, char C>
Reference reference(const char* name) {
  Reference r{name, C, nullptr, {}};
  if constexpr (C != 'I') r.real = real_reference<Op, N>;
  if constexpr (C != 'F') {
    r.whole[int(DType::UInt8)] = int_reference<Op, N, uint8_t>;
    r.whole[int(DType::Int8)] = int_reference<Op, N, int8_t>;
    r.whole[int(DType::Int16)] = int_reference<Op, N, int16_t>;
    r.whole[int(DType::Int32)] = int_reference<Op, N, int32_t>;
    r.whole[int(DType::Int64)] = int_reference<Op, N, int64_t>;
  }
  if constexpr (C == 'A' || C == 'I') r.whole[int(DType::Bool)] = int_reference<Op, N, bool>;
  return r;
}
const Reference references[] = {
#define MG_OP1(name, cls, ...) reference<op_##name, 1, *#cls>(#name),
#define MG_OP2(name, cls, ...) reference<op_##name, 2, *#cls>(#name),
#define MG_DIV2(name, cls, ...) reference<op_##name, 2, *#cls>(#name),
#define MG_OP3(name, cls, ...) reference<op_##name, 3, *#cls>(#name),
#define MG_OP4(name, cls, ...) reference<op_##name, 4, *#cls>(#name),
#define MG_WHERE(name, cls, ...) reference<op_##name, 3, *#cls>(#name),
#include "../../csrc/scalar.h"
};

struct Rng {  // splitmix64
  uint64_t s = 42;
  uint64_t next() {
    uint64_t z = (s += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return double(next() >> 11) * 0x1p-53; }
};

const PointwiseKernel* find_in(Isa isa, const char* name) {
  const PointwiseTables t = pointwise_tables(isa);
  for (const PointwiseKernel* row : {t.unary, t.binary, t.ternary})
    for (; row->name; ++row)
      if (!std::strcmp(row->name, name)) return row;
  return nullptr;
}

// Distance in units of the last place of T at the exact value. Both NaN, or the same infinity, is 0.
template <class T, class R>
double ulps(T got, R want) {
  if (std::isnan(got) || std::isnan(want)) return std::isnan(got) && std::isnan(want) ? 0 : 1e30;
  if (std::isinf(got) || std::isinf(T(want))) {
    if (got == T(want)) return 0;
    const T largest = std::numeric_limits<T>::max();  // infinity counts as the number after the largest
    if (std::isinf(got)) got = std::copysign(largest, got);
    if (std::isinf(T(want))) want = std::copysign(R(largest), want);
    if (got == T(want)) return 1;
  }
  int e;
  std::frexp(want, &e);
  e = std::max(e, std::numeric_limits<T>::min_exponent);
  return double(std::fabs(R(got) - want) / std::ldexp(R(1), e - std::numeric_limits<T>::digits));
}

}  // namespace
