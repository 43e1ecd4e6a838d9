// The tables of kernels and meta families: those the linker gathered from the core's own objects (kernel.h, meta.h), and the kernels of
// modules loaded later (backend_module.h).
#include "backend_module.h"
#include "meta.h"

extern "C" {  // bounds of the linker-gathered tables
extern const mg::KernelEntry* const __start_mg_kernels[];
extern const mg::KernelEntry* const __stop_mg_kernels[];
extern const mg::MetaEntry* const __start_mg_metas[];
extern const mg::MetaEntry* const __stop_mg_metas[];
}

namespace mg {

namespace {
struct Range {
  const KernelEntry* const *begin, *const *end;
};
std::vector<Range>& loaded() {
  static auto* ranges = new std::vector<Range>;
  return *ranges;
}
const KernelEntry* find_in(Range range, std::string_view op, DeviceType device, bool complex) {
  for (auto p = range.begin; p != range.end; ++p)
    if ((*p)->device == device && (*p)->complex == complex && op == (*p)->op) return *p;
  return nullptr;
}
}  // namespace

KernelFn find_kernel(std::string_view op, DeviceType device, bool complex) {
  const KernelEntry* found = find_in({__start_mg_kernels, __stop_mg_kernels}, op, device, complex);
  for (size_t k = 0; found == nullptr && k < loaded().size(); ++k) found = find_in(loaded()[k], op, device, complex);
  if (found == nullptr) return nullptr;
  return complex && found->fn == nullptr ? find_kernel(op, device) : found->fn;
}

const MetaEntry* find_meta(std::string_view family) {
  for (auto p = __start_mg_metas; p != __stop_mg_metas; ++p)
    if (family == (*p)->family) return *p;
  return nullptr;
}

void bind_kernels(Op& op) {
  const auto find = [&op](DeviceType device, bool complex) {
    const KernelFn fn = find_kernel(op.name, device, complex);
    return fn == nullptr && op.is_pointwise ? find_kernel("pointwise", device, complex) : fn;
  };
  for (int d = 0; d < kDeviceTypes; ++d) {
    op.kernels[d] = find(DeviceType(d), false);
    op.complex_kernels[d] = find(DeviceType(d), true);
  }
}

void add_kernels(const KernelEntry* const* begin, const KernelEntry* const* end) {
  loaded().push_back({begin, end});
  for (Op* op : all_ops()) bind_kernels(*op);
}

}  // namespace mg
