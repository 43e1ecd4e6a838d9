// fused.h: programs as text, and who runs them on which device.
#include "fused.h"

#include <sstream>

namespace mg {

namespace {

const char* kind_name(FusedStep::Kind k) {
  constexpr const char* names[] = {"load", "constant", "apply", "cast", "reduce", "reduce_rows", "reduce_all", "store"};
  return names[int(k)];
}

const char* level_name(FusedLevel l) {
  constexpr const char* names[] = {"", " row", " column", " total"};
  return names[int(l)];
}

void print_number(std::ostream& out, const Value& v) {
  if (v.kind == Kind::Float) out << v.f;
  else if (v.kind == Kind::Bool) out << (v.b ? "True" : "False");
  else out << v.as_int();
}

void print_step(std::ostream& out, const FusedStep& s, size_t at, bool exact) {
  const bool stores = s.kind == FusedStep::Kind::Store;
  out << (stores ? "  " : "  %");
  if (!stores) out << at << ": " << dtype_name(s.dtype) << level_name(s.level) << " = ";
  if (s.kind == FusedStep::Kind::Apply) out << s.row->name;
  else if (s.op != nullptr) out << kind_name(s.kind) << ' ' << s.op->name;
  else out << kind_name(s.kind);
  if (s.operand >= 0) out << " @" << s.operand;
  const size_t used = s.kind == FusedStep::Kind::Apply ? size_t(s.row->arity) : s.args.size();
  for (size_t k = 0; k < used; ++k) out << (k ? ", %" : " %") << s.args[k];
  if (s.kind == FusedStep::Kind::Constant) {
    out << ' ';
    if (exact && s.number.kind == Kind::Float) out << std::hexfloat << s.number.f << std::defaultfloat;
    else print_number(out, s.number);
  }
  if (exact && s.kind == FusedStep::Kind::Apply) out << " in " << dtype_name(s.compute);
  out << '\n';
}

FusedFactory& factory_of(DeviceType device) {
  static FusedFactory factories[kDeviceTypes] = {};
  return factories[int(device)];
}

}  // namespace

std::string to_string(const FusedProgram& program) {
  std::ostringstream out;
  out << "fused over " << program.sizes << '\n';
  for (size_t k = 0; k < program.operands.size(); ++k) {
    const FusedOperand& o = program.operands[k];
    out << "  @" << k << ": " << dtype_name(o.dtype) << ", strides " << o.strides << (o.written ? ", written" : "") << '\n';
  }
  for (size_t k = 0; k < program.steps.size(); ++k) print_step(out, program.steps[k], k, false);
  return out.str();
}

std::string structure(const FusedProgram& program) {
  std::ostringstream out;
  out << program.sizes.size() << " axes\n";
  for (const FusedOperand& o : program.operands) {
    const int64_t inner = o.strides.back();
    out << dtype_name(o.dtype) << (inner == 0 ? " 0" : inner == 1 ? " 1" : " n") << (o.written ? " w\n" : "\n");
  }
  for (size_t k = 0; k < program.steps.size(); ++k) print_step(out, program.steps[k], k, true);
  return out.str();
}

bool aliasable(const FusedProgram& program, int in, int out) {
  const FusedOperand &i = program.operands[size_t(in)], &o = program.operands[size_t(out)];
  if (i.dtype != o.dtype || !(i.strides == o.strides)) return false;
  size_t made = program.steps.size();
  for (const FusedStep& s : program.steps)
    if (s.kind == FusedStep::Kind::Store && s.operand == out) made = size_t(s.args[0]);
  for (size_t k = made + 1; k < program.steps.size(); ++k)
    for (int r : program.steps[k].args) {
      const FusedStep& from = program.steps[size_t(r)];
      if (from.kind == FusedStep::Kind::Load && from.operand == in) return false;
    }
  return made < program.steps.size();
}

std::unique_ptr<FusedKernel> make_fused_kernel(FusedProgram program, DeviceType device) {
  const FusedFactory make = factory_of(device);
  return make == nullptr ? nullptr : make(std::move(program));
}

void register_fused_factory(DeviceType device, FusedFactory factory) { factory_of(device) = factory; }
bool has_fused_factory(DeviceType device) { return factory_of(device) != nullptr; }

}  // namespace mg
