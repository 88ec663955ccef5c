/* SPDX-License-Identifier: ISC */
/* test_log.c - log lines, the ring's reservations, and the writer against every kind of bad output.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>
#include <postern/base/counters.h>
#include <postern/base/prng.h>

#include "base/log_internal.h"

static char directory[] = "/tmp/pn-test-log-XXXXXX";
static char log_path[64];

static void set_format(enum pn_log_format format)
{
	struct pn_log_settings settings = { .format = format, .level_min = PN_LOG_DEBUG };

	pn_log_configure(&settings);
}

/* The text of a line behind its event, as a string. */
static const char *line_of(struct pn_log_line *l, const char *key, struct pn_slice value)
{
	static char text[PN_LOG_LINE_MAX + 1];

	pn_log_begin(l, PN_LOG_INFO, "e");
	pn_log_slice(l, key, value);
	pn_log_finish(l);
	memcpy(text, l->text, l->len);
	text[l->len] = '\0';
	const char *start = l->is_json ? strstr(text, "\"event\":\"e\"") : strstr(text, "event=e");
	assert_non_null(start);
	return start;
}

static void test_logfmt_escapes_what_could_forge_a_line(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "event=e k=plain\n" },
		{ "", "event=e k=\"\"\n" },
		{ "two words", "event=e k=\"two words\"\n" },
		{ "a=b", "event=e k=\"a=b\"\n" },
		{ "a\"b\\c", "event=e k=\"a\\\"b\\\\c\"\n" },
		{ "x\r\ntime=0", "event=e k=\"x\\x0d\\x0atime=0\"\n" },
		{ "\x1b[31m\x7f", "event=e k=\"\\x1b[31m\\x7f\"\n" },
		{ "\xc3\xa4\xe2\x82\xac", "event=e k=\"\xc3\xa4\xe2\x82\xac\"\n" },
		{ "\xc2\x85\xc2\x9f\xc2\xa0", "event=e k=\"\\xc2\\x85\\xc2\\x9f\xc2\xa0\"\n" },
		{ "\xff\xc3", "event=e k=\"\\xff\\xc3\"\n" },
	};
	struct pn_log_line l;

	(void)state;
	set_format(PN_LOG_LOGFMT);
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		assert_string_equal(line_of(&l, "k", pn_slice_str(cases[i].in)), cases[i].out);
	assert_string_equal(line_of(&l, "k", pn_slice("a\0b", 3)), "event=e k=\"a\\x00b\"\n");
	assert_string_equal(line_of(&l, "k", PN_SLICE_NULL), "event=e k=\"\"\n");
}

static void test_json_escapes_by_the_grammar(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "\"event\":\"e\",\"k\":\"plain\"}\n" },
		{ "", "\"event\":\"e\",\"k\":\"\"}\n" },
		{ "a\"b\\c\n\t", "\"event\":\"e\",\"k\":\"a\\\"b\\\\c\\u000a\\u0009\"}\n" },
		{ "\xc2\x85", "\"event\":\"e\",\"k\":\"\\u0085\"}\n" },
		{ "\xff", "\"event\":\"e\",\"k\":\"\\\\xff\"}\n" },
	};
	struct pn_log_line l;

	(void)state;
	set_format(PN_LOG_JSON);
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		assert_string_equal(line_of(&l, "k", pn_slice_str(cases[i].in)), cases[i].out);
}

/* Reads one JSON string; NULL when it is not one. */
static const uint8_t *skip_json_string(const uint8_t *at, const uint8_t *end)
{
	if (at == end || *at++ != '"')
		return NULL;
	while (at < end && *at != '"') {
		if (*at < 0x20)
			return NULL;
		if (*at == '\\') {
			if (end - at < 2 || !strchr("\"\\/bfnrtu", at[1]) ||
			    (at[1] == 'u' && end - at < 6))
				return NULL;
			for (int i = 0; at[1] == 'u' && i < 4; i++) {
				if (!strchr("0123456789abcdef", at[2 + i]))
					return NULL;
			}
			at += at[1] == 'u' ? 6 : 2;
			continue;
		}
		size_t len = pn_utf8_next(pn_slice(at, (size_t)(end - at)));
		if (len == 0)
			return NULL;
		at += len;
	}
	return at < end ? at + 1 : NULL;
}

