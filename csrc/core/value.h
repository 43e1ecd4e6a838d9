// Value: one boxed argument of an op. 16 bytes, owns nothing (the caller keeps tensors and lists alive for the call).
// OwnedValue keeps a copy beyond the call: attributes of a graph node, steps of a view chain.
#pragma once
#include <span>
#include <string_view>
#include <utility>

#include "tensor.h"

namespace mg {

struct Generator;

enum class Kind : uint8_t { None, Tensor, Bool, Int, Float, DType, Device, Ints, Tensors, Str, Generator, Complex };

struct Value {
  Kind kind = Kind::None;
  int32_t len = 0;
  union {
    TensorImpl* t;
    bool b;
    int64_t i;
    double f;
    const int64_t* ints;
    TensorImpl* const* tensors;  // entries may be null (optional indices)
    mg::DType dtype;
    mg::Device device;
    const char* str;
    mg::Generator* generator;
    const mg::complex128* z;  // a Python complex number: does not fit, so it lies elsewhere like a list
  };

  Value() : i(0) {}
  Value(const mg::Tensor& v) : kind(v.defined() ? Kind::Tensor : Kind::None), t(v.get()) {}
  Value(TensorImpl* v) : kind(v ? Kind::Tensor : Kind::None), t(v) {}
  Value(bool v) : kind(Kind::Bool), i(0) { b = v; }
  Value(int v) : kind(Kind::Int), i(v) {}
  Value(int64_t v) : kind(Kind::Int), i(v) {}
  Value(double v) : kind(Kind::Float), f(v) {}
  Value(const Dims& v) : kind(Kind::Ints), len(v.size()), ints(v.data()) {}
  Value(std::span<const int64_t> v) : kind(Kind::Ints), len(int32_t(v.size())), ints(v.data()) {}
  Value(mg::DType v) : kind(Kind::DType), i(0) { dtype = v; }
  Value(mg::Device v) : kind(Kind::Device), i(0) { device = v; }
  Value(const mg::complex128* v) : kind(Kind::Complex), z(v) {}
  Value(const char* v) : kind(Kind::Str), str(v) {}
  static Value list(TensorImpl* const* v, int n) {
    Value r;
    r.kind = Kind::Tensors;
    r.len = n;
    r.tensors = v;
    return r;
  }

  bool none() const { return kind == Kind::None; }
  bool is_tensor() const { return kind == Kind::Tensor; }
  bool is_number() const { return kind == Kind::Bool || kind == Kind::Int || kind == Kind::Float || kind == Kind::Complex; }
  double as_double() const { return kind == Kind::Float ? f : kind == Kind::Bool ? double(b) : double(real_i()); }
  int64_t as_int() const { return kind == Kind::Float ? int64_t(f) : kind == Kind::Bool ? int64_t(b) : real_i(); }
  mg::complex128 as_complex() const { return kind == Kind::Complex ? *z : mg::complex128{as_double(), 0}; }
  Dims as_dims() const { return kind == Kind::Ints ? Dims(std::span(ints, size_t(len))) : Dims{}; }

 private:
  int64_t real_i() const {
    if (kind == Kind::Complex) [[unlikely]]
      fail_not_real(*z);
    return i;
  }
  [[noreturn]] static void fail_not_real(mg::complex128 z);  // code that reads a real number never drops an imaginary part
};

// Raises when `number` is outside of what `dtype` holds: PyTorch's rule for writing one number into a tensor. Fractions are cut, for
// bool anything goes, an unsigned byte also takes -255 … -1. `halves`: whether float16 and bfloat16 refuse what would become infinite.
void check_fits(std::string_view op, const Value& number, DType dtype, bool halves = true);

// 16 bytes as well: numbers inline, tensors counted, lists and strings on the heap. Usable wherever a Value is.
struct OwnedValue : Value {
  OwnedValue() = default;
  explicit OwnedValue(const Value& v) : Value(v) {
    if (kind == Kind::Tensor) t->refs.fetch_add(1, std::memory_order_relaxed);
    else if (kind >= Kind::Ints) [[unlikely]] copy_payload();
  }
  OwnedValue(const OwnedValue& o) : OwnedValue(static_cast<const Value&>(o)) {}
  OwnedValue(OwnedValue&& o) noexcept : Value(o) { o.kind = Kind::None; }
  OwnedValue& operator=(OwnedValue o) noexcept {
    std::swap(static_cast<Value&>(*this), static_cast<Value&>(o));
    return *this;
  }
  ~OwnedValue() {
    if (kind == Kind::Tensor || kind >= Kind::Ints) release();
  }

 private:
  void copy_payload();
  void release();
};

}  // namespace mg
