# SPDX-License-Identifier: ISC
# Compiler and linker flags of everything that we compile: the interface target pn_flags.
# Every target made with PnTargets.cmake links it.

# No -DNDEBUG in any build type: assertions are part of the product.
foreach(lang C CXX)
  set(CMAKE_${lang}_FLAGS_RELWITHDEBINFO "-O2 -g")
  set(CMAKE_${lang}_FLAGS_RELEASE "-O2")
endforeach()
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)

set(PN_FUZZ OFF)
set(PN_SANITIZE_FLAGS "")
if(PN_SANITIZE STREQUAL "address")
  set(PN_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(PN_SANITIZE STREQUAL "thread")
  set(PN_SANITIZE_FLAGS -fsanitize=thread)
elseif(PN_SANITIZE STREQUAL "fuzz")
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "PN_SANITIZE=fuzz needs clang: cmake --preset fuzz")
  endif()
  set(PN_FUZZ ON)
  set(PN_SANITIZE_FLAGS -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
elseif(PN_SANITIZE)
  message(FATAL_ERROR "PN_SANITIZE is '${PN_SANITIZE}'; use address, thread, fuzz or nothing")
endif()

add_library(pn_flags INTERFACE)
target_compile_definitions(pn_flags INTERFACE _GNU_SOURCE)
target_compile_options(pn_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Wvla -fno-strict-aliasing -fno-common
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions> $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti>)
# Paths in the binary and in assertion texts start at the top of the tree.
target_compile_options(pn_flags INTERFACE -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(PN_WERROR)
  target_compile_options(pn_flags INTERFACE -Werror)
endif()
if(PN_FAULT_INJECTION)
  target_compile_definitions(pn_flags INTERFACE PN_FAULT_INJECTION=1)
endif()

if(PN_SANITIZE)
  target_compile_options(pn_flags INTERFACE ${PN_SANITIZE_FLAGS} -O1 -fno-omit-frame-pointer)
  target_link_options(pn_flags INTERFACE ${PN_SANITIZE_FLAGS})
  if(PN_JEMALLOC)
    message(STATUS "jemalloc: left out of the sanitizer build")
    set(PN_JEMALLOC OFF)
  endif()
elseif(PN_HARDEN)
  target_compile_options(pn_flags INTERFACE -fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    target_compile_options(pn_flags INTERFACE -fcf-protection)
  endif()
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_options(pn_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
  target_link_options(pn_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie>)
endif()

# UBSan's checks make gcc's flow warnings see paths that do not exist.
if(PN_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(pn_flags INTERFACE -Wno-maybe-uninitialized -Wno-error=stringop-overflow)
endif()
