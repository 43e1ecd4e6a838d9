// From steps to instructions (fused_code.h): what is read or written in place, what is staged, and which slot holds what.
#include "fused_code.h"

#include <algorithm>
#include <map>

#include "stream.h"

namespace mg::cpu {

namespace {

using Code = FusedInstruction::Code;
using Step = FusedStep;

constexpr int64_t kBlock = 4096;       // bytes of a slot, as of eager's blocks
constexpr int64_t kMostRows = 512;     // of a block
constexpr int64_t kLongRow = 128;      // elements that make a block of one row cheaper than gathering several
constexpr int64_t kColumnRows = 1024;  // longest row that is never cut in pieces

bool is_half(DType d) { return d == DType::Float16 || d == DType::BFloat16; }
DType held(DType d) { return is_half(d) ? DType::Float32 : d; }
bool readable_as(DType stored, DType wanted) { return stored == wanted || (wanted == DType::Bool && stored == DType::UInt8); }

class Compiler {
 public:
  Compiler(const FusedProgram& program, FusedCodeList& code) : p_(program), code_(code), operands_(int(program.operands.size())) {}

  bool run() {
    count_uses();
    choose_block();
    refs_.assign(p_.steps.size(), -1);
    halves_.assign(p_.steps.size(), -1);
    for (size_t k = 0; k < p_.steps.size() && fine_; ++k) add(int(k));
    if (!fine_) return false;
    allocate();
    return fine_;
  }

 private:
  const Step& step(int k) const { return p_.steps[size_t(k)]; }
  const FusedOperand& operand(int k) const { return p_.operands[size_t(k)]; }
  bool is_row(int reg) const { return step(reg).level == FusedLevel::Row; }
  int64_t inner(int k) const { return operand(k).strides.back(); }

  void count_uses() {
    uses_.assign(p_.steps.size(), 0);
    for (const Step& s : p_.steps)
      if (s.kind != Step::Kind::Store)
        for (int r : s.args) ++uses_[size_t(r)];
  }

  bool is_invariant_operand(int k) const {  // the same for all blocks
    const Dims& s = operand(k).strides;
    return (p_.rows() > 1 || inner(k) == 0) && std::all_of(s.begin(), s.end() - 1, [](int64_t x) { return x == 0; });
  }

  void choose_block() {
    int64_t item = 1;
    bool gathers = false;
    code_.cost = 0;
    for (const Step& s : p_.steps) {
      if (s.level == FusedLevel::Element) item = std::max(item, itemsize(held(s.dtype)));
      if (s.kind == Step::Kind::Load && s.level == FusedLevel::Element) gathers |= !is_invariant_operand(s.operand) && !is_flat(p_, s.operand);
      if (s.kind == Step::Kind::Store && s.level == FusedLevel::Element) gathers |= !is_flat(p_, s.operand);
      const PointwiseKernel* row = s.kind == Step::Kind::Apply ? find_pointwise(s.row->name) : nullptr;
      code_.cost += row != nullptr ? row->cost : 1;
    }
    const int64_t block = kBlock / item, cols = p_.cols(), rows = p_.rows();
    code_.pieces = !p_.reduces() && cols > (rows > 1 ? kColumnRows : block);
    if (code_.pieces) {
      code_.block_cols = block;
    } else {
      code_.block_cols = cols;
      code_.block_rows = gathers && cols >= kLongRow ? 1 : std::clamp<int64_t>(block / cols, 1, std::min(rows, kMostRows));
    }
    code_.slot_bytes = (code_.block_rows * code_.block_cols * item + 63 + 64) / 64 * 64;
    code_.row_slot_bytes = (code_.block_rows * 8 + 63) / 64 * 64;
  }

  // --- what a virtual register is: operands come first in the table
  enum class Place : uint8_t { Slot, RowSlot, Constant };
  struct Virtual {
    Place place;
    bool lasting;  // made by the prologue
    int number = -1;
    int64_t item = 0;
  };
  int fresh(Place place, bool lasting, int64_t item) {
    virtuals_.push_back({place, lasting, -1, item});
    return operands_ + int(virtuals_.size()) - 1;
  }

  std::vector<FusedInstruction>& part(bool lasting) { return lasting ? code_.prologue : code_.body; }

  bool dense(int k) const { return inner(k) == 1 && (code_.pieces || code_.block_rows == 1 || is_flat(p_, k)); }

