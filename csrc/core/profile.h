// The profiler's recorder: an event per op call, backward node and named range, while a profile is on (minigrad/profiler).
//
// Costs nothing when off: a profile counts as a handler (handlers_alive in op.h), and call() and the engine ask here only when there are
// any. Events of all threads go to one list, in the order in which they end.
#pragma once
#include <string>
#include <vector>

#include "op.h"

namespace mg {

struct ProfileOptions {
  bool shapes = false, memory = false, stack = false;
};

enum class ProfileKind : uint8_t { Op, Backward, Range };

struct ProfileEvent {
  ProfileKind kind;
  std::string name;
  int64_t start, end;     // ns of the monotonic clock
  uint64_t thread;        // small numbers in the order of appearance
  uint64_t sequence = 0;  // of the node that a forward op recorded, or that a backward event ran; 0: none
  int64_t memory = 0;     // bytes allocated minus bytes freed between start and end, on the CPU
  int64_t device_memory = 0;                 // the same on all other devices together
  std::vector<std::vector<int64_t>> inputs;  // shapes of the tensor arguments
  std::vector<const char*> dtypes;           // theirs
  std::vector<int64_t> output;               // shape of the first result
  std::string stack;                         // lines of the Python stack, innermost first
};

void profile_start(const ProfileOptions& options);
std::vector<ProfileEvent> profile_stop();
bool profile_is_on();

/// Runs the op as a recorded event; false: no profile is on, nothing was done.
bool profile_call(const Op& op, const Value* args, Tensor* outs, Write mode);

/// Records its own lifetime.
class ProfileScope {
 public:
  ProfileScope(ProfileKind kind, std::string name, uint64_t sequence = 0);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;
  ProfileEvent& event() { return event_; }

 private:
  ProfileEvent event_;
  bool on_;
};

// Filled by the layers above and by the backend of a device.
struct ProfileHooks {
  uint64_t (*sequence_of)(const TensorImpl& t) = nullptr;
  std::string (*python_stack)() = nullptr;
  int64_t (*device_allocated)() = nullptr;  // bytes in live blocks of all devices; null: there are none
};
extern ProfileHooks profile_hooks;

}  // namespace mg