/* Whether a line is a JSON object of strings and unsigned numbers, and then one line feed. */
static bool is_json_line(const char *text, size_t len)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + len;

	if (len < 3 || end[-1] != '\n' || end[-2] != '}' || *at != '{')
		return false;
	end -= 2;
	do {
		at = skip_json_string(at + 1, end);
		if (!at || at == end || *at++ != ':' || at == end)
			return false;
		if (*at == '"')
			at = skip_json_string(at, end);
		else if (*at == 't' && end - at >= 4 && memcmp(at, "true", 4) == 0)
			at += 4;
		else
			while (at < end && *at >= '0' && *at <= '9')
				at++;
	} while (at && at < end && *at == ',');
	return at == end;
}

static void test_cut_lines_stay_well_formed(void **state)
{
	struct pn_log_line l;
	struct pn_prng prng;
	uint8_t junk[4096];
	int cut = 0;

	(void)state;
	pn_prng_init(&prng, 21);
	for (int round = 0; round < 4000; round++) {
		bool is_json = round % 2 == 0;
		set_format(is_json ? PN_LOG_JSON : PN_LOG_LOGFMT);
		pn_log_begin(&l, PN_LOG_SESSION, "session");
		for (uint64_t keys = pn_prng_below(&prng, 8); keys > 0; keys--) {
			size_t len = (size_t)pn_prng_below(
				&prng, pn_prng_below(&prng, 3) ? 300 : sizeof(junk));
			uint64_t kind = pn_prng_below(&prng, 3);
			for (size_t i = 0; i < len; i++)
				junk[i] = kind == 0   ? 'x'
					  : kind == 1 ? '\n'
						      : (uint8_t)pn_prng_next(&prng);
			pn_log_slice(&l, "key", pn_slice(junk, len));
			pn_log_u64(&l, "number", UINT64_MAX);
		}
		pn_log_finish(&l);
		assert_true(l.len <= PN_LOG_LINE_MAX);
		assert_int_equal(l.text[l.len - 1], '\n');
		assert_ptr_equal(memchr(l.text, '\n', l.len), &l.text[l.len - 1]);
		assert_true(pn_utf8_is_valid(pn_slice(l.text, l.len)));
		if (is_json)
			assert_true(is_json_line(l.text, l.len));
		bool has_mark =
			memmem(l.text, l.len, is_json ? "\"truncated\":true" : " truncated=yes",
			       is_json ? 16 : 14) != NULL;
		assert_int_equal(has_mark, l.is_truncated);
		cut += l.is_truncated;
	}
	assert_in_range(cut, 100, 3900);
}

static void test_hidden_classes_write_nothing(void **state)
{
	struct pn_log_settings settings = { .format = PN_LOG_LOGFMT, .level_min = PN_LOG_WARN };
	static const bool is_hidden[PN_LOG_CLASS_COUNT] = {
		[PN_LOG_DEBUG] = true, [PN_LOG_INFO] = true
	};
	struct pn_log_line l;
	struct pn_id id = { { 0 } };

	(void)state;
	pn_log_configure(&settings);
	for (int class = 0; class < (int)PN_LOG_CLASS_COUNT; class ++) {
		pn_log_begin(&l, (enum pn_log_class) class, "e");
		pn_log_str(&l, "k", "v");
		pn_log_u64(&l, "n", 1);
		pn_log_id(&l, "id", &id);
		assert_int_equal(l.is_suppressed, is_hidden[class]);
		assert_int_equal(l.len == 0, is_hidden[class]);
		l.is_suppressed = true;
		pn_log_end(&l);
	}
}

