// Transposing strips of a matrix of 2, 4 or 8-byte elements in registers (transpose_isa.cpp); used by copy.cpp.
#pragma once
#include <cstdint>

namespace mg::cpu {

// dst row i (contiguous, pitch ds) = column i of src, whose rows (pitch ss) are contiguous: dst[i][j] = src[j][i] for i
// < ni, j < nj. Pitches are in bytes. stream: stores go around the caches (dst and ds must be multiples of 64, and the
// caller fences).
using TransposeFn = void (*)(char* dst, int64_t ds, const char* src, int64_t ss, int64_t ni, int64_t nj, bool stream);

struct TransposeTable {
  TransposeFn bytes2, bytes4, bytes8;
};
const TransposeTable& transpose_table();

constexpr int64_t kTransposeStrip =
    64;  // most rows of one call that streams; plain calls do best with one line of src (64 bytes)

}  // namespace mg::cpu
