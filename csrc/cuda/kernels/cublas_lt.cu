// cuBLASLt by dlopen. The declarations below are the part of its C interface that is used here, the same in versions 12 and 13 (cuBLAS
// documentation, "Using the cuBLASLt API"). A row-major product is the column-major product of the transposes: D^T = B^T A^T.
#include "cublas_lt.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace mg::cuda {
namespace {

using Handle = void*;
using Desc = void*;
using Layout = void*;
using Preference = void*;
struct Algo {
  uint64_t data[8];
};
struct Heuristic {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
enum DataType { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14 };  // cudaDataType
enum ComputeType { kCompute32F = 68, kCompute64F = 70 };
enum DescAttribute { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8, kBiasType = 26 };
enum LayoutAttribute { kBatchCount = 5, kBatchOffset = 6 };
enum PreferenceAttribute { kMaxWorkspace = 1, kAlignA = 5 };  // alignments of B, C and D follow
constexpr uint32_t kEpilogueBias = 4;
constexpr uintptr_t kAlignment = 16;  // more is of no use to the library
constexpr uint64_t kWorkspace = 32 << 20;

struct Library {
  int (*create)(Handle*) = nullptr;
  int (*desc_create)(Desc*, int compute, int scale_type) = nullptr;
  int (*desc_destroy)(Desc) = nullptr;
  int (*desc_set)(Desc, int attribute, const void*, size_t) = nullptr;
  int (*layout_create)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t ld) = nullptr;
  int (*layout_destroy)(Layout) = nullptr;
  int (*layout_set)(Layout, int attribute, const void*, size_t) = nullptr;
  int (*preference_create)(Preference*) = nullptr;
  int (*preference_destroy)(Preference) = nullptr;
  int (*preference_set)(Preference, int attribute, const void*, size_t) = nullptr;
  int (*heuristic)(Handle, Desc, Layout, Layout, Layout, Layout, Preference, int requested, Heuristic*, int* returned) = nullptr;
  int (*matmul)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, Layout, void* d,
                Layout, const Algo*, void* workspace, size_t, cudaStream_t) = nullptr;
  bool ready = false;

  Library() {
    const char* wish = std::getenv("MINIGRAD_CUBLASLT");
    if (wish == nullptr ? simulated : std::strcmp(wish, "0") == 0) return;
    void* lib = wish != nullptr ? dlopen(wish, RTLD_NOW | RTLD_LOCAL) : open();
    if (lib == nullptr) return;
    ready = load(lib, "cublasLtCreate", create) && load(lib, "cublasLtMatmulDescCreate", desc_create) &&
            load(lib, "cublasLtMatmulDescDestroy", desc_destroy) && load(lib, "cublasLtMatmulDescSetAttribute", desc_set) &&
            load(lib, "cublasLtMatrixLayoutCreate", layout_create) && load(lib, "cublasLtMatrixLayoutDestroy", layout_destroy) &&
            load(lib, "cublasLtMatrixLayoutSetAttribute", layout_set) && load(lib, "cublasLtMatmulPreferenceCreate", preference_create) &&
            load(lib, "cublasLtMatmulPreferenceDestroy", preference_destroy) &&
            load(lib, "cublasLtMatmulPreferenceSetAttribute", preference_set) && load(lib, "cublasLtMatmulAlgoGetHeuristic", heuristic) &&
            load(lib, "cublasLtMatmul", matmul);
  }
  template <class F>
  static bool load(void* lib, const char* name, F& to) {
    to = reinterpret_cast<F>(dlsym(lib, name));
    return to != nullptr;
  }
  // First beside this module, where pip puts NVIDIA's wheels (they bring versioned names only), then where the loader looks.
  static void* open() {
    std::string site;
    Dl_info here;
    if (dladdr(reinterpret_cast<const void*>(&lt_product), &here) != 0 && here.dli_fname != nullptr) {
      site = here.dli_fname;
      for (int up = 0; up < 2 && !site.empty(); ++up) site.resize(site.find_last_of('/') == std::string::npos ? 0 : site.find_last_of('/'));
    }
    for (const std::string& name :
         {site + "/nvidia/cu13/lib/libcublasLt.so.13", site + "/nvidia/cublas/lib/libcublasLt.so.12", std::string("libcublasLt.so.13"),
          std::string("libcublasLt.so.12")})
      if (void* lib = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return lib;
    return nullptr;
  }
};
const Library& library() {
  static const Library lib;
  return lib;
}

// One problem and the algorithm that the library recommends for it; made once, kept for ever (handles are per device).
struct Plan {
  Handle handle = nullptr;
  Desc desc = nullptr;
  Layout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
  Heuristic best{};
  bool usable = false;
};
using Key = std::array<int64_t, 24>;

int data_type(DType d) {
  switch (d) {
    case DType::Float16: return kFloat16;
    case DType::BFloat16: return kBFloat16;
    case DType::Float64: return kFloat64;
    default: return kFloat32;
  }
}

// A row-major matrix of `rows` x `cols` as a column-major one of cols x rows (`plain`), or as its own transpose.
struct Side {
  bool fits, plain;
  int64_t ld;
};
Side side(const LtMatrix& x, int64_t rows, int64_t cols) {
  if ((x.cs == 1 || cols == 1) && (x.rs >= cols || rows == 1)) return {true, true, std::max(x.rs, cols)};
  if ((x.rs == 1 || rows == 1) && (x.cs >= rows || cols == 1)) return {true, false, std::max(x.cs, rows)};
  return {false, false, 0};
}
// Bytes to which all of a matrix's columns (the library's) are aligned: the lowest bit of their distances and of the first one's address.
uint32_t alignment(const LtMatrix& x, const Side& s, int64_t item) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(x.data) | uintptr_t(s.ld * item) | uintptr_t(x.bs * item) | kAlignment;
  return uint32_t(bits & (~bits + 1));
}

