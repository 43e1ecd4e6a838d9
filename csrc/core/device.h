// Devices by table: a backend fills one DeviceBackend row when it is linked in; nothing above asks #ifdef.
#pragma once
#include <cstddef>
#include <cstdint>
#include <ostream>

namespace mg {

enum class DeviceType : uint8_t { CPU, CUDA, Meta };  // Meta: shapes and dtypes without memory (meta_device.h)
constexpr int kDeviceTypes = 3;

struct Device {
  DeviceType type = DeviceType::CPU;
  int8_t index = 0;
  bool operator==(const Device&) const = default;
};

inline const char* device_type_name(DeviceType t) { return t == DeviceType::CPU ? "cpu" : t == DeviceType::CUDA ? "cuda" : "meta"; }
inline bool has_index(DeviceType t) { return t != DeviceType::CPU && t != DeviceType::Meta; }  // there is one CPU and one meta
inline std::ostream& operator<<(std::ostream& out, Device d) {
  out << device_type_name(d.type);
  if (has_index(d.type)) out << ':' << int(d.index);
  return out;
}

struct TensorImpl;

struct DeviceBackend {
  void* (*alloc)(size_t nbytes, int index) = nullptr;  // null row = backend not present
  void (*free)(void* data, size_t nbytes, int index) = nullptr;
  void (*copy)(void* dst, Device to, const void* src, Device from, size_t nbytes) = nullptr;
  int (*device_count)() = nullptr;
  // Copies between two tensors of equal shape, converting dtype and layout; set by csrc/cpu, csrc/cuda.
  void (*strided_copy)(const TensorImpl& dst, const TensorImpl& src) = nullptr;
};

DeviceBackend& backend(DeviceType type);  // the table; the CPU row is filled by csrc/core/tensor.cpp
void check_device(Device device);         // raises with a remedy when the backend or index is absent

}  // namespace mg
