#include "value.h"

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