  void load(int reg) {
    const Step& s = step(reg);
    const int k = s.operand;
    const DType want = held(s.dtype), have = operand(k).dtype;
    const bool row = is_row(reg);
    const bool lasting = is_invariant_operand(k) && (row || !code_.pieces);
    const bool direct = readable_as(have, want) && (row ? code_.block_rows == 1 : dense(k));
    if (direct) {
      refs_[size_t(reg)] = k;
      return;
    }
    FusedInstruction i;
    i.code = Code::Gather;
    i.rows = row;
    i.stage = stage_fn(want, have);
    i.operand = k;
    i.out_item = itemsize(want);
    i.out = refs_[size_t(reg)] = fresh(row ? Place::RowSlot : Place::Slot, lasting, i.out_item);
    part(lasting).push_back(i);
  }

  void constant(int reg) {
    const Step& s = step(reg);
    const int64_t n = code_.block_rows * code_.block_cols, item = itemsize(s.dtype);
    auto memory = std::make_unique<char[]>(size_t(n * item + 64));
    char* at = memory.get();
    at += -reinterpret_cast<intptr_t>(at) & 63;
    const bool real = s.number.kind == mg::Kind::Float;
    const double f = real ? s.number.f : 0;
    const int64_t w = real ? 0 : s.number.as_int();
    stage_fn(s.dtype, real ? DType::Float64 : DType::Int64)(at, item, real ? reinterpret_cast<const char*>(&f) : reinterpret_cast<const char*>(&w), 0, n);
    refs_[size_t(reg)] = fresh(Place::Constant, true, item);
    virtuals_.back().number = int(code_.constants.size());
    code_.constants.push_back(std::move(memory));
  }

  // The register as an element per element.
  int element(int reg) {
    if (!is_row(reg) || step(reg).kind == Step::Kind::Constant) return refs_[size_t(reg)];
    const auto [known, first] = repeated_.try_emplace(reg, -1);
    if (!first) return known->second;
    const DType d = held(step(reg).dtype);
    FusedInstruction i;
    i.code = Code::Repeat;
    i.stage = stage_fn(d, d);
    i.in[0] = refs_[size_t(reg)];
    i.n_in = 1;
    i.in_item = i.out_item = itemsize(d);
    const bool lasting = is_lasting(i.in[0]);
    i.out = known->second = fresh(Place::Slot, lasting, i.out_item);
    part(lasting).push_back(i);
    return known->second;
  }

  bool is_lasting(int ref) const {
    if (ref < operands_) return is_invariant_operand(ref) && (!code_.pieces || inner(ref) == 0) && !operand(ref).written;
    return virtuals_[size_t(ref - operands_)].lasting;
  }

  FusedInstruction convert(int from, int64_t from_item, DType to, DType stored, int out, bool rows) {
    FusedInstruction i;
    i.code = Code::Convert;
    i.rows = rows;
    i.stage = stage_fn(to, stored);
    i.in[0] = from;
    i.n_in = 1;
    i.in_item = from_item;
    i.out_item = itemsize(to);
    i.out = out;
    return i;
  }

  // An output that the register can be computed right into.
  int direct_output(int reg, DType stored) const {
    if (is_row(reg)) return -1;
    for (const Step& s : p_.steps)
      if (s.kind == Step::Kind::Store && s.args[0] == reg && operand(s.operand).dtype == stored && dense(s.operand) && !streams(s.operand)) return s.operand;
    return -1;
  }

  bool streams(int k) const { return is_flat(p_, k) && inner(k) == 1 && p_.rows() * p_.cols() * itemsize(operand(k).dtype) >= kStreamBytes; }

  // Makes `i` give register `reg` of `dtype`, and rounds 16-bit floats.
  void give(int reg, FusedInstruction i, bool lasting) {
    const DType d = step(reg).dtype;
    const bool row = is_row(reg);
    const Place place = row ? Place::RowSlot : Place::Slot;
    i.rows = row;
    i.out_item = itemsize(held(d));
    const int straight = lasting || is_half(d) ? -1 : direct_output(reg, d);
    i.out = refs_[size_t(reg)] = straight >= 0 ? straight : fresh(place, lasting, i.out_item);
    if (straight >= 0) written_.push_back(straight);
    part(lasting).push_back(i);
    if (!is_half(d)) return;
    const int to = lasting ? -1 : direct_output(reg, d);
    const int half = halves_[size_t(reg)] = to >= 0 ? to : fresh(place, lasting, 2);
    if (to >= 0) written_.push_back(to);
    part(lasting).push_back(convert(i.out, 4, d, DType::Float32, half, row));
    if (uses_[size_t(reg)] == 0) return;
    refs_[size_t(reg)] = fresh(place, lasting, 4);
    part(lasting).push_back(convert(half, 2, DType::Float32, d, refs_[size_t(reg)], row));
  }

