// Rows whose source or destination is complex: the part of the conversion table (stage.h) that is built once, without
// special instruction sets. Real to complex sets the imaginary part to 0; complex to real drops it, and to bool asks
// whether either part is nonzero.
#include <cstring>
#include <type_traits>

#include "convert.h"
#include "stage.h"

namespace mg::cpu {

namespace {

template <class T>
constexpr bool kIsComplex = std::is_same_v<T, complex64> || std::is_same_v<T, complex128>;

struct Byte {  // bool storage, of which any nonzero value counts as true
  uint8_t v;
};

template <class D, class S>
D cast_element(S s) {
  if constexpr (std::is_same_v<S, Byte>) {
    return cast_element<D>(uint8_t(s.v != 0));
  } else if constexpr (kIsComplex<S> && kIsComplex<D>) {
    return {decltype(D::re)(s.re), decltype(D::re)(s.im)};
  } else if constexpr (kIsComplex<D>) {
    return {convert<decltype(D::re)>(s), 0};
  } else if constexpr (std::is_same_v<D, Byte>) {
    return {uint8_t(s.re != 0 || s.im != 0)};
  } else {
    return convert<D>(s.re);
  }
}

template <class D, class S>
void row(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t n) {
  if (std::is_same_v<D, S> && dst_stride == int64_t(sizeof(D)) && src_stride == int64_t(sizeof(S))) {
    if (dst != src) std::memcpy(dst, src, size_t(n) * sizeof(D));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    S s;
    std::memcpy(&s, src + i * src_stride, sizeof s);
    *reinterpret_cast<D*>(dst + i * dst_stride) = cast_element<D>(s);
  }
}

// F = row<C, T> (to complex) or row<T, C> (from it), for every T.
template <class C, bool to>
StageFn with(DType other) {
  const auto pick = []<class T>() -> StageFn {
    if constexpr (to) return row<C, T>;
    else return row<T, C>;
  };
  switch (other) {
    case DType::Bool:
      return pick.template operator()<Byte>();
    case DType::Complex64:
      return pick.template operator()<complex64>();
    case DType::Complex128:
      return pick.template operator()<complex128>();
    default:
      return dispatch(other, [&](auto tag) -> StageFn {
        if constexpr (std::is_same_v<decltype(tag), bool>) return nullptr;
        else return pick.template operator()<decltype(tag)>();
      });
  }
}

}  // namespace

StageFn complex_stage_fn(DType dst, DType src) {
  if (dst == DType::Complex64) return with<complex64, true>(src);
  if (dst == DType::Complex128) return with<complex128, true>(src);
  return src == DType::Complex64 ? with<complex64, false>(dst) : with<complex128, false>(dst);
}

}  // namespace mg::cpu
