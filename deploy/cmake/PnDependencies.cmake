# SPDX-License-Identifier: ISC
# The libraries that we link, as imported targets:
#   Dep::liburing Dep::libconfuse Dep::jansson Dep::libcares Dep::libidn Dep::libseccomp Dep::crypt
#   Dep::ipsec_mb (amd64; empty elsewhere), Dep::cmocka (tests),
#   BoringSSL::ssl BoringSSL::crypto, pn_allocator (jemalloc or nothing).
# All are Debian packages, installed by deploy/install-deps, which also builds BoringSSL.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
include(CheckSymbolExists)

set(PN_INSTALL_DEPS ${PROJECT_SOURCE_DIR}/deploy/install-deps)

# pn_dependency(name pkg-config-module debian-package)
function(pn_dependency name module package)
  pkg_check_modules(DEP_${name} QUIET IMPORTED_TARGET ${module})
  if(NOT DEP_${name}_FOUND)
    message(FATAL_ERROR "${module} was not found. Install the Debian package ${package}, or run "
      "deploy/install-deps, which installs all that is needed.")
  endif()
  add_library(Dep::${name} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(Dep::${name} INTERFACE PkgConfig::DEP_${name})
  set_target_properties(PkgConfig::DEP_${name} PROPERTIES IMPORTED_GLOBAL TRUE)
endfunction()

pn_dependency(liburing liburing liburing-dev)
pn_dependency(libconfuse libconfuse libconfuse-dev)
pn_dependency(jansson jansson libjansson-dev)
pn_dependency(libcares libcares libc-ares-dev)
pn_dependency(libidn libidn libidn-dev)
pn_dependency(libseccomp libseccomp libseccomp-dev)
pn_dependency(crypt libcrypt libcrypt-dev)
if(PN_TESTS AND NOT PN_FUZZ)
  pn_dependency(cmocka cmocka libcmocka-dev)
endif()

# AES-GCM with VAES and AVX-512, which BoringSSL of 2022 has not; src/tls/gcm.c asks the CPU. It brings no
# pkg-config file.
add_library(Dep::ipsec_mb INTERFACE IMPORTED GLOBAL)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  find_library(PN_IPSEC_MB_LIBRARY IPSec_MB)
  find_path(PN_IPSEC_MB_INCLUDE intel-ipsec-mb.h)
  if(NOT PN_IPSEC_MB_LIBRARY OR NOT PN_IPSEC_MB_INCLUDE)
    message(FATAL_ERROR "libipsec-mb was not found. Install the Debian package libipsec-mb-dev, or run "
      "deploy/install-deps, which installs all that is needed.")
  endif()
  target_link_libraries(Dep::ipsec_mb INTERFACE ${PN_IPSEC_MB_LIBRARY})
  target_include_directories(Dep::ipsec_mb SYSTEM INTERFACE ${PN_IPSEC_MB_INCLUDE})
  target_compile_definitions(Dep::ipsec_mb INTERFACE PN_HAVE_IPSEC_MB=1)
endif()

# What newer versions of liburing have and Debian 12's does not: PN_HAVE_<NAME>=1 where found.
set(CMAKE_REQUIRED_DEFINITIONS -D_GNU_SOURCE)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::DEP_liburing)
foreach(symbol io_uring_setup_buf_ring io_uring_prep_cmd_sock io_uring_prep_bind
    io_uring_prep_send_bundle io_uring_register_napi io_uring_resize_rings)
  string(TOUPPER PN_HAVE_${symbol} have)
  check_symbol_exists(${symbol} liburing.h ${have})
  if(${have})
    set_property(TARGET Dep::liburing APPEND PROPERTY INTERFACE_COMPILE_DEFINITIONS ${have}=1)
  endif()
endforeach()
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_DEFINITIONS)

# The allocator of the programs. --no-as-needed: a library that only replaces malloc has no symbol
# that the linker would count as a use.
add_library(pn_allocator INTERFACE)
if(PN_JEMALLOC)
  pn_dependency(jemalloc jemalloc libjemalloc-dev)
  target_compile_definitions(pn_allocator INTERFACE PN_JEMALLOC=1)
  get_target_property(pn_jemalloc_library PkgConfig::DEP_jemalloc INTERFACE_LINK_LIBRARIES)
  target_link_options(pn_allocator INTERFACE
    "LINKER:--push-state,--no-as-needed" ${pn_jemalloc_library} "LINKER:--pop-state")