  void apply(int reg) {
    const Step& s = step(reg);
    const PointwiseKernel* row = find_pointwise(s.row->name);
    FusedInstruction i;
    i.fn = row != nullptr ? row->fn[int(s.compute)] : nullptr;
    if (i.fn == nullptr || row->arity != s.row->arity) {
      fine_ = false;
      return;
    }
    i.n_in = row->arity;
    bool lasting = true;
    for (int k = 0; k < i.n_in; ++k) {
      i.in[k] = is_row(reg) ? refs_[size_t(s.args[size_t(k)])] : element(s.args[size_t(k)]);
      lasting &= is_lasting(i.in[k]);
    }
    give(reg, i, lasting);
  }

  void cast(int reg) {
    const Step& s = step(reg);
    const int from = s.args[0];
    const DType a = held(step(from).dtype), b = held(s.dtype);
    const int source = is_row(reg) ? refs_[size_t(from)] : element(from);
    if (a == b && !is_half(s.dtype)) {  // float16 held as float already
      refs_[size_t(reg)] = source;
      if (direct_output(reg, b) < 0) return;
    }
    FusedInstruction i = convert(source, itemsize(a), b, a, -1, is_row(reg));
    give(reg, i, is_lasting(source));
  }

  static Fold fold_of(const std::string& op) { return op == "prod" ? Fold::Prod : op == "amax" ? Fold::Max : op == "amin" ? Fold::Min : Fold::Sum; }

  int output_of(int reg) const {
    for (const Step& t : p_.steps)
      if (t.kind == Step::Kind::Store && t.args[0] == reg) return t.operand;
    return -1;
  }

  void reduce(int reg) {
    const Step& s = step(reg);
    FusedInstruction i;
    i.code = Code::Fold;
    i.fold = fold_of(s.op->name);
    i.in[0] = element(s.args[0]);
    i.n_in = 1;
    i.dtype = held(s.dtype);
    i.out_item = itemsize(i.dtype);
    i.out = refs_[size_t(reg)] = fresh(Place::RowSlot, false, i.out_item);
    part(false).push_back(i);
  }

  void reduce_rows(int reg) {
    const Step& s = step(reg);
    FusedInstruction i;
    i.code = Code::AddRows;
    i.in[0] = element(s.args[0]);
    i.n_in = 1;
    i.dtype = held(s.dtype);
    i.in_item = itemsize(i.dtype);
    i.column = int(code_.columns.size());
    code_.columns.push_back({output_of(reg), i.dtype});
    part(false).push_back(i);
  }

  void reduce_all(int reg) {
    const Step& s = step(reg);
    FusedInstruction i;
    i.code = Code::FoldAll;
    i.fold = fold_of(s.op->name);
    i.in[0] = element(s.args[0]);
    i.n_in = 1;
    i.dtype = held(s.dtype);
    i.column = int(code_.totals.size());
    code_.totals.push_back({output_of(reg), i.dtype == DType::Int64 ? DType::Int64 : DType::Float64, i.fold, s.op->name == "mean"});
    part(false).push_back(i);
  }

  void store(int reg) {
    const Step& s = step(reg);
    const int from = s.args[0], k = s.operand;
    if (s.level == FusedLevel::Column || s.level == FusedLevel::Total) return;
    if (std::find(written_.begin(), written_.end(), k) != written_.end()) return;
    const int half = halves_[size_t(from)];
    const bool rounded = half >= 0 && operand(k).dtype == step(from).dtype;
    const DType have = rounded ? operand(k).dtype : held(step(from).dtype);
    FusedInstruction i;
    i.rows = inner(k) == 0 && is_row(from);
    i.in[0] = rounded ? half : i.rows ? refs_[size_t(from)] : element(from);
    i.n_in = 1;
    i.in_item = itemsize(have);
    i.operand = k;
    i.out_item = itemsize(operand(k).dtype);
    i.code = have == operand(k).dtype && streams(k) && !i.rows ? Code::Stream : Code::Scatter;
    i.stage = stage_fn(operand(k).dtype, have);
    part(false).push_back(i);
  }

