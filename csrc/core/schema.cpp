#include "schema.h"

#include <cstdlib>

namespace mg {

namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// Splits at commas outside brackets and quotes.
std::vector<std::string_view> split(std::string_view s) {
  std::vector<std::string_view> parts;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i <= s.size(); ++i) {
    const char c = i < s.size() ? s[i] : ',';
    depth += (c == '(' || c == '[') - (c == ')' || c == ']');
    if ((c == ',' && depth == 0) || i == s.size()) {
      std::string_view part = trim(s.substr(start, i - start));
      if (!part.empty()) parts.push_back(part);
      start = i + 1;
    }
  }
  return parts;
}

OwnedValue parse_default(std::string_view s, ArgKind kind) {
  const std::string text(s);
  if (text == "None") return OwnedValue(Value());
  if (text == "True" || text == "False") return OwnedValue(Value(text == "True"));
  if (text.front() == '\'' || text.front() == '"') return OwnedValue(Value(text.substr(1, text.size() - 2).c_str()));
  if (text.front() == '(' || text.front() == '[') {
    Dims d;
    for (std::string_view part : split(std::string_view(text).substr(1, text.size() - 2)))
      d.push_back(std::strtoll(std::string(part).c_str(), nullptr, 10));
    return OwnedValue(Value(d));
  }
  char* end = nullptr;
  const bool floating = kind == ArgKind::Float || text.find_first_of(".einf") != std::string::npos;
  OwnedValue v = floating ? OwnedValue(Value(std::strtod(text.c_str(), &end)))
                          : OwnedValue(Value(int64_t(std::strtoll(text.c_str(), &end, 10))));
  MG_CHECK(*end == 0, Value, "register_op: cannot read default '", text, "'");
  if (kind == ArgKind::Ints) return OwnedValue(Value(Dims{v.i}));
  return v;
}

ArgKind parse_kind(std::string_view s) {
  static const std::pair<const char*, ArgKind> kinds[] = {
      {"operand", ArgKind::Operand}, {"scalar", ArgKind::Scalar},   {"bool", ArgKind::Bool},       {"int", ArgKind::Int},
      {"float", ArgKind::Float},     {"ints", ArgKind::Ints},       {"tensors", ArgKind::Tensors}, {"dtype", ArgKind::DType},
      {"device", ArgKind::Device},   {"str", ArgKind::Str},         {"tensor", ArgKind::Tensor},   {"generator", ArgKind::Generator}};
  for (const auto& [name, kind] : kinds)
    if (s == name) return kind;
  fail(ErrorKind::Value, "register_op: unknown argument kind '", s, "'");
}

Arg parse_arg(std::string_view text) {
  Arg a;
  if (size_t eq = text.find('='); eq != std::string_view::npos) {
    a.has_default = true;
    const std::string_view value = trim(text.substr(eq + 1));
    text = trim(text.substr(0, eq));
    const size_t colon = text.find(':');
    std::string_view kind = colon == std::string_view::npos ? "tensor" : trim(text.substr(colon + 1));
    while (!kind.empty() && (kind.back() == '?' || kind.back() == '.')) kind.remove_suffix(1);
    a.default_value = parse_default(value, parse_kind(kind));
  }
  if (size_t colon = text.find(':'); colon != std::string_view::npos) {
    std::string_view kind = trim(text.substr(colon + 1));
    if (kind.ends_with('?')) {
      a.optional = true;
      kind.remove_suffix(1);
    }
    if (kind.ends_with("...")) {
      a.variadic = true;
      kind.remove_suffix(3);
    }
    a.kind = parse_kind(kind);
    text = trim(text.substr(0, colon));
  }
  if (text.ends_with('?')) {
    a.optional = true;
    text.remove_suffix(1);
  }
  if (text.ends_with('!')) {
    a.mutated = true;
    text.remove_suffix(1);
  }
  a.name = text;
  return a;
}

}  // namespace

void parse_schema(std::string_view schema, Op& op) {
  const size_t open = schema.find('('), arrow = schema.rfind("->");
  const size_t close = arrow == std::string_view::npos ? std::string_view::npos : schema.rfind(')', arrow);
  MG_CHECK(open != std::string_view::npos && close != std::string_view::npos && open < close, Value,
           "register_op: schema must read 'name(args) -> outs': got '", schema, "'");
  op.name = trim(schema.substr(0, open));
  bool keyword_only = false;
  for (std::string_view part : split(schema.substr(open + 1, close - open - 1))) {
    if (part == "*") {
      keyword_only = true;
      continue;
    }
    Arg a = parse_arg(part);
    a.keyword_only = keyword_only;
    if (a.mutated) op.mutated = int(op.args.size());
    op.args.push_back(std::move(a));
  }
  for (std::string_view part : split(schema.substr(arrow + 2))) op.outputs.emplace_back(part);
  op.n_out = int(op.outputs.size());
  op.n_args = int(op.args.size());
  MG_CHECK(op.args.size() <= kMaxArgs && !op.outputs.empty() && op.n_outputs() <= kMaxOutputs, Value, "register_op: ", op.name,
           " needs at most ", kMaxArgs, " arguments and 1 to ", kMaxOutputs, " outputs");
  for (int k = 0; k < op.n_args; ++k) {
    const Arg& a = op.args[size_t(k)];
    op.kinds[k] = a.kind;
    if (!a.keyword_only) op.max_positional = k + 1;
    op.defaults[k] = a.default_value;
    if (a.has_default || a.optional) op.defaulted |= 1u << k;
    if (a.kind == ArgKind::Tensors) op.has_lists |= 1u << k;
  }
}

}  // namespace mg
