// The kernels behind csrc/scalar.h on the device. Each line becomes a functor, and each functor two kernels per type it computes in:
//
//   dense    every operand is a number or walked in the output's order, element by element: kUnroll elements a thread, moved as words of
//            up to 16 bytes
//   strided  anything else: broadcast, permuted, stepped, of another dtype
//
// Types computed in: float (float16, bfloat16, float32), double, int64 (all integers and bool: what wraps is cut when stored, which gives
// what arithmetic in the narrow type gives) and complex128. Storage dtypes are looked at in the kernel, once for kUnroll elements: that
// is what keeps the number of kernels, and nvcc's time, in bounds. The lists are cut into pointwise_<arity>.cu; pointwise.cu drives.
#pragma once
#include "../../scalar_math.h"
#include "../kernel.h"
#include "faults.h"

namespace mg::cuda {

constexpr int kMaxInputs = 4;
enum class PointwiseResult : uint8_t { SAME, BOOL, REAL };
enum PointwiseClass : uint8_t { kFloat, kDouble, kInt, kComplex, kPointwiseClasses };

// An operand as a kernel sees it.
struct Source {
  const char* data;
  DType dtype;
  bool constant;     // `number` holds it, in the type computed in
  complex128 number;  // re: float or double; re as bits: int64
};

struct PointwiseCall {
  char* out;
  DType out_dtype, compute;
  bool dense;
  int64_t n;
  Source in[kMaxInputs];
  const LoopPlan* plan;  // of the strided form: output, inputs (constants have stride 0)
  FaultNote note;
};
using PointwiseRun = void (*)(const PointwiseCall&);

struct PointwiseRow {
  const char* name;
  uint8_t arity;
  PointwiseResult result;
  bool mask;     // operand 0 is bool (where)
  bool divides;  // integers must not be divided by zero
  bool has_dense;
  PointwiseRun run[kPointwiseClasses];  // null: not computed in this type
};

// Tables, each ended by a row without a name.
extern const PointwiseRow unary_float_rows[], unary_rows[], binary_float_rows[], binary_rows[], ternary_rows[], special_rows[], complex_rows[];

namespace pointwise {

template <class C>
using Number = std::conditional_t<std::is_same_v<C, int64_t>, scalar::Int<int64_t>, C>;

// --- loads and stores. A load outside of the type's own group (an int operand of a float op) goes through load_other.

#ifdef MINIGRAD_CUDASIM
#define MG_OUTLINED inline
#else
#define MG_OUTLINED static __device__ __noinline__
#endif

template <class C, class S>
MG_DEVICE C value_at(const char* p) {
  if constexpr (std::is_same_v<S, bool>) return C(*reinterpret_cast<const uint8_t*>(p) != 0);
  else return convert<C>(*reinterpret_cast<const S*>(p));
}

template <class C>
MG_OUTLINED C load_other(const char* p, DType d) {
  switch (d) {
    case DType::Float32: return value_at<C, float>(p);
    case DType::Float64: return value_at<C, double>(p);
    case DType::Float16: return value_at<C, __half>(p);
    case DType::BFloat16: return value_at<C, __nv_bfloat16>(p);
    case DType::Int64: return value_at<C, int64_t>(p);
    case DType::Int32: return value_at<C, int32_t>(p);
    case DType::Int16: return value_at<C, int16_t>(p);
    case DType::Int8: return value_at<C, int8_t>(p);
    case DType::UInt8: return value_at<C, uint8_t>(p);
    default: return value_at<C, bool>(p);
  }
}
template <class C>
MG_OUTLINED void store_other(char* p, DType d, C v) {
  switch (d) {
    case DType::Float32: *reinterpret_cast<float*>(p) = convert<float>(v); break;
    case DType::Float64: *reinterpret_cast<double*>(p) = convert<double>(v); break;
    case DType::Float16: *reinterpret_cast<__half*>(p) = convert<__half>(v); break;
    case DType::BFloat16: *reinterpret_cast<__nv_bfloat16*>(p) = convert<__nv_bfloat16>(v); break;
    case DType::Int64: *reinterpret_cast<int64_t*>(p) = convert<int64_t>(v); break;
    case DType::Int32: *reinterpret_cast<int32_t*>(p) = convert<int32_t>(v); break;
    case DType::Int16: *reinterpret_cast<int16_t*>(p) = convert<int16_t>(v); break;
    case DType::Int8: *reinterpret_cast<int8_t*>(p) = convert<int8_t>(v); break;
    case DType::UInt8: *reinterpret_cast<uint8_t*>(p) = convert<uint8_t>(v); break;
    case DType::Complex64: *reinterpret_cast<complex64*>(p) = convert<complex64>(v); break;
    case DType::Complex128: *reinterpret_cast<complex128*>(p) = convert<complex128>(v); break;
    default: *reinterpret_cast<bool*>(p) = convert<bool>(v);
  }
}
MG_DEVICE int64_t cut(int64_t v, DType d) {  // what a narrower integer keeps
  switch (d) {
    case DType::Int32: return int32_t(v);
    case DType::Int16: return int16_t(v);
    case DType::Int8: return int8_t(v);
    case DType::UInt8: return uint8_t(v);
    case DType::Bool: return v != 0;
    default: return v;
  }
}

template <class C>
MG_DEVICE C load(const char* p, DType d, DType compute) {
  if constexpr (std::is_same_v<C, complex128>) {
    if (d == DType::Complex64) return value_at<C, complex64>(p);
    if (d == DType::Complex128) return value_at<C, complex128>(p);
    return C{load_other<double>(p, d), 0};
  } else {
    if constexpr (!std::is_same_v<C, int64_t>)
      if (d == dtype_of<C>()) return value_at<C, C>(p);
    const C v = load_other<C>(p, d);
    if constexpr (std::is_same_v<C, int64_t>) return d == compute ? v : cut(v, compute);
    else return v;
  }
}
template <class R>
MG_DEVICE void store(char* p, DType d, DType compute, R v) {
  if constexpr (std::is_same_v<R, int>) {  // bool & bool
    store(p, d, compute, v != 0);
  } else if constexpr (std::is_same_v<R, bool>) {
    if (d == DType::Bool) *reinterpret_cast<bool*>(p) = v;
    else store_other<int64_t>(p, d, v);
  } else if constexpr (std::is_same_v<R, scalar::Int<int64_t>>) {
    store_other<int64_t>(p, d, d == compute ? v.v : cut(v.v, compute));
  } else {
    if constexpr (std::is_floating_point_v<R>)
      if (d == dtype_of<R>()) {
        *reinterpret_cast<R*>(p) = v;
        return;
      }
    if (compute == DType::Complex64) store_other<complex64>(p, d, convert<complex64>(v));
    else store_other<R>(p, d, v);
  }
}

// Words of `count` elements; the address is a multiple of the word's size.
template <class S, int count>
struct alignas(sizeof(S) * count > 16 ? 16 : sizeof(S) * count) Word {
  S at[count];
};
template <class S, int count, class C>
MG_DEVICE void load_word(const char* p, int64_t i, C (&v)[count]) {
  using Stored = std::conditional_t<std::is_same_v<S, bool>, uint8_t, S>;
  const auto word = reinterpret_cast<const Word<Stored, count>*>(p)[i];
  for (int k = 0; k < count; ++k) {
    if constexpr (std::is_same_v<S, bool>) v[k] = C(word.at[k] != 0);
    else v[k] = convert<C>(word.at[k]);
  }
}
template <int count, class C>
MG_DEVICE void load_words(const Source& s, int64_t i, C (&v)[count]) {
  if constexpr (std::is_same_v<C, double>) return load_word<double>(s.data, i, v);
  else if constexpr (std::is_same_v<C, float>) {
    if (s.dtype == DType::Float32) return load_word<float>(s.data, i, v);
    if (s.dtype == DType::Float16) return load_word<__half>(s.data, i, v);
    return load_word<__nv_bfloat16>(s.data, i, v);
  } else {
    switch (s.dtype) {
      case DType::Int64: return load_word<int64_t>(s.data, i, v);
      case DType::Int32: return load_word<int32_t>(s.data, i, v);
      case DType::Int16: return load_word<int16_t>(s.data, i, v);
      case DType::Int8: return load_word<int8_t>(s.data, i, v);
      case DType::UInt8: return load_word<uint8_t>(s.data, i, v);
      default: return load_word<bool>(s.data, i, v);
    }
  }
}
template <class S, int count, class C>
MG_DEVICE void store_word(char* p, int64_t i, const C (&v)[count]) {
  Word<S, count> word;
  for (int k = 0; k < count; ++k) word.at[k] = convert<S>(v[k]);
  reinterpret_cast<Word<S, count>*>(p)[i] = word;
}
template <int count, class R>
MG_DEVICE void store_words(char* p, DType d, int64_t i, const R (&v)[count]) {
  if constexpr (std::is_same_v<R, double>) store_word<double>(p, i, v);
  else if constexpr (std::is_same_v<R, bool>) store_word<bool>(p, i, v);
  else if constexpr (std::is_same_v<R, float>) {
    if (d == DType::Float32) store_word<float>(p, i, v);
    else if (d == DType::Float16) store_word<__half>(p, i, v);
    else store_word<__nv_bfloat16>(p, i, v);
  } else {
    switch (d) {
      case DType::Int64: return store_word<int64_t>(p, i, v);
      case DType::Int32: return store_word<int32_t>(p, i, v);
      case DType::Int16: return store_word<int16_t>(p, i, v);
      case DType::Int8: return store_word<int8_t>(p, i, v);
      case DType::UInt8: return store_word<uint8_t>(p, i, v);
      default: return store_word<bool>(p, i, v);
    }
  }
}

// --- one element

template <class C>
__device__ C constant_of(const Source& s) {
  if constexpr (std::is_same_v<C, complex128>) return s.number;
  else if constexpr (std::is_same_v<C, int64_t>) return __builtin_bit_cast(int64_t, s.number.re);
  else return C(s.number.re);
}

template <class Op, class C, int N, bool mask>
__device__ auto apply(const C (&x)[N]) {
  using T = Number<C>;
  if constexpr (mask) {
    bool first;
    if constexpr (std::is_same_v<C, complex128>) first = x[0].re != 0;
    else first = x[0] != C(0);
    return Op::template apply<T>(first, T(x[1]), T(x[2]));
  } else if constexpr (N == 1) return Op::template apply<T>(T(x[0]));
  else if constexpr (N == 2) return Op::template apply<T>(T(x[0]), T(x[1]));
  else if constexpr (N == 3) return Op::template apply<T>(T(x[0]), T(x[1]), T(x[2]));
  else return Op::template apply<T>(T(x[0]), T(x[1]), T(x[2]), T(x[3]));
}
template <class R>
MG_DEVICE auto plain(R r) {
  if constexpr (std::is_same_v<R, scalar::Int<int64_t>>) return r.v;
  else if constexpr (std::is_same_v<R, int>) return r != 0;  // bool & bool
  else return r;
}

// --- kernels

template <int N>
struct Sources {
  Source in[N];
};

template <class Op, class C, int N, bool mask, bool divides, int unroll>
__global__ void dense_kernel(char* out, DType out_dtype, Sources<N> sources, int64_t n, FaultNote note) {
  using R = decltype(plain(apply<Op, C, N, mask>({})));
  const int64_t words = n / unroll;
  MG_GRID_LOOP(w, words + n % unroll) {
    C x[N][unroll];
    R y[unroll];
    const bool whole = w < words;
    const int64_t at = whole ? w * unroll : words * unroll + (w - words);  // the rest of n goes one by one
    const int count = whole ? unroll : 1;
    for (int k = 0; k < N; ++k) {
      const Source& s = sources.in[k];
      if (s.constant) {
        for (int j = 0; j < unroll; ++j) x[k][j] = constant_of<C>(s);
      } else if (mask && k == 0) {
        for (int j = 0; j < unroll; ++j) x[k][j] = C(j < count && reinterpret_cast<const uint8_t*>(s.data)[at + j] != 0);
      } else if (whole) {
        load_words(s, w, x[k]);
      } else {
        for (int j = 0; j < unroll; ++j) x[k][j] = load<C>(s.data + at * itemsize(s.dtype), s.dtype, s.dtype);
      }
    }
    for (int j = 0; j < unroll; ++j) {
      C element[N];
      for (int k = 0; k < N; ++k) element[k] = x[k][j];
      if constexpr (divides && std::is_same_v<C, int64_t>)
        if (element[1] == 0) note_fault(note, kZeroDivisionFault, 0, 0);
      y[j] = plain(apply<Op, C, N, mask>(element));
    }
    if (whole) store_words(out, out_dtype, w, y);
    else store(out + at * itemsize(out_dtype), out_dtype, out_dtype, y[0]);
  }
}

template <class Op, class C, int N, bool mask, bool divides>
__global__ void strided_kernel(char* out, DType out_dtype, DType compute, Sources<N> sources, Offsets<N + 1> offsets, FaultNote note) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[N + 1];
    offsets.get(i, at);
    C x[N];
    for (int k = 0; k < N; ++k) {
      const Source& s = sources.in[k];
      x[k] = s.constant ? constant_of<C>(s) : load<C>(s.data + at[k + 1], s.dtype, mask && k == 0 ? s.dtype : compute);
    }
    if constexpr (divides && std::is_same_v<C, int64_t>)
      if (x[1] == 0) note_fault(note, kZeroDivisionFault, 0, 0);
    store(out + at[0], out_dtype, compute, apply<Op, C, N, mask>(x));
  }
}

