// Which instruction set the per-ISA kernels (*_isa.cpp, built once for each) are taken from.
#pragma once

// CMakeLists.txt defines MG_HAVE_<isa> for each one it builds; files compiled without those definitions assume all.
#if !defined(MG_HAVE_portable) && defined(__x86_64__)
#define MG_HAVE_avx2 1
#define MG_HAVE_avx512 1
#endif
#define MG_MULTI_ISA (MG_HAVE_avx2 && MG_HAVE_avx512)

namespace mg::cpu {

enum class Isa : int { Portable, Avx2, Avx512 };

// The best one that this machine has and this build contains; MINIGRAD_ISA=portable|avx2|avx512 can only lower it.
// Decided at the first call.
Isa isa();
Isa best_isa();  // ignoring the environment
const char* isa_name(Isa i);
// Instructions that some AVX-512 machines have: products of int8 and of bfloat16. Not used when MINIGRAD_ISA is set at all.
bool has_vnni();
bool has_bf16();

// Picks this machine's variant.
template <class T>
T* select_isa(T* avx512, T* avx2, T* portable) {
  return isa() == Isa::Avx512 ? avx512 : isa() == Isa::Avx2 ? avx2 : portable;
}

}  // namespace mg::cpu
