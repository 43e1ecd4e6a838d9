// Meta families: given checked argument kinds, say what the outputs look like, or raise. Nothing is allocated here, so every user
// error leaves the world as it was. The same functions serve eager and tracing. A family is registered with MG_META("name", fn).
#pragma once
#include "op.h"

namespace mg {

struct MetaEntry {
  const char* family;
  MetaFn fn;
  bool pointwise;  // computed by the shared pointwise driver from csrc/scalar.h
};
const MetaEntry* find_meta(std::string_view family);

// PyTorch's result_type over tensors, 0-d tensors and Python numbers (three priority classes).
struct Promotion {
  DType dim = DType::Bool, zero = DType::Bool, number = DType::Bool;
  bool has_dim = false, has_zero = false, has_number = false;
  void add(const Value& v);
  DType result() const;
};
extern constinit DType default_dtype;

// Offsets and strides of views. A tensor without elements may have any of them (as_strided), so the sums must not overflow.
inline int64_t moved(int64_t offset, int64_t steps, int64_t stride) {
  return int64_t(uint64_t(offset) + uint64_t(steps) * uint64_t(stride));
}
inline int64_t scaled(int64_t stride, int64_t factor) {
  int64_t r;
  return __builtin_mul_overflow(stride, factor, &r) ? stride : r;
}

Device common_device(const Op& op, const Value* args);  // raises when tensors live on different devices

}  // namespace mg

#define MG_META(family_name, fn) MG_META_ENTRY(family_name, fn, false)
#define MG_META_POINTWISE(family_name, fn) MG_META_ENTRY(family_name, fn, true)
#define MG_META_ENTRY(family_name, fn, is_pointwise)                                                                        \
  static constinit const ::mg::MetaEntry MG_CAT(mg_meta_entry_, __LINE__) = {family_name, fn, is_pointwise};           \
  [[gnu::section("mg_metas"), gnu::used]] static constinit const ::mg::MetaEntry* const MG_CAT(mg_meta_ptr_, __LINE__) = \
      &MG_CAT(mg_meta_entry_, __LINE__)
