#include "value.h"

namespace mg {

OwnedValue::OwnedValue(const Value& v) : Value(v) {
  switch (kind) {
    case Kind::Tensor: Tensor(v.t).detach_ref(); break;  // adds one reference
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
    case Kind::Generator: kind = Kind::None; break;  // a past draw is not an attribute
    default: break;
  }
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
    default: break;
  }
  kind = Kind::None;
}

}  // namespace mg