static void test_ring_keeps_room_by_class(void **state)
{
	struct pn_log_ring ring;
	char out[PN_LOG_LINE_MAX];
	bool must_wake;

	(void)state;
	assert_int_equal(pn_log_ring_init(&ring, SIZE_MAX), -ENOMEM);
	assert_int_equal(pn_log_ring_init(&ring, 16), 0);
	for (int turn = 0; turn < 5; turn++) {
		assert_true(pn_log_ring_may_sleep(&ring));
		for (int i = 0; i < 8; i++) {
			assert_true(pn_log_ring_push(&ring, PN_LOG_DEBUG, "d", 1, &must_wake));
			assert_int_equal(must_wake, i == 0);
		}
		assert_false(pn_log_ring_push(&ring, PN_LOG_SESSION, "s", 1, &must_wake));
		assert_false(must_wake);
		for (int i = 0; i < 4; i++)
			assert_true(pn_log_ring_push(&ring, PN_LOG_ERROR, "e", 1, &must_wake));
		assert_false(pn_log_ring_push(&ring, PN_LOG_WARN, "w", 1, &must_wake));
		for (int i = 0; i < 4; i++)
			assert_true(pn_log_ring_push(&ring, PN_LOG_MESSAGE, "m", 1, &must_wake));
		assert_false(pn_log_ring_push(&ring, PN_LOG_DELIVERY, "m", 1, &must_wake));
		assert_false(pn_log_ring_may_sleep(&ring));
		for (int i = 0; i < 16; i++) {
			assert_int_equal(pn_log_ring_pop(&ring, out), 1);
			assert_int_equal(out[0], i < 8 ? 'd' : i < 12 ? 'e' : 'm');
		}
		assert_int_equal(pn_log_ring_pop(&ring, out), 0);
	}
	pn_log_ring_deinit(&ring);
}

static uint64_t counter(enum pn_log_counter c)
{
	return pn_counter_get(&pn_log_counters[c]);
}

static int open_log(void)
{
	int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	return fd;
}

static int start_log(int fd, uint32_t slots)
{
	struct pn_log_settings settings = {
		.format = PN_LOG_LOGFMT, .level_min = PN_LOG_DEBUG, .fd = fd, .ring_slots = slots
	};

	return pn_log_start(&settings);
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	char *text = calloc(1, 4 << 20);
	assert_true(fread(text, 1, (4 << 20) - 1, f) < (4 << 20) - 1);
	fclose(f);
	return text;
}

#define LOG_THREADS 4
#define LOG_LINES   2000

static void *log_many(void *arg)
{
	for (unsigned i = 0; i < LOG_LINES; i++)
		pn_logf(i % 2 ? PN_LOG_MESSAGE : PN_LOG_DEBUG, "e", "thread %u line %u",
			(unsigned)(uintptr_t)arg, i);
	return NULL;
}

/* Every line that was not counted as dropped is in the file, whole, and in the order of its thread.
 */
static void test_lines_of_many_threads_arrive_or_are_counted(void **state)
{
	pthread_t threads[LOG_THREADS];
	uint64_t dropped = counter(PN_LOG_C_dropped_debug) + counter(PN_LOG_C_dropped_message);
	unsigned count = 0, reported = 0;
	int last[LOG_THREADS] = { -1, -1, -1, -1 };

	(void)state;
	unlink(log_path);
	assert_int_equal(start_log(open_log(), 256), 0);
	assert_int_equal(start_log(-1, 256), -EALREADY);
	for (uintptr_t i = 0; i < LOG_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)i), 0);
	for (int i = 0; i < LOG_THREADS; i++)
		pthread_join(threads[i], NULL);
	pn_log_stop();
	dropped = counter(PN_LOG_C_dropped_debug) + counter(PN_LOG_C_dropped_message) - dropped;
	char *text = read_file(log_path);
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		unsigned thread, number, debug = 0, message = 0;
		const char *msg = strstr(line, "msg=\"");
		assert_memory_equal(line, "time=2", 6);
		if (!msg) {
			const char *at = strstr(line, "event=log_lines_dropped");
			assert_non_null(at);
			if ((msg = strstr(at, " debug=")) != NULL)
				sscanf(msg, " debug=%u", &debug);
			if ((msg = strstr(at, " message=")) != NULL)
				sscanf(msg, " message=%u", &message);
			reported += debug + message;
			continue;
		}
		assert_int_equal(sscanf(msg, "msg=\"thread %u line %u\"", &thread, &number), 2);
		assert_true(thread < LOG_THREADS && (int)number > last[thread]);
		last[thread] = (int)number;
		count++;
	}
	free(text);
	assert_int_equal(count + dropped, LOG_THREADS * LOG_LINES);
	assert_int_equal(reported, dropped);
}

