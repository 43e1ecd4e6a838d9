// LAPACK and BLAS of the scipy-openblas32 wheel, opened at the first use, one table of routines per element type.
//
// Who may use it: the linalg_*.cpp kernels. The wheel is found by Python (minigrad/_lapack.py), which csrc/python
// reaches through `lapack_loader`, so that nothing here knows Python and importing minigrad opens nothing. Inside the
// library runs one thread; kernels spread the matrices of a batch over our pool, so results do not depend on the thread
// count. Matrices are column-major, sizes are int (the wheel's LP64 interface), complex elements std::complex.
// Read next: linalg_batch.h (batches in any layout to column-major and back).
#pragma once
#include <complex>
#include <cstddef>
#include <type_traits>

#include "../core/dtype.h"
#include "../core/error.h"

namespace mg::cpu {

template <class T>
struct RealOf {
  using type = T;
};
template <class T>
struct RealOf<std::complex<T>> {
  using type = T;
};
template <class T>
using real_t = typename RealOf<T>::type;
template <class T>
constexpr bool is_complex_scalar = !std::is_same_v<T, real_t<T>>;

template <class A, class T>
constexpr bool is_lapack_argument =
    std::is_same_v<A, const int*> || std::is_same_v<A, int*> || std::is_same_v<A, const char*> ||
    std::is_same_v<A, T*> || std::is_same_v<A, const T*> || std::is_same_v<A, real_t<T>*> ||
    std::is_same_v<A, const real_t<T>*> || std::is_same_v<A, size_t>;

// A Fortran routine: everything is passed by address, then the length of each character argument.
template <class T>
struct Routine {
  void* address = nullptr;
  template <class... A>
  void operator()(A... arguments) const {
    static_assert((is_lapack_argument<A, T> && ...), "not a type that LAPACK's interface has");
    reinterpret_cast<void (*)(A...)>(address)(arguments...);
  }
};

template <class T>
struct Lapack {
  Routine<T> gemm, trsm;
  Routine<T> potrf, potri, potrs, getrf, getrs, getri, sytrf, sytrs, hetrf, hetrs;
  Routine<T> geqrf, orgqr, ormqr, gesdd, syevd, geev;
  Routine<T> gels, gelsy, gelsd, gelss;
};

// The routines for T; opens the library on the first call and raises when it is missing. Call it before a parallel
// region: opening may run Python code.
template <class T>
const Lapack<T>& lapack();

// Opens the shared library at `path`; does nothing when one is open already.
void open_lapack(const char* path);
// Set by csrc/python: finds the library and calls open_lapack, or throws.
extern void (*lapack_loader)();

}  // namespace mg::cpu
