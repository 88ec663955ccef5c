/* SPDX-License-Identifier: ISC */
/*
 * test_auth_threads.c - several loops log in, give up and are refused while the user file is replaced over and
 * over. Meant for TSan; the assertions hold anywhere: every exchange that is not given up gets one right
 * answer.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/log.h>

#include "auth_harness.h"

#define LOOPS 3
#define ROUNDS 60
#define AT_ONCE 5

static struct harness_file file;
static struct pn_auth *auth;
static _Atomic bool is_over;

struct one_loop {
	pthread_t thread;
	unsigned seed;
	unsigned wrong_answers, answers, tempfails;
};

static enum pn_auth_result begin(struct harness_client *c, struct pn_loop *loop, unsigned kind)
{
	static const char right[] = "\0tim\0" TIM_PASSWORD, wrong[] = "\0tim\0wrong", unknown[] = "\0nobody\0wrong";

	switch (kind % 4) {
	case 0:
		harness_start(c, auth, loop, "PLAIN", right, sizeof(right) - 1);
		return PN_AUTH_OK;
	case 1:
		harness_start(c, auth, loop, "PLAIN", wrong, sizeof(wrong) - 1);
		return PN_AUTH_BAD;
	case 2:
		harness_start(c, auth, loop, "PLAIN", unknown, sizeof(unknown) - 1);
		return PN_AUTH_BAD;
	default:
		harness_start(c, auth, loop, "SCRAM-SHA-256", "n,,n=tim,r=abc", 14);
		return PN_AUTH_CHALLENGE;
	}
}

static void one_round(struct one_loop *l, struct pn_loop *loop, unsigned round)
{
	struct harness_client c[AT_ONCE];
	enum pn_auth_result expected[AT_ONCE];

	for (unsigned i = 0; i < AT_ONCE; i++)
		expected[i] = begin(&c[i], loop, l->seed + round + i);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		if ((l->seed + round * 3 + i) % 5 == 0) {
			l->tempfails += c[i].is_called && c[i].result == PN_AUTH_TEMPFAIL;
			harness_end(&c[i]); /* given up, wherever it is */
			continue;
		}
		enum pn_auth_result result = harness_wait(&c[i], loop);
		l->answers++;
		l->tempfails += result == PN_AUTH_TEMPFAIL;
		l->wrong_answers += (result != expected[i] && result != PN_AUTH_TEMPFAIL) || c[i].calls != 1;
		if (result == PN_AUTH_OK)
			l->wrong_answers += !pn_auth_user_may_send_as(c[i].user, PN_SLICE_LIT("x@example.net"));
		l->wrong_answers += *pn_auth_mechanisms(auth) != 'S';
		harness_end(&c[i]);
	}
}

static void *loop_main(void *arg)
{
	struct one_loop *l = arg;
	struct pn_loop loop;

	harness_loop_init(&loop);
	for (unsigned round = 0; round < ROUNDS; round++)
		one_round(l, &loop, round);
	/*
	 * What was given up may still be posted; the loop has to be there until nothing is in flight. It is, as
	 * the test waits.
	 */
	while (pn_auth_inflight(auth) > 0) {
		struct pn_mpsc_node *node = pn_mpsc_take_all(&loop.tasks);
		while (node) {
			struct pn_task *task = pn_container_of(node, struct pn_task, node);
			node = node->next;
			task->fn(&loop, task);
		}
		sched_yield();
	}
	harness_loop_deinit(&loop);
	return NULL;
}

/* Two versions of the file: the same user under two salts, so that the cache misses now and then. */
static void write_version(unsigned version)
{
	char text[2048], scram[512];

	harness_scram_text(scram, TIM_PASSWORD, 4096);
	snprintf(text, sizeof(text), "tim:%s::::::postern_scram=%s postern_domains=example.net\n",
	         harness_hash(version % 2 ? "$5$rounds=1000$odd$" : "$5$rounds=1000$even$", TIM_PASSWORD), scram);
	harness_file_write(&file, text);
}

static void *reload_main(void *arg)
{
	unsigned *reloads = arg;
	struct pn_error err;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
		write_version(*reloads);
		if (pn_auth_reload(auth, &err) == 0)
			++*reloads;
	}
	return NULL;
}

static void test_loops_and_reloads(void **state)
{
	const struct pn_log_settings quiet = { .level_min = PN_LOG_ERROR };
	struct one_loop loops[LOOPS];
	pthread_t reloader;
	unsigned reloads = 0;
	struct pn_error err = { "" };

	(void)state;
	pn_log_configure(&quiet);
	harness_file_init(&file);
	write_version(0);
	const struct pn_auth_settings settings = {
		.user_file = file.path,
		.helper_threads = 2,
		.helper_queue_max = 6,
		.cache_entries_max = 8,
		.cache_lifetime_s = 1000,
		.has_plain = true,
		.reload_check_s = 1,
	};
	auth = pn_auth_new(&settings, &err);
	assert_non_null(auth);
	assert_int_equal(pthread_create(&reloader, NULL, reload_main, &reloads), 0);
	for (unsigned i = 0; i < LOOPS; i++) {
		loops[i] = (struct one_loop){ .seed = i };
		assert_int_equal(pthread_create(&loops[i].thread, NULL, loop_main, &loops[i]), 0);
	}
	unsigned tempfails = 0;
	for (unsigned i = 0; i < LOOPS; i++) {
		pthread_join(loops[i].thread, NULL);
		assert_int_equal(loops[i].wrong_answers, 0);
		assert_true(loops[i].answers > 0);
		tempfails += loops[i].tempfails;
	}
	atomic_store_explicit(&is_over, true, memory_order_relaxed);
	pthread_join(reloader, NULL);
	assert_true(harness_counter("ok") > 0 && harness_counter("bad") > 0 && harness_counter("cancelled") > 0);
	assert_true(reloads > 0);
	assert_int_equal(pn_auth_inflight(auth), 0);
	assert_int_equal(harness_counter("tempfail"), tempfails);
	pn_auth_free(auth);
	harness_file_deinit(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loops_and_reloads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