static void test_new_output_takes_what_comes_after(void **state)
{
	char old_path[80];
	uint64_t reopens = counter(PN_LOG_C_reopens);

	(void)state;
	snprintf(old_path, sizeof(old_path), "%s.1", log_path);
	unlink(log_path);
	assert_int_equal(start_log(open_log(), 64), 0);
	pn_logf(PN_LOG_INFO, "e", "before");
	struct stat st = { 0 };
	while (stat(log_path, &st) == 0 && st.st_size == 0)
		usleep(1000);
	assert_int_equal(rename(log_path, old_path), 0);
	pn_log_set_output(open_log());
	while (counter(PN_LOG_C_reopens) == reopens)
		usleep(1000);
	pn_logf(PN_LOG_INFO, "e", "after");
	pn_log_stop();
	char *text = read_file(old_path);
	assert_non_null(strstr(text, "before"));
	assert_null(strstr(text, "after"));
	free(text);
	text = read_file(log_path);
	assert_non_null(strstr(text, "after"));
	free(text);
	unlink(old_path);
}

/* Outputs that the writer had no time to look at are closed, also at the end and without a writer. */
static void test_outputs_do_not_leak(void **state)
{
	(void)state;
	int before = dup(STDERR_FILENO);
	close(before);
	assert_int_equal(start_log(open_log(), 64), 0);
	for (int i = 0; i < 100; i++)
		pn_log_set_output(i % 2 ? open_log() : -1);
	pn_log_stop();
	pn_log_set_output(open_log());
	pn_log_set_output(-1);
	assert_int_equal(start_log(-1, 64), 0); /* frees the one before */
	pn_log_stop();
	pn_log_stop();
	int after = dup(STDERR_FILENO);
	close(after);
	assert_in_range(after, before,
			before + 3); /* what the stopped writer keeps: its output and its wake-up */
}

static void test_format_and_level_change_while_running(void **state)
{
	struct pn_log_settings settings = { .format = PN_LOG_JSON, .level_min = PN_LOG_WARN };

	(void)state;
	unlink(log_path);
	assert_int_equal(start_log(open_log(), 64), 0);
	pn_logf(PN_LOG_DEBUG, "e", "first");
	pn_log_configure(&settings);
	pn_logf(PN_LOG_INFO, "e", "hidden");
	pn_logf(PN_LOG_WARN, "e", "second");
	pn_log_stop();
	char *text = read_file(log_path);
	assert_non_null(strstr(text, "event=e msg=first"));
	assert_non_null(strstr(text, "\"msg\":\"second\""));
	assert_null(strstr(text, "hidden"));
	free(text);
}

/* Runs fn with stderr on `fd`. */
static void with_stderr(int fd, void (*fn)(int peer), int peer)
{
	int saved = dup(STDERR_FILENO);

	assert_true(dup2(fd, STDERR_FILENO) >= 0);
	fn(peer);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
}

