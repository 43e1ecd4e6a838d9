// Machine code made while the program runs (minigrad/compiler/codegen): an object file is placed in memory and made
// executable.
//
// The loader knows just what such objects contain: ELF for x86-64, read-only sections, position-independent code, calls
// of the functions below. Anything else, a damaged file among it, is refused with the reason. It reads only inside of
// the bytes it is given.
//   row.<name>.<dtype>   the contiguous kernel of a line of csrc/scalar.h (pointwise_table.h)
//   stream_end           void stream_end(), after stores around the caches (stream.h)
//   scratch              void* scratch(int64_t bytes), aligned to 64, of the calling thread, until its next call
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace mg::cpu {

struct LoadedCode {
  std::map<std::string, void*> functions;  // what the object defines
  std::shared_ptr<void> memory;            // as long as this lives
};

/// False where no code can be loaded (another processor).
bool can_load_code();
LoadedCode load_code(std::string_view object);

}  // namespace mg::cpu
