// Opening the LAPACK library and filling the tables of lapack.h.
#include "lapack.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <string>

namespace mg::cpu {

void (*lapack_loader)() = nullptr;

namespace {

std::atomic<bool> is_open{false};
std::mutex opening;

template <class T>
Lapack<T> table;

template <class T>
struct Entry {
  Routine<T> Lapack<T>::* slot;
  const char *real, *complex;  // name without the type letter
};

template <class T>
void fill(void* library, char letter) {
  using L = Lapack<T>;
  static constexpr Entry<T> entries[] = {
      {&L::gemm, "gemm", "gemm"},    {&L::trsm, "trsm", "trsm"},    {&L::potrf, "potrf", "potrf"},
      {&L::potri, "potri", "potri"}, {&L::potrs, "potrs", "potrs"}, {&L::getrf, "getrf", "getrf"},
      {&L::getrs, "getrs", "getrs"}, {&L::getri, "getri", "getri"}, {&L::sytrf, "sytrf", "sytrf"},
      {&L::sytrs, "sytrs", "sytrs"}, {&L::hetrf, "sytrf", "hetrf"}, {&L::hetrs, "sytrs", "hetrs"},
      {&L::geqrf, "geqrf", "geqrf"}, {&L::orgqr, "orgqr", "ungqr"}, {&L::ormqr, "ormqr", "unmqr"},
      {&L::gesdd, "gesdd", "gesdd"}, {&L::syevd, "syevd", "heevd"}, {&L::geev, "geev", "geev"},
      {&L::gels, "gels", "gels"},    {&L::gelsy, "gelsy", "gelsy"}, {&L::gelsd, "gelsd", "gelsd"},
      {&L::gelss, "gelss", "gelss"}};
  for (const Entry<T>& e : entries) {
    const std::string name = std::string("scipy_") + letter + (is_complex_scalar<T> ? e.complex : e.real) + "_";
    void* address = dlsym(library, name.c_str());
    MG_CHECK(address != nullptr, Runtime, "linalg: the LAPACK library lacks ", name,
             ". Try `pip install --force-reinstall scipy-openblas32`.");
    (table<T>.*e.slot).address = address;
  }
}

}  // namespace

void open_lapack(const char* path) {
  const std::lock_guard lock(opening);
  if (is_open.load(std::memory_order_relaxed)) return;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    fail(ErrorKind::Runtime, "linalg: cannot open the LAPACK library ", path, ": ", reason ? reason : "unknown reason",
         ". Try `pip install --force-reinstall scipy-openblas32`.");
  }
  // Our pool is the only source of threads. A library without the switch is no error: it then has one thread.
  if (auto set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "scipy_openblas_set_num_threads")))
    set_threads(1);
  fill<float>(library, 's');
  fill<double>(library, 'd');
  fill<std::complex<float>>(library, 'c');
  fill<std::complex<double>>(library, 'z');
  is_open.store(true, std::memory_order_release);
}

template <class T>
const Lapack<T>& lapack() {
  if (!is_open.load(std::memory_order_acquire)) {
    MG_CHECK(lapack_loader != nullptr, Runtime, "linalg: no LAPACK library was opened");
    lapack_loader();
    MG_INTERNAL(is_open.load(std::memory_order_acquire), "the LAPACK loader returned without a library");
  }
  return table<T>;
}

template const Lapack<float>& lapack<float>();
template const Lapack<double>& lapack<double>();
template const Lapack<std::complex<float>>& lapack<std::complex<float>>();
template const Lapack<std::complex<double>>& lapack<std::complex<double>>();

}  // namespace mg::cpu
