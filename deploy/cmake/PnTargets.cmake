# SPDX-License-Identifier: ISC
# The functions that the CMakeLists.txt of our folders use. In every LIBS list the bare name of a module
# (base, smtp, ...) means its library pn_<module>; other names are taken as they are.

set(PN_MODULE_NAMES base smtp sasl net tls spool auth policy session relay admin config)

function(pn_link target visibility)
  foreach(lib IN LISTS ARGN)
    if(lib IN_LIST PN_MODULE_NAMES)
      set(lib pn_${lib})
    endif()
    target_link_libraries(${target} ${visibility} ${lib})
  endforeach()
endfunction()

# What every target of ours has.
function(pn_common target)
  target_link_libraries(${target} PRIVATE pn_flags Threads::Threads)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
endfunction()

# pn_library(NAME SOURCES file... [LIBS lib...] [PRIVATE_LIBS lib...])
#   The static library pn_NAME. Users of it get include/; LIBS are passed on to them as well.
function(pn_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS;PRIVATE_LIBS")
  add_library(pn_${name} STATIC ${arg_SOURCES})
  pn_common(pn_${name})
  target_include_directories(pn_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/generated)
  pn_link(pn_${name} PUBLIC ${arg_LIBS})
  pn_link(pn_${name} PRIVATE ${arg_PRIVATE_LIBS})
endfunction()

# pn_executable(NAME SOURCES file... [LIBS lib...])
#   A program in bin/ of the build folder; jemalloc is its allocator unless it is a sanitizer build.
function(pn_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  target_link_libraries(${name} PRIVATE pn_allocator)
  pn_common(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/generated)
  pn_link(${name} PRIVATE ${arg_LIBS})
endfunction()

# What every test gets: time limit, labels and the environment. A test that cannot run here says why and
# exits with 77, which ctest shows as skipped.
function(pn_test_properties name timeout labels serial)
  set(environment
    PN_SOURCE_DIR=${PROJECT_SOURCE_DIR}
    PN_BUILD_DIR=${PROJECT_BINARY_DIR}
    PN_POSTERN=${PROJECT_BINARY_DIR}/bin/postern
    PN_BENCH=${PROJECT_BINARY_DIR}/bin/postern-bench
    PN_SANITIZE=${PN_SANITIZE}
    PN_CC=${CMAKE_C_COMPILER}
    "ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:abort_on_error=1"
    "TSAN_OPTIONS=halt_on_error=1:abort_on_error=1:second_deadlock_stack=1:history_size=5")
  if(PN_FAULT_INJECTION)
    list(APPEND environment PN_FAULT_INJECTION=1)
  endif()
  if(PN_TEST_FULL)
    list(APPEND environment PN_TEST_FULL=1)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} SKIP_RETURN_CODE 77 LABELS "${labels}"
    ENVIRONMENT "${environment}")
  if(serial)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

# pn_test(NAME COMMAND command arg... [LABELS label...] [TIMEOUT seconds] [SERIAL])
#   Any program as a test: scripts against the real binary, for example. The label release-only keeps it out
#   of the sanitizer runs; exit code 77 means skipped. Its environment: PN_SOURCE_DIR, PN_BUILD_DIR,
#   PN_POSTERN (the program), PN_BENCH, PN_SANITIZE, PN_CC, and PN_TEST_FULL=1 in a full run.
function(pn_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT" "COMMAND;LABELS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(NOT arg_LABELS)
    get_filename_component(arg_LABELS ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  pn_test_properties(${name} ${arg_TIMEOUT} "${arg_LABELS}" "${arg_SERIAL}")
endfunction()

# pn_unit_test(NAME [SOURCES file...] [LIBS lib...] [LABELS label...] [TIMEOUT seconds] [SERIAL])
#   A cmocka program test_NAME (default source: test_NAME.c) and its test unit_NAME.
function(pn_unit_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT" "SOURCES;LIBS;LABELS")
  if(NOT arg_SOURCES)
    set(arg_SOURCES test_${name}.c)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  get_filename_component(module ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  add_executable(test_${name} ${arg_SOURCES})
  pn_common(test_${name})
  target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_BINARY_DIR}/generated ${PROJECT_SOURCE_DIR}/tests/support)
  pn_link(test_${name} PRIVATE ${arg_LIBS} Dep::cmocka)
  add_test(NAME unit_${name} COMMAND test_${name})
  pn_test_properties(unit_${name} ${arg_TIMEOUT} "unit;${module};${arg_LABELS}" "${arg_SERIAL}")
endfunction()

# pn_fuzz_target(NAME [SOURCES file...] [LIBS lib...] [TIMEOUT seconds])
#   The program fuzz_NAME (default source: fuzz_NAME.c) around LLVMFuzzerTestOneInput: libFuzzer in the fuzz build,
#   in all others a replay of files. Either way the test fuzz_replay_NAME runs it over tests/fuzz/corpus/NAME.
function(pn_fuzz_target name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LIBS")
  if(NOT arg_SOURCES)
    set(arg_SOURCES fuzz_${name}.c)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  add_executable(fuzz_${name} ${arg_SOURCES})
  pn_common(fuzz_${name})
  target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_BINARY_DIR}/generated ${PROJECT_SOURCE_DIR}/tests/fuzz ${PROJECT_SOURCE_DIR}/tests/support)
  pn_link(fuzz_${name} PRIVATE ${arg_LIBS})
  if(PN_FUZZ)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME fuzz_replay_${name} COMMAND fuzz_${name} -runs=0 ${corpus})
    # A real run from the corpus: a few seconds, a minute in a full run.
    add_test(NAME fuzz_run_${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/fuzz/run_target $<TARGET_FILE:fuzz_${name}> ${corpus})
    pn_test_properties(fuzz_run_${name} 300 "fuzz" OFF)
    if(NOT TARGET fuzz_targets)
      add_custom_target(fuzz_targets)
    endif()
    add_dependencies(fuzz_targets fuzz_${name})
  else()
    target_sources(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.c)
    add_test(NAME fuzz_replay_${name} COMMAND fuzz_${name} ${corpus})
  endif()
  pn_test_properties(fuzz_replay_${name} ${arg_TIMEOUT} "fuzz" OFF)
endfunction()
