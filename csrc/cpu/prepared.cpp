// See prepared.h.
#include "prepared.h"

namespace mg::cpu {

// What follows sees a plain contiguous weight, and may prepare more of it.
Tensor staged_weight(const TensorImpl& w, DType compute) {
  if ((w.contiguous && w.dtype == compute) || !may_prepare(w.data())) return staged(w, compute);
  PreparedKey key{"staged", w.data(), {int64_t(w.dtype), int64_t(compute), w.dim()}};
  if (size_t(3 + 2 * w.dim()) > key.sizes.size()) return staged(w, compute);
  for (int d = 0; d < w.dim(); ++d) key.sizes[size_t(3 + 2 * d)] = w.sizes[d], key.sizes[size_t(4 + 2 * d)] = w.strides[d];
  PreparedWeight& weight = *prepared_now();
  Ref<Storage> copy = weight.find(key);
  if (!copy) copy = weight.keep(key, to_contiguous(w, compute)->storage);
  Tensor out(make_ref<TensorImpl>());
  out->dtype = compute;
  out->storage = std::move(copy);
  out->set_contiguous(w.sizes);
  return out;
}

}  // namespace mg::cpu
