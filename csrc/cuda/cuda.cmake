# The CUDA backend, minigrad._cuda: an extension module of its own beside _core, whose exported functions it calls. MINIGRAD_CUDA chooses:
#
#   ON    nvcc; the runtime is linked statically and the driver not at all, so the module imports everywhere and then finds no device
#   SIM   the same sources compiled by the C++ compiler with the simulated device (csrc/cuda/sim, docs/simulated-device.md): for tests
#   OFF   nothing is built
#   AUTO  ON where there are an nvcc and an NVIDIA driver, else OFF: a toolkit alone is no reason to compile for minutes what cannot run here
set(cuda_mode ${MINIGRAD_CUDA})
if(cuda_mode STREQUAL "AUTO" AND NOT EXISTS /proc/driver/nvidia/version AND NOT EXISTS /dev/nvidiactl AND NOT EXISTS /dev/dxg)
  set(cuda_mode OFF)
endif()
if(cuda_mode STREQUAL "AUTO" OR cuda_mode STREQUAL "ON")
  find_program(MINIGRAD_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin /opt/cuda/bin)
  if(DEFINED ENV{CUDACXX})
    set(MINIGRAD_NVCC $ENV{CUDACXX})
  endif()
  set(cuda_missing "")
  if(MINIGRAD_NVCC)
    set(CMAKE_CUDA_COMPILER ${MINIGRAD_NVCC})
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # machine code for both, and PTX of the newer for what comes later
    endif()
    get_filename_component(cuda_lib ${MINIGRAD_NVCC}/../../lib ABSOLUTE)
    set(ENV{LIBRARY_PATH} "${cuda_lib}:$ENV{LIBRARY_PATH}")  # the nvcc of the pip wheels does not look there when CMake tries it
    enable_language(CUDA)
    if(NOT cuda_std_20 IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
      set(cuda_missing "CMake ${CMAKE_VERSION} does not know C++20 of nvcc ${CMAKE_CUDA_COMPILER_VERSION} (${MINIGRAD_NVCC}). Try a newer CMake \
(pip install cmake) or, with an older toolkit, CUDA 12 or later")
    endif()
  else()
    set(cuda_missing "no nvcc found. Set CUDACXX or CUDA_HOME")
  endif()
  if(NOT cuda_missing)
    set(cuda_mode ON)
  elseif(cuda_mode STREQUAL "ON")
    message(FATAL_ERROR "MINIGRAD_CUDA=ON: ${cuda_missing}, or use OFF or SIM")
  else()
    message(STATUS "minigrad: no CUDA backend, though there is a driver: ${cuda_missing}")
    set(cuda_mode OFF)
  endif()
endif()
message(STATUS "minigrad: CUDA backend ${cuda_mode} (MINIGRAD_CUDA=${MINIGRAD_CUDA})")
if(cuda_mode STREQUAL "OFF")
  return()
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS csrc/cuda/runtime/*.cpp csrc/cuda/python/*.cpp)
file(GLOB cuda_kernels CONFIGURE_DEPENDS csrc/cuda/kernels/*.cu)
if(cuda_mode STREQUAL "SIM")
  file(GLOB sim_sources CONFIGURE_DEPENDS csrc/cuda/sim/*.cpp)
  set_source_files_properties(${cuda_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas")
  pybind11_add_module(_cuda MODULE NO_EXTRAS ${cuda_sources} ${cuda_kernels} ${sim_sources})
  target_compile_definitions(_cuda PRIVATE MINIGRAD_CUDASIM=1)
  target_compile_options(_cuda PRIVATE -O1 -g1)  # for tests: compile time counts more than the simulator's speed
  option(MINIGRAD_CUDA_SANITIZE "SIM: _cuda alone under AddressSanitizer; start Python with libasan in LD_PRELOAD" OFF)
  if(MINIGRAD_CUDA_SANITIZE)
    target_compile_options(_cuda PRIVATE -fsanitize=address -fno-omit-frame-pointer -Wno-maybe-uninitialized)  # gcc 12 warns of pybind11
    target_link_options(_cuda PRIVATE -fsanitize=address)
  endif()
else()
  list(GET CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES 0 cuda_include)
  # Not find_package(CUDAToolkit): it wants a shared runtime too, which the wheels have under another name.
  find_library(MINIGRAD_CUDART cudart_static REQUIRED HINTS ${cuda_include}/../lib ${cuda_include}/../lib64 ${cuda_lib}
               ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} ${CMAKE_CUDA_HOST_IMPLICIT_LINK_DIRECTORIES})
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  pybind11_add_module(_cuda MODULE NO_EXTRAS ${cuda_sources} ${cuda_kernels})
  set_target_properties(_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY None LINKER_LANGUAGE CXX)
  target_include_directories(_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-diag-suppress=550,1835;--expt-relaxed-constexpr>)
  target_link_libraries(_cuda PRIVATE ${MINIGRAD_CUDART} rt)
endif()
target_link_libraries(_cuda PRIVATE minigrad_flags)
# By file name, so that the loader takes the _core that Python has loaded; $ORIGIN finds it where _cuda is loaded first.
add_dependencies(_cuda _core)
# As libraries, so that they stand after the objects: linkers drop one that nothing before it needs.
target_link_libraries(_cuda PRIVATE -L$<TARGET_FILE_DIR:_core> -l:$<TARGET_FILE_NAME:_core>)
set_target_properties(_cuda PROPERTIES BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
install(TARGETS _cuda LIBRARY DESTINATION minigrad)
