// One element from any dtype to any other, defined for every value (no undefined behaviour on NaN, infinity or
// overflow).
//
// To bool: nonzero (NaN is true). Float to integer truncates towards zero; what does not fit becomes the lowest
// int64/int32 and is then cut to the narrow type, which is what x86 (and so PyTorch on it) does. Integer to integer
// wraps.
#pragma once
#include <limits>
#include <type_traits>

#include "../core/dtype.h"

namespace mg::cpu {

template <class T>
constexpr bool is_low_precision = std::is_same_v<T, half> || std::is_same_v<T, bfloat16>;

template <class D, class S>
inline D convert(S s) {
  if constexpr (std::is_same_v<D, S>) {
    return s;
  } else if constexpr (is_low_precision<S>) {
    return convert<D>(float(s));
  } else if constexpr (is_low_precision<D>) {
    return D(float(s));
  } else if constexpr (std::is_same_v<D, bool>) {
    return s != S(0);
  } else if constexpr (std::is_floating_point_v<S> && std::is_integral_v<D>) {
    using Wide = std::conditional_t<sizeof(D) == 8, int64_t, int32_t>;
    constexpr S limit = sizeof(D) == 8 ? S(0x1p63) : S(0x1p31);
    const bool fits = s >= -limit && s < limit;
    return D(fits ? Wide(s) : std::numeric_limits<Wide>::min());
  } else {
    return static_cast<D>(s);
  }
}

}  // namespace mg::cpu