// --- rows

template <class Op, class C, int N, bool mask, bool divides, int unroll>
void run(const PointwiseCall& call) {
  Sources<N> sources;
  for (int k = 0; k < N; ++k) sources.in[k] = call.in[k];
  if constexpr (unroll > 0) {
    if (call.dense) {
      return launch_items(dense_kernel<Op, C, N, mask, divides, unroll>, call.n / unroll + call.n % unroll, call.out, call.out_dtype, sources, call.n, call.note);
    }
  }
  with_offsets<N + 1>(*call.plan, [&](const Offsets<N + 1>& offsets, char* const* base) {
    for (int k = 0; k < N; ++k) sources.in[k].data = base[k + 1];
    launch_items(strided_kernel<Op, C, N, mask, divides>, offsets.count, base[0], call.out_dtype, call.compute, sources, offsets, call.note);
  });
}

enum class Class { F, N, A, I };
enum class Form { Plain, Divides, Where };

// Class F is dear: fewer elements a thread.
template <class Op, int N, Class C, PointwiseResult R, Form F = Form::Plain>
constexpr PointwiseRow make_row(const char* name) {
  constexpr bool mask = F == Form::Where, divides = F == Form::Divides;
  constexpr int unroll = C == Class::F || N == 4 || divides ? 4 : 8;
  PointwiseRow row = {name, N, R, mask, divides, true, {}};
  if constexpr (C != Class::I) {
    row.run[kFloat] = run<Op, float, N, mask, false, unroll>;
    row.run[kDouble] = run<Op, double, N, mask, false, unroll / 2>;
  }
  if constexpr (C != Class::F) row.run[kInt] = run<Op, int64_t, N, mask, divides, unroll>;
  return row;
}

}  // namespace pointwise
}  // namespace mg::cuda

