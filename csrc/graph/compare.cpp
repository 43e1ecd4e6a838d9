// See compare.h.
#include "compare.h"

#include <sstream>

namespace mg {

namespace {

bool same_gradients(const std::vector<GraphGradient>& a, const std::vector<GraphGradient>& b) {
  if (a.size() != b.size()) return false;
  for (size_t k = 0; k < a.size(); ++k)
    if (a[k].leaf != b[k].leaf || a[k].value != b[k].value) return false;
  return true;
}

bool is_size(Kind kind) { return kind == Kind::Int || kind == Kind::Float; }

// Numbers may differ with the sizes; kinds, switches, dtypes and words may not.
bool same_number(const Value& a, const Value& b) {
  if (a.kind != b.kind) return is_size(a.kind) && is_size(b.kind);
  switch (a.kind) {
    case Kind::Bool:
      return a.b == b.b;
    case Kind::DType:
      return a.dtype == b.dtype;
    case Kind::Device:
      return a.device == b.device;
    case Kind::Ints:
      return a.len == b.len;
    case Kind::Str:
      return std::string_view(a.str) == b.str;
    default:
      return true;
  }
}

bool same_args(const std::vector<GraphArg>& a, const std::vector<GraphArg>& b) {
  if (a.size() != b.size()) return false;
  for (size_t k = 0; k < a.size(); ++k)
    if (a[k].is_tensor != b[k].is_tensor || a[k].is_list != b[k].is_list || a[k].ids != b[k].ids ||
        !same_number(a[k].number, b[k].number))
      return false;
  return true;
}

bool same_call(const GraphCall& a, const GraphCall& b) {
  if (a.op != b.op || a.mode != b.mode || a.outs != b.outs || bool(a.host) != bool(b.host) ||
      bool(a.fused) != bool(b.fused))
    return false;
  if (a.parts.size() != b.parts.size() || !same_args(a.args, b.args)) return false;
  if (a.host && (a.host->label != b.host->label || a.host->writes != b.host->writes ||
                 !same_gradients(a.host->gradients, b.host->gradients)))
    return false;
  for (size_t k = 0; k < a.parts.size(); ++k)
    if (!same_call(a.parts[k], b.parts[k])) return false;
  return true;
}

bool same_value_kind(const GraphValue& a, const GraphValue& b) {
  return a.spec.dtype == b.spec.dtype && a.spec.device == b.spec.device && a.spec.sizes.size() == b.spec.sizes.size() &&
         a.storage == b.storage && a.maker == b.maker;
}

bool same_constants(const Graph& a, const Graph& b) {
  if (a.constants.size() != b.constants.size()) return false;
  for (size_t k = 0; k < a.constants.size(); ++k)
    if (a.constants[k].id != b.constants[k].id) return false;
  return true;
}

}  // namespace

std::string program_difference(const Graph& a, const Graph& b) {
  std::ostringstream out;
  for (size_t k = 0; k < std::min(a.calls.size(), b.calls.size()); ++k) {
    if (same_call(a.calls[k], b.calls[k])) continue;
    out << "call " << k << " is `" << to_string(a, a.calls[k]) << "` or `" << to_string(b, b.calls[k]) << '`';
    return out.str();
  }
  if (a.calls.size() != b.calls.size()) {
    out << a.calls.size() << " calls or " << b.calls.size();
    return out.str();
  }
  if (a.inputs != b.inputs || a.outputs != b.outputs || !same_gradients(a.gradients, b.gradients))
    return "what goes in or comes out is not the same";
  if (!same_constants(a, b)) return "the constants are not the same values";
  if (a.values.size() != b.values.size()) return "the number of values is not the same";
  for (size_t k = 0; k < a.values.size(); ++k)
    if (!same_value_kind(a.values[k], b.values[k])) {
      out << '%' << k << " differs in dtype, rank or the memory that it shares";
      return out.str();
    }
  return "";
}

}  // namespace mg
