// The lines of csrc/scalar.h as data: which calls a fused program can have as a step.
#include <map>

#include "fuse.h"

namespace mg {

namespace {

constexpr bool is_true(std::string_view what) { return what == "BOOL"; }
#define MG_LINE(name, n, cls, res, mask, divides) ScalarRow{#name, n, #cls[0], is_true(#res), mask, divides},
constexpr ScalarRow kRows[] = {
#define MG_OP1(name, cls, res, ...) MG_LINE(name, 1, cls, res, false, false)
#define MG_OP2(name, cls, res, ...) MG_LINE(name, 2, cls, res, false, false)
#define MG_OP3(name, cls, res, ...) MG_LINE(name, 3, cls, res, false, false)
#define MG_OP4(name, cls, res, ...) MG_LINE(name, 4, cls, res, false, false)
#define MG_DIV2(name, cls, res, ...) MG_LINE(name, 2, cls, res, false, true)
#define MG_WHERE(name, cls, res, ...) MG_LINE(name, 3, cls, res, true, false)
#include "../scalar.h"
};
#undef MG_LINE

}  // namespace

const ScalarRow* find_scalar_row(std::string_view name) {
  static const auto* const by_name = [] {
    auto* rows = new std::map<std::string_view, const ScalarRow*>;
    for (const ScalarRow& row : kRows) rows->emplace(row.name, &row);
    return rows;
  }();
  const auto found = by_name->find(name);
  return found == by_name->end() ? nullptr : found->second;
}

}  // namespace mg
