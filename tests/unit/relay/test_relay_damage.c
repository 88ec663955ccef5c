/* SPDX-License-Identifier: ISC */
/* Messages whose content or record cannot be read any more: they neither leave damaged nor come back for ever. */
#include "relay_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>

static char *some_content(void)
{
	char *content = malloc(200000);
	assert_non_null(content);
	size_t len = (size_t)sprintf(content, "Subject: big\r\n\r\n");
	while (len < 199000)
		len += (size_t)sprintf(content + len, "%zu a line of text that fills the message\r\n", len);
	return content;
}

/* Stored in a file of its own, not tried yet. */
static void send_large(struct fixture *f, const char *to, enum pn_dsn_ret ret)
{
	char *content = some_content();
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1, .ret = ret,
	                            .content = pn_slice_str(content),
	                            .next_attempt_wall_ms = pn_clock_wall_ms() + 3600 * 1000};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	free(content);
}

static void spoil(struct fixture *f)
{
	char command[256];
	snprintf(command, sizeof(command),
	         "for f in '%s'/spool/files/*.msg; do "
	         "printf X | dd of=\"$f\" bs=1 seek=150000 conv=notrunc status=none; done",
	         f->h.dir);
	assert_int_equal(system(command), 0);
}

static bool is_held(struct fixture *f)
{
	struct pn_relay_item item;
	return harness_find(&f->h, &f->h.last_id, &item) && item.state == PN_RELAY_ITEM_HELD;
}

/* The recipient is refused; what the bounce is to return is found damaged while it is copied. */
static void test_damage_found_by_the_bounce(void **state)
{
	struct fixture *f = *state;
	send_large(f, "reject@example.com", PN_DSN_RET_FULL);
	spoil(f);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(is_held(f));
	assert_int_equal(harness_counter(&f->h, "relay", "report_failures"), 1);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0);
	assert_int_equal(harness_counter(&f->h, "relay", "dropped"), 0);
	assert_int_equal(harness_messages(&f->h), 1);
	assert_int_equal(fake_server_count(&f->server), 0);
	/* Tried again by hand it comes to the same. */
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_counter(&f->h, "relay", "report_failures") == 2);
	harness_wait(is_held(f));
}

/* The same for one that is only to return the header, which is sound: the sender is told. */
static void test_bounce_with_a_sound_header(void **state)
{
	struct fixture *f = *state;
	send_large(f, "reject@example.com", PN_DSN_RET_HDRS);
	spoil(f);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 1);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_damaged_content_is_never_completed(void **state)
{
	struct fixture *f = *state;
	send_large(f, "ok@example.com", PN_DSN_RET_HDRS);
	spoil(f);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(is_held(f));
	assert_int_equal(fake_server_count(&f->server), 0);
}

static int setup_small_inline(void **state)
{
	int rc = fixture_setup(state);
	struct fixture *f = *state;
	f->h.inline_max_bytes = 16384;
	harness_reopen(&f->h, 0);
	return rc;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_small_inline, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_damage_found_by_the_bounce),
		T(test_bounce_with_a_sound_header),
		T(test_damaged_content_is_never_completed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
