// Mistakes in values that only the device sees: an index out of range, an integer divided by zero. Waiting for each op's check would stop
// the pipeline, so a kernel notes the first mistake in host memory that the device can write, goes on without touching memory, and the
// exception is raised when the host next waits for a value of the device (MINIGRAD_CUDA_SYNC=1: by the op itself).
//
//   const FaultNote note = fault_note(inv.op);               in host code, beside the launch
//   if (i >= size) note_fault(note, kIndexFault, i, size);   in the kernel
#pragma once
#include "../../core/op.h"
#include "../cuda_portable.h"

namespace mg::cuda {

enum FaultCode : int32_t { kNoFault, kIndexFault, kElementFault, kZeroDivisionFault, kProbabilityFault, kDeviationFault, kDistributionFault, kRateFault };

struct Fault {
  int32_t code;
  int32_t pad;
  const Op* op;         // of the host: the device only copies it
  int64_t value, size;  // the index and the size of its dim
};

// Where kernels of `op` note a fault.
struct FaultNote {
  Fault* record;
  const Op* op;
};
FaultNote fault_note(const Op& op);
void raise_fault();  // the noted one, if any; called after each wait

#ifdef __CUDACC__
#define MG_FAULT_FN static __host__ __device__ __noinline__
#else
#define MG_FAULT_FN inline
#endif
MG_FAULT_FN void note_fault(const FaultNote& note, int32_t code, int64_t value, int64_t size) {
  Fault& fault = *note.record;  // of several at once any may win: they come from one op
  if (*static_cast<volatile int32_t*>(&fault.code) != kNoFault) return;
  fault.op = note.op;
  fault.value = value;
  fault.size = size;
  *static_cast<volatile int32_t*>(&fault.code) = code;
}

}  // namespace mg::cuda
