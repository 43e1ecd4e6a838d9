// Blocks above 64 KiB that this thread allocates while one of these lives lie in segments of their own. What is made in the middle of the
// first training step and stays (an optimizer's state) would otherwise lie in the gaps between activations, which then never join again:
// every later step would need new memory beside them.
#pragma once

namespace mg {

class LongLived {
 public:
  LongLived();
  ~LongLived();
  LongLived(const LongLived&) = delete;
  LongLived& operator=(const LongLived&) = delete;

 private:
  bool previous_;
};

}  // namespace mg
