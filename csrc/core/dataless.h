// Asking a tensor for its elements where it may have none (csrc/autograd/handler.h): those that are deferred are computed now.
#pragma once
#include "tensor.h"

namespace mg {

// Set by autograd: gives a deferred tensor its elements, and leaves others alone. `what` asks for them.
extern void (*provide_data)(const TensorImpl& t, const char* what);

// Like require_data(), for callers that can wait: nothing that they looked at before may be in use after it but the tensor itself.
inline void need_data(const TensorImpl& t, const char* what) {
  if (!t.dataless) [[likely]] return;
  provide_data(t, what);
  require_data(t, what);
}

}  // namespace mg
