/* SPDX-License-Identifier: ISC */
/*
 * Runs a fuzz target once on the empty input and once on every file named, or found in the folders named,
 * in the order of their names: the corpus as a plain regression test, without libFuzzer.
 *
 * Every input lies in an allocation of exactly its size, so that a read past its end is seen by ASan and valgrind.
 * A missing folder or an unreadable file is an error: a corpus that got lost must not look like a pass.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static size_t inputs_run;

static int fail(const char *path, const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", path, what, strerror(errno));
	return -1;
}

static int run_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		return fail(path, "cannot open");
	uint8_t *data = malloc(size > 0 ? size : 1);
	if (data == NULL || fread(data, 1, size, file) != size) {
		fclose(file);
		free(data);
		return fail(path, "cannot read");
	}
	fclose(file);
	/* Named before it runs: after a crash the last line tells which file it was. */
	fprintf(stderr, "%s (%zu bytes)\n", path, size);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	inputs_run++;
	return 0;
}

static int run_path(const char *path);

static int run_folder(const char *path)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		return fail(path, "cannot list");
	int result = 0;
	for (int i = 0; i < count; i++) {
		char *name = NULL;
		if (result == 0 && entries[i]->d_name[0] != '.') {
			if (asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0)
				name = NULL;
			result = name != NULL ? run_path(name) : -1;
		}
		free(name);
		free(entries[i]);
	}
	free(entries);
	return result;
}

static int run_path(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return fail(path, "cannot stat");
	if (S_ISDIR(st.st_mode))
		return run_folder(path);
	return run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE-OR-FOLDER...\n", argv[0]);
		return 2;
	}
	LLVMFuzzerInitialize(&argc, &argv);
	uint8_t *empty = malloc(1);
	if (empty == NULL)
		return 1;
	LLVMFuzzerTestOneInput(empty, 0);
	free(empty);
	for (int i = 1; i < argc; i++) {
		if (run_path(argv[i]) != 0)
			return 1;
	}
	printf("%zu inputs replayed\n", inputs_run);
	return inputs_run > 0 ? 0 : 1;
}
