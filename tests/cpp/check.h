// The whole test framework of tests/cpp: CHECK(condition) counts failures, CHECK_THROWS expects an exception type, and
// main() ends with `return mg_test::report("name")`. Every test is one executable; CTest reads its exit status.
#pragma once

#include <atomic>
#include <cstdio>

namespace mg_test {

inline std::atomic<int> checks{0};
inline std::atomic<int> failures{0};

inline void check(bool ok, const char* text, const char* file, int line) {
  checks.fetch_add(1, std::memory_order_relaxed);
  if (ok) return;
  // One broken invariant inside a loop would print a million lines; the first twenty say it all.
  if (failures.fetch_add(1) < 20) std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, text);
}

inline int report(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks.load(), failures.load());
  return failures.load() == 0 ? 0 : 1;
}

}  // namespace mg_test

#define CHECK(...) ::mg_test::check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

#define CHECK_THROWS(Type, ...)                                                          \
  do {                                                                                   \
    bool mg_test_thrown = false;                                                         \
    try {                                                                                \
      __VA_ARGS__;                                                                       \
    } catch (const Type&) {                                                              \
      mg_test_thrown = true;                                                             \
    }                                                                                    \
    ::mg_test::check(mg_test_thrown, #__VA_ARGS__ " throws " #Type, __FILE__, __LINE__); \
  } while (false)
