// Arguments of a graph's call as call(), meta functions and kernels take them: tensors of a run, or stand-ins without memory.
#pragma once
#include <vector>

#include "graph.h"

namespace mg {

struct CallArguments {
  ValueArray values;
  std::vector<std::vector<TensorImpl*>> lists;
  CallArguments(const GraphCall& c, const std::vector<Tensor>& slots) {
    for (size_t k = 0; k < c.args.size(); ++k) {
      const GraphArg& a = c.args[k];
      if (a.is_tensor) {
        values[k] = Value(slots[size_t(a.ids[0])]);
      } else if (a.is_list) {
        auto& list = lists.emplace_back();
        for (int id : a.ids) list.push_back(id < 0 ? nullptr : slots[size_t(id)].get());
        values[k] = Value::list(list.data(), int(list.size()));
      } else {
        values[k] = a.number;
      }
    }
  }
};

// A tensor of that spec without memory: what meta functions look at.
inline Tensor stand_in(const OutSpec& spec) {
  Tensor t(make_ref<TensorImpl>());
  t->dtype = spec.dtype;
  t->device = spec.device;
  t->storage = Storage::foreign(nullptr, 0, spec.device, [](void*) {}, nullptr);
  t->offset = spec.offset;
  t->set_layout(spec.sizes, spec.strides);
  return t;
}

}  // namespace mg
