// Which instruction set the per-ISA kernels (*_isa.cpp, built once for each) are taken from.
#pragma once
#include <type_traits>

// CMakeLists.txt defines MG_HAVE_<isa> for each one it builds; files compiled without those definitions assume all.
#if !defined(MG_HAVE_portable) && defined(__x86_64__)
#define MG_HAVE_avx2 1
#define MG_HAVE_avx512 1
#endif

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

// This machine's variant of an object that every instruction set's namespace has: MG_PICK(softmax_table). What is not built is null here, and
// isa() never says so.
#if MG_HAVE_avx512
#define MG_IF_AVX512(object) (&object)
#else
#define MG_IF_AVX512(object) nullptr
#endif
#if MG_HAVE_avx2
#define MG_IF_AVX2(object) (&object)
#else
#define MG_IF_AVX2(object) nullptr
#endif
#define MG_PICK(name) \
  (*::mg::cpu::select_isa<std::remove_reference_t<decltype((portable::name))>>(MG_IF_AVX512(avx512::name), MG_IF_AVX2(avx2::name), &portable::name))

template <class T>
T* select_isa(T* avx512, T* avx2, T* portable) {
  return isa() == Isa::Avx512 ? avx512 : isa() == Isa::Avx2 ? avx2 : portable;
}

}  // namespace mg::cpu
