// target (reduce)= value for one element; shared by the scatter kernels. NaN wins in Max and Min, as in PyTorch's amax.
#pragma once
#include "../core/error.h"
#include "complex_math.h"
#include "convert.h"
#include "slabs.h"

namespace mg::cpu {

template <Reduce reduce, class T>
inline void reduce_into(T& target, T value, [[maybe_unused]] T factor = T(1)) {
  if constexpr (reduce == Reduce::Assign) {
    target = value;
  } else if constexpr (std::is_same_v<T, bool>) {
    target = (reduce == Reduce::Add || reduce == Reduce::Max) ? (target || value) : (target && value);
  } else if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;  // wraps instead of overflowing
    if constexpr (reduce == Reduce::Add)
      target = T(U(uint64_t(target) + uint64_t(value) * uint64_t(factor)));
    else if constexpr (reduce == Reduce::Mul)
      target = T(U(uint64_t(target) * uint64_t(value)));
    else if constexpr (reduce == Reduce::Max)
      target = std::max(target, value);
    else
      target = std::min(target, value);
  } else {
    if constexpr (reduce == Reduce::Add)
      target = T(target + value * factor);
    else if constexpr (reduce == Reduce::Mul)
      target = T(target * value);
    else if constexpr (reduce == Reduce::Max)
      target = (value > target || value != value) ? value : target;
    else
      target = (value < target || value != value) ? value : target;
  }
}

// f.operator()<T, reduce>(); Assign moves bits, so it is instantiated by width only.
template <class F>
void dispatch_reduce(DType dtype, Reduce reduce, F&& f) {
  if (reduce == Reduce::Assign) {
    switch (itemsize(dtype)) {
      case 1:
        return f.template operator()<uint8_t, Reduce::Assign>();
      case 2:
        return f.template operator()<uint16_t, Reduce::Assign>();
      case 4:
        return f.template operator()<uint32_t, Reduce::Assign>();
      case 16:
        return f.template operator()<complex128, Reduce::Assign>();
      default:
        return f.template operator()<uint64_t, Reduce::Assign>();
    }
  }
  if (is_complex(dtype))
    return dispatch_complex(dtype, [&](auto tag) {
      if (reduce == Reduce::Add) return f.template operator()<decltype(tag), Reduce::Add>();
      MG_CHECK(reduce == Reduce::Mul, NotImplemented, "scatter: complex numbers have no order: expected sum or prod");
      return f.template operator()<decltype(tag), Reduce::Mul>();
    });
  dispatch(dtype, [&](auto tag) {
    using T = decltype(tag);
    switch (reduce) {
      case Reduce::Add:
        return f.template operator()<T, Reduce::Add>();
      case Reduce::Mul:
        return f.template operator()<T, Reduce::Mul>();
      case Reduce::Max:
        return f.template operator()<T, Reduce::Max>();
      default:
        return f.template operator()<T, Reduce::Min>();
    }
  });
}

}  // namespace mg::cpu
