// A freelist per type and thread for the small objects of the hot path (TensorImpl, Storage, Node): no trip through malloc.
// Objects may die on another thread than they were born on: they join the list of the thread that frees them.
#pragma once
#include <cstddef>
#include <new>

namespace mg {

template <class T>
struct Pooled {
#if !defined(__SANITIZE_ADDRESS__)  // under ASan every object is its own malloc, so that use-after-free is seen
  static void* operator new(size_t size) {
    Slot*& head = free_list();
    if (head != nullptr && size == sizeof(T)) [[likely]] {
      Slot* slot = head;
      head = slot->next;
      --count();
      return slot;
    }
    return ::operator new(size);
  }
  static void operator delete(void* p, size_t size) {
    if (count() < kMaxFree && size == sizeof(T)) [[likely]] {
      Slot* slot = static_cast<Slot*>(p);
      slot->next = free_list();
      free_list() = slot;
      ++count();
      return;
    }
    ::operator delete(p);
  }

 private:
  static constexpr int kMaxFree = 4096;
  struct Slot {
    Slot* next;
  };
  static Slot*& free_list() {
    static constinit thread_local Slot* head [[gnu::tls_model("initial-exec")]] = nullptr;
    return head;
  }
  static int& count() {
    static constinit thread_local int n [[gnu::tls_model("initial-exec")]] = 0;
    return n;
  }
#endif
};

}  // namespace mg