/* Logs lines of a class until the writer cannot go on, and the ring is full of them. */
static void log_until_stuck(enum pn_log_class class, enum pn_log_counter dropped)
{
	uint64_t stuck = counter(PN_LOG_C_blocked) + counter(PN_LOG_C_write_errors);
	uint64_t drops;
	char filler[1000];

	memset(filler, 'f', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	while (counter(PN_LOG_C_blocked) + counter(PN_LOG_C_write_errors) == stuck)
		pn_logf(class, "e", "%s", filler);
	drops = counter(dropped);
	while (counter(dropped) == drops)
		pn_logf(class, "e", "%s", filler);
}

/* Nobody reads at first: producers go on, low classes drop first; then all that was kept arrives.
 */
static void block_then_read(int peer)
{
	static char window[2 * 65536 + 1];
	uint64_t message = counter(PN_LOG_C_dropped_message);
	bool has_precious = false, has_report = false;
	size_t len = 0;

	assert_int_equal(start_log(-1, 64), 0);
	log_until_stuck(PN_LOG_SESSION, PN_LOG_C_dropped_session);
	pn_logf(PN_LOG_MESSAGE, "e", "precious");
	assert_int_equal(counter(PN_LOG_C_dropped_message), message);
	/* The report of the drops comes behind the lines of the full ring. */
	while (!has_precious || !has_report) {
		if (len > 65536) {
			memmove(window, window + len - 4096, 4096);
			len = 4096;
		}
		ssize_t n = read(peer, window + len, 65536);
		assert_true(n > 0);
		len += (size_t)n;
		window[len] = '\0';
		has_precious = has_precious || strstr(window, "msg=precious");
		has_report = has_report || strstr(window, "event=log_lines_dropped session=");
	}
	pn_log_stop();
}

static void test_blocked_pipe_and_socket_never_stop_producers(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	with_stderr(fds[1], block_then_read, fds[0]);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	with_stderr(fds[1], block_then_read, fds[0]);
	close(fds[0]);
	close(fds[1]);
}

/* Nobody ever reads: stop gives up in bounded time. */
static void block_for_good(int peer)
{
	(void)peer;
	assert_int_equal(start_log(-1, 64), 0);
	log_until_stuck(PN_LOG_MESSAGE, PN_LOG_C_dropped_message);
	pn_log_stop();
}

static void test_stop_returns_with_a_blocked_and_with_a_broken_output(void **state)
{
	uint64_t errors;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	with_stderr(fds[1], block_for_good, fds[0]);
	close(fds[0]);
	errors = counter(PN_LOG_C_write_errors);
	with_stderr(fds[1], block_for_good, -1);
	assert_true(counter(PN_LOG_C_write_errors) > errors);
	close(fds[1]);
}

/* /dev/full answers every write with ENOSPC. */
static void test_full_disk_costs_lines_only(void **state)
{
	uint64_t errors = counter(PN_LOG_C_write_errors),
		 dropped = counter(PN_LOG_C_dropped_message);
	struct stat st;

	(void)state;
	if (stat("/dev/full", &st) != 0)
		skip();
	assert_int_equal(start_log(open("/dev/full", O_WRONLY | O_CLOEXEC), 16), 0);
	for (int i = 0; i < 1000 || counter(PN_LOG_C_write_errors) == errors; i++)
		pn_logf(PN_LOG_MESSAGE, "e", "line %d", i);
	assert_true(counter(PN_LOG_C_dropped_message) > dropped);
	pn_log_stop();
}

/* A file that may not grow: the writer keeps the rest of the line and ends it when there is room
 * again. */
static void test_short_writes_lose_no_octet(void **state)
{
	struct rlimit limit, saved;
	uint64_t errors = counter(PN_LOG_C_write_errors);

	(void)state;
	unlink(log_path);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
	assert_int_equal(start_log(open_log(), 64), 0);
	limit = (struct rlimit){ .rlim_cur = 100, .rlim_max = saved.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	pn_logf(PN_LOG_MESSAGE, "e", "%s",
		"a line that is certainly longer than what the limit of one hundred octets takes");
	while (counter(PN_LOG_C_write_errors) == errors)
		usleep(1000);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
	pn_logf(PN_LOG_MESSAGE, "e", "next");
	pn_log_stop();
	char *text = read_file(log_path);
	assert_non_null(strstr(text, "one hundred octets takes\"\ntime="));
	assert_non_null(strstr(text, "msg=next\n"));
	free(text);
}

static void write_one_line(int peer)
{
	(void)peer;
	pn_logf(PN_LOG_ERROR, "e", "direct");
}

static void test_without_a_writer_lines_go_to_stderr(void **state)
{
	char text[256] = "";
	int fds[2];

	(void)state;
	set_format(PN_LOG_LOGFMT);
	assert_int_equal(pipe(fds), 0);
	with_stderr(fds[1], write_one_line, fds[0]);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "level=error event=e msg=direct\n"));
	close(fds[0]);
	close(fds[1]);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
	signal(SIGXFSZ, SIG_IGN);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(log_path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logfmt_escapes_what_could_forge_a_line),
		cmocka_unit_test(test_json_escapes_by_the_grammar),
		cmocka_unit_test(test_cut_lines_stay_well_formed),
		cmocka_unit_test(test_hidden_classes_write_nothing),
		cmocka_unit_test(test_ring_keeps_room_by_class),
		cmocka_unit_test(test_lines_of_many_threads_arrive_or_are_counted),
		cmocka_unit_test(test_new_output_takes_what_comes_after),
		cmocka_unit_test(test_outputs_do_not_leak),
		cmocka_unit_test(test_format_and_level_change_while_running),
		cmocka_unit_test(test_blocked_pipe_and_socket_never_stop_producers),
		cmocka_unit_test(test_stop_returns_with_a_blocked_and_with_a_broken_output),
		cmocka_unit_test(test_full_disk_costs_lines_only),
		cmocka_unit_test(test_short_writes_lose_no_octet),
		cmocka_unit_test(test_without_a_writer_lines_go_to_stderr),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
