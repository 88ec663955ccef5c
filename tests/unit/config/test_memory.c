/* SPDX-License-Identifier: ISC */
/*
 * Memory: every allocation of reading and writing fails once; nothing crashes, nothing is leaked (ASan), no
 * half config comes out. The linker leads malloc and its family through here (--wrap).
 */
#include <unistd.h>

#include "config_test.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static bool is_armed;
static unsigned long left; /* allocations that still succeed */

static bool fails(void)
{
	return is_armed && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static const char text[] = LEAST "node = 7\nlimits { sessions_max = 9 }\nio_uring { disable = { send-zc, msg-ring } }\n"
                                 "upstream v { hosts = { a, b, c } domains = { x.example, y.example } }\n";

static void test_reading(void **state)
{
	(void)state;
	unsigned long n = 0;
	for (;; n++) {
		static char report[4096];
		FILE *f = fmemopen(report, sizeof(report), "w");
		left = n;
		is_armed = true;
		struct pn_config *c = pn_config_parse(text, "test.conf", f);
		bool has_failed = left > n; /* it went below zero */
		is_armed = false;
		fclose(f);
		if (!has_failed) {
			assert_non_null(c);
			pn_config_free(c);
			break;
		}
		assert_null(c);
		assert_non_null(strstr(report, "out of memory while the configuration was read\n"));
	}
	assert_in_range(n, 100, 10000);
}

static void test_loading_with_files(void **state)
{
	(void)state;
	char path[] = "/tmp/pn-test-config-memory-XXXXXX", included[64];
	int fd = mkstemp(path);
	snprintf(included, sizeof(included), "%s.inc", path);
	FILE *f = fdopen(fd, "w");
	fprintf(f, "%sinclude(\"%s\")\nlog { file = \"/no/such/place\" }\n"
	        "upstream w { kind = maildir maildir = /m domains = z.example }\n", text, included);
	fclose(f);
	f = fopen(included, "w");
	fputs("loops = 2\n", f);
	fclose(f);
	unsigned long n = 0;
	bool has_failed = true;
	for (; has_failed; n++) {
		left = n;
		is_armed = true;
		struct pn_config *c = pn_config_load(path, true, NULL);
		has_failed = left > n;
		is_armed = false;
		assert_null(c); /* with all the memory: the files are not there */
	}
	assert_in_range(n, 100, 10000);
	unlink(path);
	unlink(included);
}

static void test_writing(void **state)
{
	(void)state;
	struct pn_config *c = parse_fine(text);
	unsigned long n = 0;
	char *written = NULL;
	for (; written == NULL; n++) {
		left = n;
		is_armed = true;
		written = pn_config_canonical(c);
		is_armed = false;
	}
	free(written);
	assert_in_range(n, 3, 100);
	pn_config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading),
		cmocka_unit_test(test_loading_with_files),
		cmocka_unit_test(test_writing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
