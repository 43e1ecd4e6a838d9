#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace mg::cpu {

const char* isa_name(Isa i) { return i == Isa::Avx512 ? "avx512" : i == Isa::Avx2 ? "avx2" : "portable"; }

Isa best_isa() {
  // The lists match the -m flags in CMakeLists.txt; __builtin_cpu_supports also checks that the operating system saves
  // the registers.
#if MG_HAVE_avx512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return Isa::Avx512;
#endif
#if MG_HAVE_avx2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return Isa::Avx2;
#endif
  return Isa::Portable;
}

static Isa choose() {
  const Isa best = best_isa();
  const char* wish = std::getenv("MINIGRAD_ISA");
  if (wish == nullptr) return best;
  if (std::strcmp(wish, "portable") == 0) return Isa::Portable;
#if MG_HAVE_avx2
  if (std::strcmp(wish, "avx2") == 0 && best >= Isa::Avx2) return Isa::Avx2;
#endif
  return best;
}

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

static bool extras() {
  static const bool wanted = isa() == Isa::Avx512 && std::getenv("MINIGRAD_ISA") == nullptr;
  return wanted;
}
#if defined(__x86_64__)
bool has_vnni() { return extras() && __builtin_cpu_supports("avx512vnni"); }
bool has_bf16() { return extras() && __builtin_cpu_supports("avx512bf16"); }
#else
bool has_vnni() { return false; }
bool has_bf16() { return false; }
#endif

}  // namespace mg::cpu
