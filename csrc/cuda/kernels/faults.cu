// The record of faults.h: one for all devices, in host memory that they can write.
#include "faults.h"

#include "../runtime/runtime.h"

namespace mg::cuda {
namespace {
Fault* record = nullptr;
}

FaultNote fault_note(const Op& op) {
  if (record == nullptr) {
    void* room = nullptr;
    MG_CUDA(cudaHostAlloc(&room, sizeof(Fault), cudaHostAllocDefault));
    static_cast<Fault*>(room)->code = kNoFault;
    record = static_cast<Fault*>(room);
  }
  return {record, &op};
}

void raise_fault() {
  if (record == nullptr || *static_cast<volatile int32_t*>(&record->code) == kNoFault) [[likely]]
    return;
  const Fault fault = *record;
  record->code = kNoFault;
  switch (fault.code) {
    case kZeroDivisionFault:
      fail(ErrorKind::Runtime, fault.op->name, ": ZeroDivisionError: an integer tensor was divided by zero. Try floating point operands.");
    case kIndexFault:
    case kElementFault:  // gather and scatter: PyTorch raises RuntimeError there
      fail(fault.code == kIndexFault ? ErrorKind::Index : ErrorKind::Runtime, fault.op->name.c_str() + (fault.op->name[0] == '_'), ": index ", fault.value,
           " is out of bounds for dimension with size ", fault.size,
           " (found on the device, some calls ago: its result is not valid). Try MINIGRAD_CUDA_SYNC=1, which raises in the call itself.");
    case kProbabilityFault:
      fail(ErrorKind::Runtime, fault.op->name, ": expected 0 <= p <= 1 at position ", fault.value);
    case kDeviationFault:
      fail(ErrorKind::Runtime, "normal: expects all elements of std >= 0.0, not so at position ", fault.value);
    case kDistributionFault:
      fail(ErrorKind::Runtime, fault.op->name, ": invalid distribution in row ", fault.value,
           ": a probability is `inf`, `nan` or negative, their sum is 0, or fewer than the samples are positive");
    default:
      fail(ErrorKind::Runtime, fault.op->name, ": a rate, count or probability is out of its range at position ", fault.value);
  }
}

}  // namespace mg::cuda