Layout make_layout(const Library& lib, int type, int64_t rows, int64_t cols, int64_t ld, int64_t batch, int64_t offset, bool& ok) {
  Layout layout = nullptr;
  ok = lib.layout_create(&layout, type, uint64_t(rows), uint64_t(cols), ld) == 0 && ok;
  if (!ok || batch == 1) return layout;
  const int32_t count = int32_t(batch);
  ok = lib.layout_set(layout, kBatchCount, &count, sizeof count) == 0 && lib.layout_set(layout, kBatchOffset, &offset, sizeof offset) == 0;
  return layout;
}

struct Sides {
  Side a, b, out, add;
  bool bias;  // `add` is one row for all: the epilogue adds it
  uint32_t alignments[4] = {};  // of the library's A, B, C and D
};

Handle handle_of_device(const Library& lib) {
  static std::map<int, Handle> handles;
  Handle& handle = handles[current_device()];
  if (handle == nullptr && lib.create(&handle) != 0) handle = nullptr;
  return handle;
}

Plan make_plan(const Library& lib, const LtProduct& p, const Sides& s) {
  const RelaxedCapture relaxed;  // a first product may stand inside of a capture; the library allocates when it is asked for a handle
  Plan plan;
  plan.handle = handle_of_device(lib);
  if (plan.handle == nullptr) return plan;
  const int type = data_type(p.dtype);
  const bool wide = p.dtype == DType::Float64;
  bool ok = lib.desc_create(&plan.desc, wide ? kCompute64F : kCompute32F, wide ? kFloat64 : kFloat32) == 0;
  if (!ok) return plan;
  const int32_t first = s.b.plain ? 0 : 1, second = s.a.plain ? 0 : 1;  // the library's A is our b
  ok = lib.desc_set(plan.desc, kTransA, &first, sizeof first) == 0 && lib.desc_set(plan.desc, kTransB, &second, sizeof second) == 0;
  if (s.bias) {
    const void* pointer = p.add.data;
    ok = ok && lib.desc_set(plan.desc, kEpilogue, &kEpilogueBias, sizeof kEpilogueBias) == 0 &&
         lib.desc_set(plan.desc, kBiasPointer, &pointer, sizeof pointer) == 0 && lib.desc_set(plan.desc, kBiasType, &type, sizeof type) == 0;
  }
  plan.a = make_layout(lib, type, s.b.plain ? p.n : p.k, s.b.plain ? p.k : p.n, s.b.ld, p.batch, p.b.bs, ok);
  plan.b = make_layout(lib, type, s.a.plain ? p.k : p.m, s.a.plain ? p.m : p.k, s.a.ld, p.batch, p.a.bs, ok);
  plan.d = make_layout(lib, type, p.n, p.m, s.out.ld, p.batch, p.out.bs, ok);
  const bool adds = p.add.data != nullptr && !s.bias;
  plan.c = make_layout(lib, type, p.n, p.m, adds ? s.add.ld : s.out.ld, p.batch, adds ? p.add.bs : p.out.bs, ok);
  Preference preference = nullptr;
  ok = ok && lib.preference_create(&preference) == 0 && lib.preference_set(preference, kMaxWorkspace, &kWorkspace, sizeof kWorkspace) == 0;
  for (int k = 0; k < 4; ++k) ok = ok && lib.preference_set(preference, kAlignA + k, &s.alignments[k], sizeof(uint32_t)) == 0;
  int found = 0;
  plan.usable = ok && lib.heuristic(plan.handle, plan.desc, plan.a, plan.b, plan.c, plan.d, preference, 1, &plan.best, &found) == 0 && found > 0 &&
                plan.best.state == 0;
  if (preference != nullptr) lib.preference_destroy(preference);
  return plan;
}

}  // namespace

