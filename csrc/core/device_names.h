// The device types of PyTorch by name. Programs name devices they never use (`device("meta")`, `x.device.type == "mps"`), so all of them can be
// written down; only those of the enum in device.h can have a backend, the others are numbers above it and check_device refuses them.
#pragma once
#include <string>

#include "device.h"

namespace mg {

inline constexpr const char* kDeviceNames[] = {"cpu", "cuda", "meta", "mps", "xpu", "xla", "mtia", "hpu", "ipu", "hip", "vulkan",
                                               "mkldnn", "opengl", "opencl", "ideep", "ve", "fpga", "maia", "lazy", "privateuseone"};
constexpr int kNamedDevices = sizeof(kDeviceNames) / sizeof(kDeviceNames[0]);
constexpr int8_t kNoIndex = -1;  // device("cuda"): the current one; never the index of a tensor's device

inline const char* device_name(DeviceType t) { return kDeviceNames[int(t)]; }

inline std::string device_text(Device d) {
  std::string text = device_name(d.type);
  return !has_index(d.type) || d.index == kNoIndex ? text : text + ":" + std::to_string(int(d.index));
}

}  // namespace mg
