// Errors: every user mistake becomes one mg::Error, raised before anything is allocated or written.
//
// The kind maps one to one to a Python exception class (csrc/python translates). Text form, see CONVENTIONS 8:
//   `op: what is wrong: got <values>, expected <rule>. Try <remedy>.`
// MG_CHECK is for user errors; MG_INTERNAL for conditions that only a bug in minigrad can break (it says so, with file:line).
#pragma once
#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace mg {

enum class ErrorKind : unsigned char { Runtime, Index, Type, Value, NotImplemented, Memory, Overflow, ZeroDivision, Assertion };

struct Error : std::exception {
  ErrorKind kind;
  std::string message;
  Error(ErrorKind k, std::string m) : kind(k), message(std::move(m)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

// Concatenates anything that has operator<<.
template <class... A>
std::string str(const A&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... A>
[[noreturn, gnu::cold, gnu::noinline]] void fail(ErrorKind kind, const A&... parts) {
  throw Error(kind, str(parts...));
}

}  // namespace mg

#define MG_CHECK(cond, kind, ...)                                                        \
  do {                                                                                   \
    if (!(cond)) [[unlikely]] ::mg::fail(::mg::ErrorKind::kind, __VA_ARGS__);            \
  } while (0)
#define MG_INTERNAL(cond, ...)                                                           \
  do {                                                                                   \
    if (!(cond)) [[unlikely]]                                                            \
      ::mg::fail(::mg::ErrorKind::Runtime, "bug in minigrad, please report it: " #cond " at " __FILE__ ":", __LINE__, " ", __VA_ARGS__); \
  } while (0)
