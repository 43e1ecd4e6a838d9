// The loops behind csrc/scalar.h: each line becomes a functor op_<name>, and each (functor, dtype) one contiguous
// kernel. Included by the pointwise_*_isa.cpp, which are built once per instruction set (see simd/vec.h); the rows they
// make are constant-initialised.
//
// float and double go through simd::Vec, integers through plain loops over scalar::Int, which the compiler vectorises.
#pragma once
#include "../scalar_math.h"
#include "../simd/vecmath_more.h"
#include "pointwise_table.h"

namespace mg::cpu::MG_ISA_NS {

// Everything of mg::scalar that is written for any T must find the Vec versions too: those come by argument-dependent
// lookup.
using namespace mg::scalar;
namespace simd = mg::simd::MG_ISA_NS;
using Result = PointwiseResult;
enum class Class { F, N, A, I };
enum class Kind { Plain, Divides, Where };

template <class T>
struct StorageOf {
  using type = T;
};
template <>
struct StorageOf<bool> {
  using type = uint8_t;
};  // a byte other than 0 and 1 must not be read as bool
template <class T>
using Storage = typename StorageOf<T>::type;

template <class S, class T>
struct Input {
  using type = S;
};  // S repeated for each operand

// --- float, double

template <class T>
MG_INL void put(T* out, simd::Vec<T> v) {
  v.store(out);
}
template <class T>
MG_INL void put(T* out, simd::Vec<T> v, int n) {
  v.store(out, n);
}
template <int B>
MG_INL void put(uint8_t* out, simd::Mask<B> m) {
  m.store(out);
}
template <int B>
MG_INL void put(uint8_t* out, simd::Mask<B> m, int n) {
  m.store(out, n);
}

template <class T>
struct VecSource {
  using V = simd::Vec<T>;
  const T* p;
  MG_INL V operator()(int64_t i) const { return V::load(p + i); }
  MG_INL V operator()(int64_t i, int n) const { return V::load(p + i, n); }
};
template <class T>
struct MaskSource {
  using M = simd::Mask<sizeof(T)>;
  const uint8_t* p;
  MG_INL M operator()(int64_t i) const { return M::load(p + i); }
  MG_INL M operator()(int64_t i, int n) const { return M::load(p + i, n); }
};

template <class Op, class T, class R, class... Source>
MG_INL int vec_loop(R* out, int64_t n, Source... in) {
  constexpr int W = simd::Vec<T>::size;
  int64_t i = 0;
  for (; i + W <= n; i += W) put(out + i, Op::template apply<simd::Vec<T>>(in(i)...));
  if (i < n) put(out + i, Op::template apply<simd::Vec<T>>(in(i, int(n - i))...), int(n - i));
  return 0;
}

// --- integers, bool

template <class T>
struct IntSource {
  const Storage<T>* p;
  MG_INL Int<T> operator()(int64_t i) const {
    if constexpr (std::is_same_v<T, bool>) return Int<T>(p[i] != 0);
    else return Int<T>(p[i]);
  }
};
struct BoolSource {
  const uint8_t* p;
  MG_INL bool operator()(int64_t i) const { return p[i] != 0; }
};
template <class T>
MG_INL Storage<T> stored(Int<T> x) {
  return Storage<T>(x.v);
}
MG_INL uint8_t stored(int x) { return uint8_t(x); }  // bool, or bool & bool

template <class Op, class T, class R, class... Source>
MG_INL int int_loop(R* out, int64_t n, Source... in) {
#pragma GCC ivdep  // out may be an input: each element is read before it is written
  for (int64_t i = 0; i < n; ++i) out[i] = stored(Op::template apply<Int<T>>(in(i)...));
  return 0;
}

template <class T>
MG_INL bool has_zero(const Storage<T>* p, int64_t n) {
  int zeros = 0;
  for (int64_t i = 0; i < n; ++i) zeros |= p[i] == 0;
  return zeros != 0;
}

// --- kernels and rows

template <class Op, int N, Result R, Kind K, class T>
int kernel(void* out_, const void* const* in, int64_t n) {
  using Out = std::conditional_t<R == Result::BOOL, uint8_t, Storage<T>>;
  Out* out = static_cast<Out*>(out_);
  const auto source = [&](int k) {
    if constexpr (std::is_floating_point_v<T>) return VecSource<T>{static_cast<const T*>(in[k])};
    else return IntSource<T>{static_cast<const Storage<T>*>(in[k])};
  };
  const auto mask = [&] {
    const uint8_t* p = static_cast<const uint8_t*>(in[0]);
    if constexpr (std::is_floating_point_v<T>) return MaskSource<T>{p};
    else return BoolSource{p};
  };
  const auto loop = [&](auto... sources) {
    if constexpr (std::is_floating_point_v<T>) return vec_loop<Op, T>(out, n, sources...);
    else return int_loop<Op, T>(out, n, sources...);
  };
  if constexpr (K == Kind::Divides && !std::is_floating_point_v<T>)
    if (has_zero<T>(static_cast<const Storage<T>*>(in[1]), n)) return 1;
  if constexpr (K == Kind::Where) return loop(mask(), source(1), source(2));
  else if constexpr (N == 1) return loop(source(0));
  else if constexpr (N == 2) return loop(source(0), source(1));
  else if constexpr (N == 3) return loop(source(0), source(1), source(2));
  else return loop(source(0), source(1), source(2), source(3));
}

template <class Op, int N, Class C, Result R, Kind K = Kind::Plain>
constexpr PointwiseKernel make_row(const char* name) {
  PointwiseKernel row = {name, N, R, K == Kind::Where, K == Kind::Divides, C == Class::F ? 4 : 1, {}};
  if constexpr (C != Class::I) {
    row.fn[int(DType::Float32)] = kernel<Op, N, R, K, float>;
    row.fn[int(DType::Float64)] = kernel<Op, N, R, K, double>;
  }
  if constexpr (C != Class::F) {
    row.fn[int(DType::UInt8)] = kernel<Op, N, R, K, uint8_t>;
    row.fn[int(DType::Int8)] = kernel<Op, N, R, K, int8_t>;
    row.fn[int(DType::Int16)] = kernel<Op, N, R, K, int16_t>;
    row.fn[int(DType::Int32)] = kernel<Op, N, R, K, int32_t>;
    row.fn[int(DType::Int64)] = kernel<Op, N, R, K, int64_t>;
  }
  if constexpr (C == Class::A || C == Class::I) row.fn[int(DType::Bool)] = kernel<Op, N, R, K, bool>;
  return row;
}

}  // namespace mg::cpu::MG_ISA_NS

// One functor per line; a source file defines MG_OP<n> as MG_FUNCTOR<n> for the arities it builds, then again as
// MG_ROW.
#define MG_FUNCTOR1(name, cls, res, a, ...)          \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_INL auto apply([[maybe_unused]] T a) { \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR2(name, cls, res, a, b, ...)                             \
  struct op_##name {                                                       \
    template <class T>                                                     \
    static MG_INL auto apply([[maybe_unused]] T a, [[maybe_unused]] T b) { \
      return __VA_ARGS__;                                                  \
    }                                                                      \
  };
#define MG_FUNCTOR3(name, cls, res, a, b, c, ...) \
  struct op_##name {                              \
    template <class T>                            \
    static MG_INL auto apply(T a, T b, T c) {     \
      return __VA_ARGS__;                         \
    }                                             \
  };
#define MG_FUNCTOR4(name, cls, res, a, b, c, d, ...) \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_INL auto apply(T a, T b, T c, T d) {   \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR_WHERE(name, cls, res, m, a, b, ...) \
  struct op_##name {                                   \
    template <class T, class M>                        \
    static MG_INL auto apply(M m, T a, T b) {          \
      return __VA_ARGS__;                              \
    }                                                  \
  };
