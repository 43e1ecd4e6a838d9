#include "value.h"

#include <cmath>
#include <limits>

namespace mg {

void OwnedValue::copy_payload() {
  const Value v = *this;
  switch (kind) {
    case Kind::Ints: {
      int64_t* copy = new int64_t[size_t(len)];
      std::copy_n(v.ints, len, copy);
      ints = copy;
      break;
    }
    case Kind::Tensors: {
      TensorImpl** copy = new TensorImpl*[size_t(len)];
      for (int k = 0; k < len; ++k) copy[k] = Tensor(v.tensors[k]).detach_ref();
      tensors = copy;
      break;
    }
    case Kind::Str: {
      const size_t n = std::strlen(v.str) + 1;
      str = static_cast<const char*>(std::memcpy(new char[n], v.str, n));
      break;
    }
    case Kind::Complex: z = new mg::complex128(*v.z); break;
    case Kind::Generator: kind = Kind::None; break;  // a past draw is not an attribute
    default: break;
  }
}

void Value::fail_not_real(mg::complex128 z) {
  fail(ErrorKind::Runtime, "value cannot be converted to a real number without dropping its imaginary part: got (", z.re,
       z.im < 0 ? "" : "+", z.im, "j)");
}

// The largest finite value of a floating dtype.
static double largest(DType dtype) {
  switch (to_real(dtype)) {
    case DType::Float16: return 65504;
    case DType::BFloat16: return 0x1.fep127;
    case DType::Float32: return double(std::numeric_limits<float>::max());
    default: return std::numeric_limits<double>::max();
  }
}

static bool fits(double v, DType dtype, bool halves) {
  if (dtype == DType::Bool) return true;
  if (is_inexact(dtype)) {
    if (!halves && itemsize(dtype) == 2) return true;
    return !std::isfinite(v) || std::abs(v) <= largest(dtype);
  }
  if (dtype == DType::UInt8) return v >= 0 && v <= 255;
  const double end = std::ldexp(1.0, int(8 * itemsize(dtype)) - 1);
  return v >= -end && (dtype == DType::Int64 ? v < end : v <= end - 1);  // NaN fits nowhere
}

static bool fits(int64_t v, DType dtype, bool halves) {
  if (is_inexact(dtype)) return fits(double(v), dtype, halves);
  if (dtype == DType::Bool || dtype == DType::Int64) return true;
  if (dtype == DType::UInt8) return v >= -255 && v <= 255;
  const int64_t end = int64_t(1) << (8 * itemsize(dtype) - 1);
  return v >= -end && v < end;
}

void check_fits(std::string_view op, const Value& number, DType dtype, bool halves) {
  bool good = true;
  if (number.kind == Kind::Float) good = fits(number.f, dtype, halves);
  else if (number.kind == Kind::Int) good = fits(number.i, dtype, halves);
  else if (number.kind == Kind::Complex) good = fits(number.z->re, dtype, halves) && fits(number.z->im, dtype, halves);
  MG_CHECK(number.kind != Kind::Complex || is_complex(dtype) || number.z->im == 0, Runtime, op, ": value cannot be converted to type ", dtype,
           " without overflow: it has the imaginary part ", number.z->im);
  if (good) [[likely]] return;
  const auto refuse = [&](auto shown) {
    fail(ErrorKind::Runtime, op, ": value cannot be converted to type ", dtype, " without overflow: got ", shown);
  };
  if (number.kind == Kind::Int) refuse(number.i);
  refuse(number.kind == Kind::Complex ? number.z->re : number.f);
}

void OwnedValue::release() {
  switch (kind) {
    case Kind::Tensor: Ref<TensorImpl>::adopt(t).reset(); break;
    case Kind::Ints: delete[] ints; break;
    case Kind::Tensors:
      for (int k = 0; k < len; ++k) Ref<TensorImpl>::adopt(tensors[k]).reset();
      delete[] tensors;
      break;
    case Kind::Str: delete[] str; break;
    case Kind::Complex: delete z; break;
    default: break;
  }
  kind = Kind::None;
}

}  // namespace mg
