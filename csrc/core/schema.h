// The schema language of op declarations:  name(arg, arg: kind? = default, arg!: kind, *, keyword: kind = default) -> out1, out2
#pragma once
#include <string_view>

#include "op.h"

namespace mg {

void parse_schema(std::string_view schema, Op& op);  // fills name, args, outputs, mutated; ValueError with the schema's text

}  // namespace mg
