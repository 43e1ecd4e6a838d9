// Stack switching: Stack::make gives a fresh stack that begins in a function, switch_to leaves one for another.
// x86-64 has its own seven instructions; elsewhere, or with -DCUDASIM_UCONTEXT=1, <ucontext.h>. AddressSanitizer is
// told.
#pragma once
#include <sys/mman.h>
#if !defined(__x86_64__) && !defined(CUDASIM_UCONTEXT)
#define CUDASIM_UCONTEXT 1
#endif
#ifdef CUDASIM_UCONTEXT
#include <ucontext.h>
#endif

#include "internal.h"

namespace cudasim {
inline constexpr size_t kStackBytes = 256 << 10, kStackGuard = 4096;

#ifndef CUDASIM_UCONTEXT
extern "C" void cudasim_switch(void** save, void* load);
asm(R"(
.text
.globl cudasim_switch
.hidden cudasim_switch
.type cudasim_switch, @function
cudasim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cudasim_switch, .-cudasim_switch
)");
#endif

struct Stack {
  const void* bottom =
      nullptr;  // of the whole stack, for AddressSanitizer; the thread's own is learnt at the first switch
  size_t nbytes = 0;
#ifdef CUDASIM_UCONTEXT
  ucontext_t context;
#else
  void* sp = nullptr;
#endif

  // A stack in [memory, memory + kStackBytes) that starts in entry(), which never returns. Tops are staggered by
  // `number`: stacks that all begin at the same offset in a page fall into the same cache sets (measured: twice as
  // slow).
  void make(char* memory, size_t number, void (*entry)()) {
    bottom = memory;
    nbytes = kStackBytes - number % 16 * 192;
    ASAN_UNPOISON_MEMORY_REGION(memory, kStackBytes);
#ifdef CUDASIM_UCONTEXT
    getcontext(&context);
    context.uc_stack.ss_sp = memory;
    context.uc_stack.ss_size = nbytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
#else
    // From the top: a null return address, so that rsp is 8 mod 16 on entry as after a call; entry; six zero registers.
    void** top = reinterpret_cast<void**>(memory + nbytes);
    std::fill(top - 8, top, nullptr);
    top[-2] = reinterpret_cast<void*>(entry);
    sp = top - 8;
#endif
  }

  void switch_to(Stack& to) {
    void* fake = nullptr;
#ifdef __SANITIZE_ADDRESS__
    leaving = this;
    __sanitizer_start_switch_fiber(&fake, to.bottom, to.nbytes);
#endif
#ifdef CUDASIM_UCONTEXT
    swapcontext(&context, &to.context);
#else
    cudasim_switch(&sp, to.sp);
#endif
    arrived(fake);
  }

  // The first thing to do on a stack after every switch to it.
  static void arrived([[maybe_unused]] void* fake) {
#ifdef __SANITIZE_ADDRESS__
    const void* bottom = nullptr;
    size_t nbytes = 0;
    __sanitizer_finish_switch_fiber(fake, &bottom, &nbytes);
    if (leaving->bottom == nullptr) leaving->bottom = bottom, leaving->nbytes = nbytes;
#endif
  }
  static inline Stack* leaving = nullptr;
};
}  // namespace cudasim