endif()

# BoringSSL: a folder with include/openssl and lib/lib{ssl,crypto}.a. Empty means: what deploy/install-deps
# has built into its cache. TSan needs a build of its own: the C11 atomics of an uninstrumented library are
# invisible to it, and references counted with them look like races.
set(BORINGSSL_ROOT "" CACHE PATH "BoringSSL install (empty: the one built by deploy/install-deps)")
set(BORINGSSL_TSAN "" CACHE PATH "BoringSSL for the tsan build (empty: the one built by deploy/install-deps --tests)")
if(PN_SANITIZE STREQUAL "thread")
  set(pn_bssl_variant tsan)
  set(pn_bssl_root "${BORINGSSL_TSAN}")
  set(pn_bssl_command "deploy/install-deps --tests")
else()
  set(pn_bssl_variant plain)
  set(pn_bssl_root "${BORINGSSL_ROOT}")
  set(pn_bssl_command "deploy/install-deps")
endif()
if(NOT pn_bssl_root)
  execute_process(COMMAND ${PN_INSTALL_DEPS} --print-boringssl ${pn_bssl_variant}
    OUTPUT_VARIABLE pn_bssl_root OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE pn_bssl_result)
  if(NOT pn_bssl_result EQUAL 0)
    message(FATAL_ERROR "No BoringSSL (${pn_bssl_variant}) in the cache. Run ${pn_bssl_command}, which builds it "
      "once (about a minute), or name an install of your own with -DBORINGSSL_ROOT=DIR.")
  endif()
endif()
foreach(file include/openssl/ssl.h lib/libssl.a lib/libcrypto.a)
  if(NOT EXISTS ${pn_bssl_root}/${file})
    message(FATAL_ERROR "BoringSSL: ${pn_bssl_root}/${file} is missing. Run ${pn_bssl_command}, or name another "
      "BoringSSL install with -DBORINGSSL_ROOT=DIR (a folder with include/openssl, lib/libssl.a and lib/libcrypto.a).")
  endif()
endforeach()
file(STRINGS ${pn_bssl_root}/include/openssl/base.h pn_bssl_is REGEX "define OPENSSL_IS_BORINGSSL")
if(NOT pn_bssl_is)
  message(FATAL_ERROR "${pn_bssl_root} is not BoringSSL (another OpenSSL?). Run ${pn_bssl_command}.")
endif()
message(STATUS "BoringSSL: ${pn_bssl_root}")

add_library(BoringSSL::crypto STATIC IMPORTED GLOBAL)
set_target_properties(BoringSSL::crypto PROPERTIES
  IMPORTED_LOCATION ${pn_bssl_root}/lib/libcrypto.a
  INTERFACE_INCLUDE_DIRECTORIES ${pn_bssl_root}/include
  INTERFACE_LINK_LIBRARIES Threads::Threads)
add_library(BoringSSL::ssl STATIC IMPORTED GLOBAL)
set_target_properties(BoringSSL::ssl PROPERTIES
  IMPORTED_LOCATION ${pn_bssl_root}/lib/libssl.a
  INTERFACE_LINK_LIBRARIES BoringSSL::crypto)

# What newer versions of BoringSSL have: PN_HAVE_SSL_CREDENTIAL, PN_HAVE_SSL_MLKEM.
function(pn_boringssl_feature definition regex)
  file(STRINGS ${pn_bssl_root}/include/openssl/ssl.h found REGEX "${regex}")
  if(found)
    set_property(TARGET BoringSSL::ssl APPEND PROPERTY INTERFACE_COMPILE_DEFINITIONS ${definition}=1)
  endif()
endfunction()
pn_boringssl_feature(PN_HAVE_SSL_CREDENTIAL "SSL_CREDENTIAL_new_x509")
pn_boringssl_feature(PN_HAVE_SSL_MLKEM "SSL_GROUP_X25519_MLKEM768")
