// Arguments that hold one number per spatial dim (kernel_size, stride, padding …), shared by the convolution, pooling,
// fold and resampling rules.
#pragma once
#include <string>

#include "error.h"
#include "memory_format.h"
#include "value.h"

namespace mg {

// `v` as `dims` numbers >= least: a single number counts for every dim. `op` is the name the user called.
inline Dims per_dim(const std::string& op, int dims, const Value& v, const char* what, int64_t least) {
  Dims d = v.as_dims();
  if (d.size() == 1) d = Dims(dims, d[0]);
  MG_CHECK(d.size() == dims, Runtime, op, ": ", what, " must be one number or ", dims, ": got ", v.as_dims(), ".");
  for (int64_t x : d)
    MG_CHECK(x >= least && x < (int64_t(1) << 31), Runtime, op, ": ", what, " out of range: got ", d,
             ", expected values >= ", least, least == 0 ? " (negative values are not supported)." : ".");
  return d;
}

// Internal ops ("_avg_pool") report under the public name with the number of dims ("avg_pool2d").
inline std::string spatial_name(const std::string& op, const std::string& suffix, int dims) {
  std::string name = op.substr(op[0] == '_');
  if (!suffix.empty() && name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  return name + std::to_string(dims) + "d";
}

}  // namespace mg
