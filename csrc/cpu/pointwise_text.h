// Lines of csrc/scalar.h as text; the list ends with a row without a name.
#pragma once

namespace mg::cpu {

struct PointwiseText {
  const char* name = nullptr;
  const char* parameters = nullptr;  // "x,y"
  const char* kind = nullptr;        // F N A I
  const char* result = nullptr;      // SAME BOOL
  const char* expression = nullptr;
  bool divides = false;  // an integer 0 as second operand is an error
};
extern const PointwiseText pointwise_text[];

}  // namespace mg::cpu
