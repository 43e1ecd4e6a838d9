// How pointwise kernels read and write elements: by the storage dtype, one at a time or in words of up to 16 bytes.
#pragma once
#include "pointwise.h"

namespace mg::cuda {
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

}  // namespace pointwise
}  // namespace mg::cuda
