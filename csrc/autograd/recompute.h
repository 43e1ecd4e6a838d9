// Saved arguments that are cheaper to compute again than to keep.
//
// A large activation (gelu, silu, ...) keeps its input for its own gradient, and the layer behind it would keep the
// result as well: the same information twice. Instead that layer's node remembers the op and the input, which costs no
// memory, and Unpacked (saved_hooks.h) calls the op again for the duration of its apply(). In GPT's blocks this is a
// sixth of all saved memory for 1 % of a step's time. Which ops: `recompute=True` in their declaration (one argument,
// deterministic, nothing but arithmetic).
#pragma once
#include "node.h"

namespace mg {

// Smaller results stay in the caches until they are needed again, and are kept.
inline constexpr int64_t kRecomputeFrom = int64_t(1) << 20;  // elements

// Argument k of `node` is `t`: remembers how to compute it again, if that is possible. False: save it.
bool save_as_recipe(OpNode& node, int k, TensorImpl& t);

}  // namespace mg