#define MG_FUNCTOR1(name, cls, res, a, ...)          \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_HD auto apply([[maybe_unused]] T a) {  \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR2(name, cls, res, a, b, ...)                            \
  struct op_##name {                                                      \
    template <class T>                                                    \
    static MG_HD auto apply([[maybe_unused]] T a, [[maybe_unused]] T b) { \
      return __VA_ARGS__;                                                 \
    }                                                                     \
  };
#define MG_FUNCTOR3(name, cls, res, a, b, c, ...) \
  struct op_##name {                              \
    template <class T>                            \
    static MG_HD auto apply(T a, T b, T c) {      \
      return __VA_ARGS__;                         \
    }                                             \
  };
#define MG_FUNCTOR4(name, cls, res, a, b, c, d, ...) \
  struct op_##name {                                 \
    template <class T>                               \
    static MG_HD auto apply(T a, T b, T c, T d) {    \
      return __VA_ARGS__;                            \
    }                                                \
  };
#define MG_FUNCTOR_WHERE(name, cls, res, m, a, b, ...) \
  struct op_##name {                                   \
    template <class T>                                 \
    static MG_HD auto apply(bool m, T a, T b) {        \
      return __VA_ARGS__;                              \
    }                                                  \
  };
#define MG_ROW(arity, name, cls, res, form) make_row<op_##name, arity, Class::cls, PointwiseResult::res, Form::form>(#name),
// The rows of class F and the others stand in different files: nvcc's time.
#define MG_IF_FLOAT_F(...) __VA_ARGS__
#define MG_IF_FLOAT_N(...)
#define MG_IF_FLOAT_A(...)
#define MG_IF_FLOAT_I(...)
#define MG_IF_OTHER_F(...)
#define MG_IF_OTHER_N(...) __VA_ARGS__
#define MG_IF_OTHER_A(...) __VA_ARGS__
#define MG_IF_OTHER_I(...) __VA_ARGS__
