// How a kernel gets at an operand that it first has to pack or transform: from what a plan keeps of a weight
// (../core/prepared.h), or made anew in scratch, as always in eager calls. The copy is the same either way, so are the bits.
#pragma once
#include "../core/prepared.h"
#include "../core/staged.h"
#include "gemm.h"

namespace mg::cpu {

/// Whether what is made of the elements at `source` may be kept.
inline bool may_prepare(const void* source) {
  const PreparedWeight* weight = prepared_now();
  return weight != nullptr && weight->covers(source);
}

/// What make(dst) makes of the weight that `key.source` lies in, which may be prepared: made once and kept.
template <class T, class Make>
Ref<Storage> kept(const PreparedKey& key, int64_t count, Make&& make) {
  if (Ref<Storage> found = prepared_now()->find(key)) return found;
  Ref<Storage> copy = Storage::allocate(size_t(count) * sizeof(T), Device{});
  make(static_cast<T*>(copy->data));
  return prepared_now()->keep(key, std::move(copy));
}

template <class T>
struct Prepared {
  Ref<Storage> owner;  // null: scratch
  T* data;
};

// `count` elements that make(dst) writes. `pays`: a copy is worth its memory.
template <class T, class Make>
Prepared<T> prepared(const PreparedKey& key, int64_t count, ScratchSlot slot, bool pays, Make&& make) {
  Ref<Storage> copy;
  if (pays && may_prepare(key.source)) copy = kept<T>(key, count, make);
  T* const data = copy ? static_cast<T*>(copy->data) : scratch<T>(slot, count);
  if (!copy) make(data);
  return {std::move(copy), data};
}

/// staged() of a weight: kept where that makes a copy.
Tensor staged_weight(const TensorImpl& w, DType compute);

}  // namespace mg::cpu
