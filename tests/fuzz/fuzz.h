/* SPDX-License-Identifier: ISC */
/*
 * The entry points of a fuzz target (libFuzzer's names), declared so that each target can be compiled with
 * -Wmissing-prototypes. A target defines the first; the second is optional. In the fuzz build libFuzzer calls
 * them, in every other build replay_main.c does, over the files of the corpus.
 */
#ifndef PN_TESTS_FUZZ_H
#define PN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