  void add(int k) {
    switch (step(k).kind) {
      case Step::Kind::Load: return load(k);
      case Step::Kind::Constant: return constant(k);
      case Step::Kind::Apply: return apply(k);
      case Step::Kind::Cast: return cast(k);
      case Step::Kind::Reduce: return reduce(k);
      case Step::Kind::ReduceRows: return reduce_rows(k);
      case Step::Kind::ReduceAll: return reduce_all(k);
      case Step::Kind::Store: return store(k);
    }
  }

  // Slots by life time; an instruction's result may take the slot of an argument of the same width that ends there.
  void allocate() {
    std::vector<int> last(virtuals_.size(), -1), free;
    for (size_t at = 0; at < code_.body.size(); ++at)
      for (int k = 0; k < code_.body[at].n_in; ++k)
        if (code_.body[at].in[k] >= operands_) last[size_t(code_.body[at].in[k] - operands_)] = int(at);
    for (Virtual& v : virtuals_) {
      if (v.place == Place::RowSlot) v.number = code_.row_slots++;
      if (v.place == Place::Slot && v.lasting) v.number = code_.slots++;
    }
    for (size_t at = 0; at < code_.body.size(); ++at) {
      const FusedInstruction& i = code_.body[at];
      Virtual* out = i.out >= operands_ ? &virtuals_[size_t(i.out - operands_)] : nullptr;
      const auto release = [&](bool same_width) {
        for (int k = 0; k < i.n_in; ++k) {
          if (i.in[k] < operands_) continue;
          Virtual& v = virtuals_[size_t(i.in[k] - operands_)];
          const bool fits = i.code == Code::Compute && out != nullptr && out->item == v.item;
          if (v.place != Place::Slot || v.lasting || last[size_t(i.in[k] - operands_)] != int(at) || fits != same_width) continue;
          if (std::find(free.begin(), free.end(), v.number) == free.end()) free.push_back(v.number);
        }
      };
      release(true);
      if (out != nullptr && out->place == Place::Slot && out->number < 0) {
        if (free.empty()) {
          out->number = code_.slots++;
        } else {
          out->number = free.back();
          free.pop_back();
        }
      }
      release(false);
      if (out != nullptr && out->place == Place::Slot && !out->lasting && last[size_t(i.out - operands_)] < 0) free.push_back(out->number);
    }
    code_.first_slot = operands_;
    code_.first_row_slot = code_.first_slot + code_.slots;
    code_.first_constant = code_.first_row_slot + code_.row_slots;
    code_.table = code_.first_constant + int(code_.constants.size());
    fine_ = code_.table <= kMaxFusedTable;
    for (auto* list : {&code_.prologue, &code_.body})
      for (FusedInstruction& i : *list) {
        resolve(i.out);
        for (int k = 0; k < i.n_in; ++k) resolve(i.in[k]);
      }
  }

  void resolve(int& ref) const {
    if (ref < operands_) return;
    const Virtual& v = virtuals_[size_t(ref - operands_)];
    ref = v.number + (v.place == Place::Slot ? code_.first_slot : v.place == Place::RowSlot ? code_.first_row_slot : code_.first_constant);
  }

  const FusedProgram& p_;
  FusedCodeList& code_;
  const int operands_;
  bool fine_ = true;
  std::vector<int> refs_, halves_, uses_, written_;
  std::vector<Virtual> virtuals_;
  std::map<int, int> repeated_;
};

}  // namespace

bool is_flat(const FusedProgram& program, int operand) {
  const Dims& strides = program.operands[size_t(operand)].strides;
  int64_t step = strides.back();
  for (int k = program.sizes.size() - 1; k >= 0; --k) {
    if (strides[k] != step) return false;
    step *= program.sizes[k];
  }
  return true;
}

bool is_large(const FusedProgram& program) {
  int64_t each = 0;  // bytes of an element, of the operands that are as large as the program
  for (const FusedOperand& o : program.operands)
    if (o.strides.back() == 1 && (o.strides.size() == 1 || o.strides[o.strides.size() - 2] != 0)) each += itemsize(o.dtype);
  return program.rows() * program.cols() * each > kStreamBytes + kStreamBytes / 2;
}

bool compile_fused(const FusedProgram& program, FusedCodeList& code) { return Compiler(program, code).run(); }

}  // namespace mg::cpu
