/* SPDX-License-Identifier: ISC */
/* Messages whose content or record cannot be read any more: they neither leave damaged nor come back for ever. */
#include "relay_harness.h"

#include <errno.h>
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

static void spoil_files(struct fixture *f, const char *which)
{
	char command[256];
	snprintf(command, sizeof(command),
	         "for f in '%s'/spool/%s; do "
	         "printf X | dd of=\"$f\" bs=1 seek=150000 conv=notrunc status=none; done",
	         f->h.dir, which);
	assert_int_equal(system(command), 0);
}

static void spoil(struct fixture *f)
{
	spoil_files(f, "files/*.msg");
}

static bool has_damaged(struct fixture *f, const char *which)
{
	char command[256];
	snprintf(command, sizeof(command), "ls '%s'/spool/damaged/%s >/dev/null 2>&1", f->h.dir, which);
	return system(command) == 0;
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
	struct harness_show show;
	harness_wait(is_held(f));
	harness_wait((harness_get_show(&f->h, &f->h.last_id, &show), show.has_message));
	assert_non_null(strstr(show.last_reply, "held: the content cannot be read"));
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

/* The same in a segment: after the first attempt it is not in memory any more, and too large to be read whole. */
static void test_damaged_record_is_never_completed(void **state)
{
	struct fixture *f = *state;
	const char *to = "once@example.com";
	char *content = some_content();
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice_str(content)};
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	spoil_files(f, "segments/*.seg");
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(is_held(f));
	harness_wait(has_damaged(f, "*.rec"));
	assert_int_equal(fake_server_count(&f->server), 0);
	free(content);
}

static int setup_large_inline(void **state)
{
	int rc = fixture_setup(state);
	struct fixture *f = *state;
	f->h.inline_max_bytes = 1 << 20;
	harness_reopen(&f->h, 0);
	return rc;
}

#ifdef PN_FAULT_INJECTION
/* The file cannot even be opened: tried again until its lifetime is over, then held with the reason. */
static void test_unreadable_message_is_held_in_the_end(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	f->h.settings.lifetime_s = 2;
	send_large(f, "ok@example.com", PN_DSN_RET_HDRS);
	pn_fault_set_plan("spool.file.open:1:5:0");
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(is_held(f));
	assert_true(harness_counter(&f->h, "relay", "load_failures") >= 1);
	assert_int_equal(harness_messages(&f->h), 1);
	harness_get_show(&f->h, &f->h.last_id, &show);
	assert_int_equal(show.result, 0);
	assert_false(show.has_message);
	assert_int_equal(show.item.state, PN_RELAY_ITEM_HELD);
	assert_int_equal(show.item.error, -5);
	assert_int_equal(fake_server_count(&f->server), 0);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &f->h.last_id), -EIO);
	/* The disk is mended: by hand it goes on. */
	pn_fault_set_plan(NULL);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_unreadable_message_can_be_removed(void **state)
{
	struct fixture *f = *state;
	send_large(f, "ok@example.com", PN_DSN_RET_HDRS);
	pn_fault_set_plan("spool.file.open:1:5:0");
	assert_int_equal(harness_action(&f->h, PN_RELAY_REMOVE, &f->h.last_id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "removed"), 1);
	pn_fault_set_plan(NULL);
	harness_reopen(&f->h, 5000);
	assert_int_equal(f->h.recovered_count, 0);
}

/* It has expired, and what the bounce is to return cannot be read. */
static void test_bounce_of_an_unreadable_message_is_held(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	f->h.settings.lifetime_s = 1;
	send_large(f, "defer@example.com", PN_DSN_RET_FULL);
	harness_wait(pn_clock_wall_ms() > pn_id_time_ms(&f->h.last_id) + 1500);
	/* The first read of the attempt is that of the envelope. */
	pn_fault_set_plan("spool.file.read:2:5:0");
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(is_held(f));
	pn_fault_set_plan(NULL);
	harness_wait((harness_get_show(&f->h, &f->h.last_id, &show), show.has_message));
	assert_non_null(strstr(show.last_reply, "held: the content cannot be read"));
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0);
}
#endif

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
		cmocka_unit_test_setup_teardown(test_damaged_record_is_never_completed, setup_large_inline,
		                                fixture_teardown),
#ifdef PN_FAULT_INJECTION
		T(test_unreadable_message_is_held_in_the_end),
		T(test_unreadable_message_can_be_removed),
		T(test_bounce_of_an_unreadable_message_is_held),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
