// Asking a tensor for its elements where it may have none (csrc/autograd/handler.h): those that are deferred are computed now.
#pragma once
#include "tensor.h"

namespace mg {

// Set by autograd: gives a deferred tensor its elements, and leaves others alone. `what` asks for them.
extern void (*provide_data)(const TensorImpl& t, const char* what);

// Raises where there are none. Nothing that the caller looked at before may be in use after it but the tensor itself.
inline void need_data(const TensorImpl& t, const char* what) {
  if (!t.dataless) [[likely]] return;
  provide_data(t, what);
  if (t.dataless) fail_dataless(t, what);
}

}  // namespace mg
