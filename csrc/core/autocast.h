// Autocast: inside its regions some ops run in a lower precision, some in float32, by a table that Python fills (minigrad/amp).
//
// Costs nothing outside: a region counts as a handler (handlers_alive in op.h), and call() asks here only when there are any. The op is
// called again with cast arguments and with autocast off, so that what it is made of is not cast a second time. Casts are ops that
// autograd records; the low-precision copies of leaf parameters are kept until the outermost region of the thread ends.
#pragma once
#include "op.h"

namespace mg {

enum class CastPolicy : uint8_t { None, Lower, Float32, Promote };

void set_autocast_policy(DeviceType device, const Op& op, CastPolicy policy);

// State of this thread.
bool autocast_is_on();  // for any device
bool autocast_enabled(DeviceType device);
void set_autocast_enabled(DeviceType device, bool enabled);
DType autocast_dtype(DeviceType device);
void set_autocast_dtype(DeviceType device, DType dtype);
bool autocast_cache_enabled();
void set_autocast_cache_enabled(bool enabled);
void clear_autocast_cache();
int autocast_nesting(int change);  // regions entered and not left; returns the new count
unsigned autocast_suspend();       // every device off, to be given back to autocast_resume
void autocast_resume(unsigned before);
struct AutocastSuspended {  // for a scope
  unsigned before = autocast_suspend();
  ~AutocastSuspended() { autocast_resume(before); }
};

// `t` as an op of this policy takes it: itself when it is not a floating tensor of an enabled device, or double.
Tensor autocast_argument(const Tensor& t, DType to);

// Runs the op by its policy if there is one for it here; false: nothing was done.
bool autocast_call(const Op& op, const Value* args, Tensor* outs);

}  // namespace mg
