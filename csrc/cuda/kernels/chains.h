// Sums at indices in a fixed order without floating atomics: the sources of each target are chained up in any order (integer atomics), each
// chain is sorted by its owner, and whoever adds walks it from the first source to the last. `head` starts at -1 everywhere.
#pragma once
#include "../kernel.h"
#include "copy.h"

namespace mg::cuda {

__device__ inline void chain_to(int* head, int* next, int64_t target, int source) { next[source] = atomicExch(head + target, source); }

// Merge sort of a linked list of ascending sources, in place: runs of 1, 2, 4 … Returns the first.
__device__ inline int sort_chain(int list, int* next) {
  for (int width = 1;; width *= 2) {
    int left = list, tail = -1, merges = 0;
    list = -1;
    for (; left >= 0; ++merges) {
      int right = left, left_size = 0, right_size = width;
      for (; left_size < width && right >= 0; ++left_size) right = next[right];
      while (left_size > 0 || (right_size > 0 && right >= 0)) {
        const bool from_left = left_size > 0 && (right_size == 0 || right < 0 || left < right);
        const int taken = from_left ? left : right;
        if (from_left) left = next[left], --left_size;
        else right = next[right], --right_size;
        if (tail < 0) list = taken;
        else next[tail] = taken;
        tail = taken;
      }
      left = right;
    }
    if (tail >= 0) next[tail] = -1;
    if (merges <= 1) return list;
  }
}

// `group` targets share one range of `links` sources.
static __global__ void sort_chains_kernel(int* head, int* next, int64_t group, int64_t links, int64_t count) {
  MG_GRID_LOOP(i, count) head[i] = sort_chain(head[i], next + i / group * links);
}

// Room for `groups` times `targets` chains of at most `links` sources each group.
struct Chains {
  Tensor heads, nexts;
  int64_t groups, targets, links;
  Chains(const char* op, int64_t groups_, int64_t targets_, int64_t links_, Device device) : groups(groups_), targets(targets_), links(links_) {
    MG_CHECK(links < INT32_MAX, NotImplemented, op, ": no cuda kernel for ", links, " elements (2^31 and more) that are added up by index.");
    heads = workspace(std::max<int64_t>(groups * targets, 1), DType::Int32, device);
    nexts = workspace(std::max<int64_t>(groups * links, 1), DType::Int32, device);
    fill(*heads, Value(int64_t(-1)));
  }
  int* head() const { return heads.ptr<int>(); }
  int* next() const { return nexts.ptr<int>(); }
  void sort() const { launch_items(sort_chains_kernel, groups * targets, head(), next(), targets, links, groups * targets); }
};

}  // namespace mg::cuda
