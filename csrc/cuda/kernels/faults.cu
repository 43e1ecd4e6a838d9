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
      fail(ErrorKind::Index, fault.op->name, ": index ", fault.value, " is out of bounds for dimension with size ", fault.size,
           ". It was found on the device: the result of that call is not valid. Try MINIGRAD_CUDA_SYNC=1 to raise at the call.");
    default:
      fail(ErrorKind::Runtime, fault.op->name, ": a value is out of range: got ", fault.value, ", expected less than ", fault.size);
  }
}

}  // namespace mg::cuda
