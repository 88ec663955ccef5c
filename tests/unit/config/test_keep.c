/* SPDX-License-Identifier: ISC */
/* What a reload leaves as it is: pn_config_keep. */
#include "config_test.h"

struct labels {
	char text[8192];
	size_t count;
};

static void collect(const char *label, void *ctx)
{
	struct labels *l = ctx;
	size_t len = strlen(l->text);
	snprintf(l->text + len, sizeof(l->text) - len, "%s\n", label);
	l->count++;
}

static void keep(struct pn_config *c, const struct pn_config *running, struct labels *l)
{
	*l = (struct labels){ 0 };
	assert_int_equal(pn_config_keep(c, running, collect, l), 0);
}

static void test_same_config_keeps_nothing(void **state)
{
	struct labels l;
	struct pn_config *a = parse_fine(LEAST), *b = parse_fine(LEAST);
	(void)state;
	keep(b, a, &l);
	assert_int_equal(l.count, 0);
	pn_config_free(a);
	pn_config_free(b);
}

static void test_what_needs_a_restart_is_named_and_kept(void **state)
{
	struct labels l;
	struct pn_config *a = parse_fine(LEAST);
	struct pn_config *b = parse_fine(
		"hostname = \"other.example.org\" loops = 3 run_user = \"mail\" cpu_pinning = no " LEAST_SECTIONS
		"spool { path = \"/elsewhere\" queue_messages_max = 7 } log { ring_slots = 512 level = debug } "
		"auth { scram = on failures_max = 9 } io_uring { disable = { \"send-zc\" } }\n");
	(void)state;
	keep(b, a, &l);
	assert_string_equal(l.text, "run_user\nloops\ncpu_pinning\nauth.scram\nspool.path\nlog.ring_slots\n"
				    "io_uring.disable\n");
	/* What they had is there again, and what a reload may change is as the file says. */
	assert_int_equal(b->loops, 0);
	assert_string_equal(b->run_user, "");
	assert_true(b->cpu_pinning);
	assert_string_equal(b->spool.path, "/var/spool/postern");
	assert_int_equal(b->log.ring_slots, 8192);
	assert_int_equal(b->auth.scram, PN_CONFIG_SCRAM_AUTO);
	assert_int_equal(b->io_uring.disable_count, 0);
	assert_string_equal(b->hostname, "other.example.org");
	assert_int_equal(b->spool.queue_messages_max, 7);
	assert_int_equal(b->auth.failures_max, 9);
	assert_int_equal(b->log.level, PN_CONFIG_LOG_DEBUG);
	keep(b, a, &l);
	assert_int_equal(l.count, 0);
	pn_config_free(a);
	pn_config_free(b);
}

static void test_list_comes_back(void **state)
{
	struct labels l;
	struct pn_config *a = parse_fine(LEAST "io_uring { disable = { \"send-zc\", \"msg-ring\" } }\n");
	struct pn_config *b = parse_fine(LEAST "io_uring { disable = { \"send-zc\" } }\n");
	(void)state;
	keep(b, a, &l);
	assert_int_equal(l.count, 1);
	assert_int_equal(b->io_uring.disable_count, 2);
	assert_string_equal(b->io_uring.disable[1], "msg-ring");
	pn_config_free(a);
	assert_string_equal(b->io_uring.disable[0], "send-zc");
	pn_config_free(b);
}

static void test_titled_sections_are_compared_by_title(void **state)
{
	struct labels l;
	struct pn_config *a = parse_fine(LEAST "listener \"m\" { addresses = { \"[::]:1465\" } reuseport = yes }\n");
	struct pn_config *b = parse_fine("listener \"new\" { addresses = { \"[::]:2465\" } reuseport = yes }\n"
					 "listener \"m\" { addresses = { \"[::]:1465\" } reuseport = no }\n" LEAST);
	(void)state;
	keep(b, a, &l);
	assert_string_equal(l.text, "listener \"m\": reuseport\n");
	assert_true(b->listeners[0].reuseport);
	assert_true(b->listeners[1].reuseport);
	assert_false(b->listeners[2].reuseport);
	pn_config_free(a);
	pn_config_free(b);
}

static void test_every_name_is_a_key(void **state)
{
	size_t count, restart = 0;
	const struct pn_config_key *keys = pn_config_keys(&count);
	(void)state;
	for (size_t i = 0; i < count; i++)
		restart += pn_config_key_needs_restart(&keys[i]);
	assert_in_range(restart, 20, count / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_config_keeps_nothing),
		cmocka_unit_test(test_what_needs_a_restart_is_named_and_kept),
		cmocka_unit_test(test_list_comes_back),
		cmocka_unit_test(test_titled_sections_are_compared_by_title),
		cmocka_unit_test(test_every_name_is_a_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