bool lt_product(const LtProduct& p) {
  if (!is_floating(p.dtype) || p.m * p.n * p.k < 64 * 64 * 64 || p.batch > INT32_MAX) return false;
  const Library& lib = library();
  if (!lib.ready) return false;
  const int64_t item = itemsize(p.dtype);
  Sides s{side(p.a, p.m, p.k), side(p.b, p.k, p.n), side(p.out, p.m, p.n), {}, false};
  if (!s.a.fits || !s.b.fits || !s.out.fits || !s.out.plain) return false;
  if (p.add.data != nullptr) {
    s.bias = p.beta == 1 && p.add.rs == 0 && p.add.bs == 0 && (p.add.cs == 1 || p.n == 1) && p.dtype != DType::Float64;
    s.add = side(p.add, p.m, p.n);
    if (!s.bias && (p.add.rs == 0 || !s.add.fits || !s.add.plain)) return false;
    if (s.bias && reinterpret_cast<uintptr_t>(p.add.data) % kAlignment != 0) return false;
  }
  const bool adds = p.add.data != nullptr && !s.bias;
  s.alignments[0] = alignment(p.b, s.b, item), s.alignments[1] = alignment(p.a, s.a, item), s.alignments[3] = alignment(p.out, s.out, item);
  s.alignments[2] = adds ? alignment(p.add, s.add, item) : s.alignments[3];
  const uint32_t* al = s.alignments;
  const int64_t device = current_device(), aligned = al[0] | al[1] << 8 | al[2] << 16 | int64_t(al[3]) << 24;
  const Key key{device,    int64_t(p.dtype), p.m,    p.n,      p.k,        p.batch,  s.a.plain, s.a.ld,   p.a.bs,   s.b.plain,
                s.b.ld,    p.b.bs,           s.out.ld, p.out.bs, p.add.data == nullptr ? 0 : s.bias ? 1 : 2,    s.add.ld,  p.add.bs, aligned};
  static std::mutex mutex;
  static std::map<Key, Plan> plans;
  const std::lock_guard lock(mutex);  // also while launching: a plan's bias pointer belongs to one call
  auto at = plans.find(key);
  if (at == plans.end()) at = plans.emplace(key, make_plan(lib, p, s)).first;
  const Plan& plan = at->second;
  if (!plan.usable) return false;
  const void* bias = p.add.data;
  if (s.bias && lib.desc_set(plan.desc, kBiasPointer, &bias, sizeof bias) != 0) return false;
  Tensor room;
  if (plan.best.workspace > 0) room = workspace(int64_t(plan.best.workspace), DType::UInt8, Device{DeviceType::CUDA, int8_t(device)});
  const double alpha64 = p.alpha, beta64 = adds ? p.beta : 0;
  const float alpha32 = float(alpha64), beta32 = float(beta64);
  const bool wide = p.dtype == DType::Float64;
  const void *const alpha = wide ? static_cast<const void*>(&alpha64) : &alpha32, *const beta = wide ? static_cast<const void*>(&beta64) : &beta32;
  return lib.matmul(plan.handle, plan.desc, alpha, p.b.data, plan.a, p.a.data, plan.b, beta, adds ? p.add.data : p.out.data, plan.c, p.out.data,
                    plan.d, &plan.best.algo, room.defined() ? room->data() : nullptr, plan.best.workspace, current_stream()) == 0;
}

}  // namespace mg::cuda
