/* SPDX-License-Identifier: ISC */
/* The built-in Maildir: what lies in it, what a retry and a restart do, what a failing disk does.
 * And the administration of the queue. */
#include "relay_harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>

#include "relay/maildir.h"

static int setup(void **state)
{
	static const char *const domains[] = {"example.com"};
	if (fixture_setup(state) != 0)
		return -1;
	struct fixture *f = *state;
	snprintf(f->maildir, sizeof(f->maildir), "%s/maildir", f->h.dir);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "maildir", 0);
	*u = (struct pn_upstream_settings){.name = "maildir", .kind = PN_UPSTREAM_MAILDIR, .maildir_path = f->maildir,
	                                   .domains = domains, .domain_count = 1};
	return 0;
}

static size_t count_files(struct fixture *f, const char *folder)
{
	char path[128];
	size_t count = 0;
	struct dirent *d;
	snprintf(path, sizeof(path), "%s/%s", f->maildir, folder);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)) != NULL)
		count += d->d_name[0] != '.';
	closedir(dir);
	return count;
}

static char *read_file(struct fixture *f, const char *folder, const struct pn_id *id, uint32_t index, size_t *ret_len)
{
	char path[256], name[PN_MAILDIR_NAME_SIZE];
	struct stat st;
	pn_maildir_name(name, id, index);
	snprintf(path, sizeof(path), "%s/%s/%s", f->maildir, folder, name);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	char *text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	if (ret_len)
		*ret_len = (size_t)st.st_size;
	return text;
}

static void test_one_file_for_each_recipient(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com", "B/../b@example.com"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .edit_insert = "Received: by test\r\n"};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 2);
	assert_int_equal(count_files(f, "tmp"), 0);
	char *text = read_file(f, "new", &f->h.last_id, 0, NULL);
	assert_string_equal(text, "Return-Path: <s@example.org>\nDelivered-To: a@example.com\nReceived: by test\n"
	                          "Subject: test\n\nhello\n.dot\n");
	free(text);
	text = read_file(f, "new", &f->h.last_id, 1, NULL);
	assert_non_null(strstr(text, "Delivered-To: B/../b@example.com\n"));
	free(text);
}

static void test_null_sender_and_odd_line_ends(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com"};
	struct harness_mail mail = {.from = "", .to = to, .to_count = 1,
	                            .content = PN_SLICE_LIT("A: b\r\n\r\nbare\rcr\r\r\nlast\r")};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	char *text = read_file(f, "new", &f->h.last_id, 0, NULL);
	assert_string_equal(text, "Return-Path: <>\nDelivered-To: a@example.com\nA: b\n\nbare\rcr\r\nlast\r");
	free(text);
}

static void test_big_message_through_a_file_of_its_own(void **state)
{
	struct fixture *f = *state;
	const char *to = "a@example.com";
	char *content = malloc(3 << 20), *want = malloc(3 << 20);
	size_t len = 0, want_len = (size_t)sprintf(want, "Return-Path: <s@example.org>\nDelivered-To: a@example.com\n");
	for (size_t n = 0; len < (3 << 20) - 300; n++) {
		len += (size_t)sprintf(content + len, "%0*zu\r\n", (int)(n % 200) + 1, n);
	}
	for (size_t i = 0; i < len; i++) {
		if (content[i] != '\r')
			want[want_len++] = content[i];
	}
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice(content, len)};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	size_t got_len;
	char *got = read_file(f, "new", &f->h.last_id, 0, &got_len);
	assert_int_equal(got_len, want_len);
	assert_memory_equal(got, want, want_len);
	free(got);
	free(want);
	free(content);
}

static void test_many_messages_by_several_workers(void **state)
{
	struct fixture *f = *state;
	f->h.settings.worker_count = 3;
	harness_start(&f->h);
	for (int i = 0; i < 200; i++)
		harness_send_simple(&f->h, "s@example.org", "a@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 200);
}

static void test_success_is_told(void **state)
{
	struct fixture *f = *state;
	const char *to = "a@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .notify = PN_DSN_NOTIFY_SUCCESS};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_true(fake_has(&f->server, 0, "Action: delivered"));
}

static void test_parts_for_both_upstreams(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com", "ok@example.net", "b@example.com", "postmaster"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 4,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 2);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(fake_message(&f->server, 0)->rcpt_count, 2);
	free(read_file(f, "new", &f->h.last_id, 2, NULL));
}

/* ---- retries ---- */

/* One recipient arrived before the crash, and a mail program has moved it: only the other one is
 * written again. */
static void test_restart_does_not_deliver_twice(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com", "b@example.com", "c@example.com"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 3,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	char name[PN_MAILDIR_NAME_SIZE], path[256];
	harness_start(&f->h); /* makes the folders */
	harness_stop(&f->h, 1000);
	harness_send(&f->h, &mail);
	pn_maildir_name(name, &f->h.last_id, 0);
	snprintf(path, sizeof(path), "%s/cur/%s:2,S", f->maildir, name);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	pn_maildir_name(name, &f->h.last_id, 1);
	snprintf(path, sizeof(path), "%s/new/%s", f->maildir, name);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	snprintf(path, sizeof(path), "%s/tmp/%s", f->maildir, name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "leftover that is much longer than nothing", 41), 41);
	close(fd);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "cur"), 1);
	assert_int_equal(count_files(f, "new"), 2);
	assert_int_equal(count_files(f, "tmp"), 0);
	free(read_file(f, "new", &f->h.last_id, 2, NULL));
}

/* It lay in new at the start, and a mail program moves it before the message's turn comes. */
static void test_file_that_moves_after_the_start(void **state)
{
	struct fixture *f = *state;
	const char *to = "a@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .next_attempt_wall_ms = pn_clock_wall_ms() + 3600 * 1000};
	char name[PN_MAILDIR_NAME_SIZE], path[256], moved[256];
	harness_start(&f->h); /* makes the folders */
	harness_stop(&f->h, 1000);
	harness_send(&f->h, &mail);
	pn_maildir_name(name, &f->h.last_id, 0);
	snprintf(path, sizeof(path), "%s/new/%s", f->maildir, name);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	harness_start(&f->h);
	snprintf(moved, sizeof(moved), "%s/cur/%s:2,S", f->maildir, name);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 0);
	assert_int_equal(count_files(f, "cur"), 1);
	assert_int_equal(harness_counter(&f->h, "relay", "delivered"), 1);
}

#ifdef PN_FAULT_INJECTION
/* In one life: the sync of new fails, so the recipient is owed; the next attempt finds its own file by name. */
static void test_retry_reuses_the_name(void **state)
{
	struct fixture *f = *state;
	harness_start(&f->h);
	pn_fault_set_plan("maildir.dirsync:1:5");
	harness_send_simple(&f->h, "s@example.org", "a@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	pn_fault_set_plan(NULL);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 1);
	assert_int_equal(count_files(f, "new"), 1);
	assert_int_equal(count_files(f, "tmp"), 0);
}
#endif

static void one_fault(struct fixture *f, const char *plan, const char *status)
{
#ifdef PN_FAULT_INJECTION
	struct harness_show show;
	static const char *const to[] = {"a@example.com", "b@example.com"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	harness_start(&f->h);
	pn_fault_set_plan(plan);
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]) ||
	             harness_messages(&f->h) == 0);
	pn_fault_set_plan(NULL);
	if (status)
		assert_non_null(strstr(show.last_reply, status));
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 2);
	assert_int_equal(count_files(f, "tmp"), 0);
	free(read_file(f, "new", &id, 0, NULL));
	free(read_file(f, "new", &id, 1, NULL));
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 0);
#else
	(void)f;
	(void)plan;
	(void)status;
	skip();
#endif
}

static void test_full_disk_at_open(void **state)
{
	one_fault(*state, "maildir.open:1:28", "4.3.1 Maildir: open in tmp");
}

static void test_full_disk_at_write(void **state)
{
	one_fault(*state, "maildir.write:1:28", "4.3.1 Maildir: write");
}

static void test_quota_at_write(void **state)
{
	one_fault(*state, "maildir.write:2:122", "4.3.1 Maildir: write");
}

static void test_short_write_goes_on(void **state)
{
	one_fault(*state, "maildir.write:1:short", NULL);
}

static void test_error_at_fsync(void **state)
{
	one_fault(*state, "maildir.fsync:1:5", "4.3.0 Maildir: sync");
}

static void test_error_at_rename(void **state)
{
	one_fault(*state, "maildir.rename:1:5", "4.3.0 Maildir: rename");
}

static void test_error_at_directory_sync(void **state)
{
	one_fault(*state, "maildir.dirsync:1:5", "4.3.0 Maildir: sync of new");
}

static void test_maildir_that_cannot_be_made(void **state)
{
	struct fixture *f = *state;
	struct pn_relay *relay;
	struct pn_error err;
	f->h.upstreams[1].maildir_path = "/proc/no/such/place";
	assert_true(pn_relay_new(&f->h.settings, f->h.spool, &relay, &err) < 0);
	assert_non_null(strstr(err.text, "/proc/no/such/place"));
}

/* ---- settings ---- */

static void test_wrong_settings_are_named(void **state)
{
	struct fixture *f = *state;
	struct pn_relay *relay;
	struct pn_error err;
	static const struct {
		const char *want;
		int what;
	} cases[] = {{"1 to 64 relay workers", 0}, {"0 to 90 percent", 1}, {"at least 100 percent", 2}, {"hostname", 3},
		     {"1 to 16 hosts", 4}, {"needs a client context", 5}, {"only sent inside TLS", 6},
				{"needs a path", 7}, {"needs a password", 8}};
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct pn_relay_settings s = f->h.settings;
		struct pn_upstream_settings u[2] = {f->h.upstreams[0], f->h.upstreams[1]};
		s.upstreams = u;
		switch (cases[i].what) {
		case 0: s.worker_count = 65; break;
		case 1: s.retry_jitter_percent = 91; break;
		case 2: s.retry_factor_percent = 99; break;
		case 3: s.hostname = NULL; break;
		case 4: u[0].host_count = 0; break;
		case 5: u[0].tls = PN_UPSTREAM_TLS_STARTTLS; break;
		case 6: u[0].auth_user = "x"; u[0].auth_password = "y"; break;
		case 7: u[1].maildir_path = ""; break;
		case 8: u[0].auth_user = "x"; break;
		}
		assert_int_equal(pn_relay_new(&s, f->h.spool, &relay, &err), -EINVAL);
		if (!strstr(err.text, cases[i].want))
			fail_msg("%s: %s", cases[i].want, err.text);
	}
}

/* ---- administration ---- */

static void test_hold_is_durable_and_retry_releases(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_item item;
	struct harness_show show;
	atomic_store(&f->server.fault, FAKE_BUSY);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.net");
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts >= 1);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), 0);
	assert_true(harness_find(&f->h, &id, &item));
	assert_int_equal(item.state, PN_RELAY_ITEM_HELD);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_reopen(&f->h, 5000);
	harness_start(&f->h);
	assert_true(harness_find(&f->h, &id, &item));
	assert_int_equal(item.state, PN_RELAY_ITEM_HELD);
	assert_int_equal(harness_counter(&f->h, "relay", "held"), 1);
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, 0);
	assert_string_equal(show.from, "s@example.org");
	assert_string_equal(show.first_rcpt, "ok@example.net");
	assert_int_equal(show.item.state, PN_RELAY_ITEM_HELD);
	assert_int_equal(fake_server_count(&f->server), 0);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_remove_is_durable_and_silent(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_item item;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "defer@example.net");
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts >= 1);
	assert_int_equal(harness_action(&f->h, PN_RELAY_REMOVE, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_action(&f->h, PN_RELAY_REMOVE, &id), -ENOENT);
	assert_int_equal(harness_counter(&f->h, "relay", "removed"), 1);
	harness_reopen(&f->h, 5000);
	assert_int_equal(f->h.recovered_count, 0);
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_active_message_is_held_after_its_attempt(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_item item;
	struct harness_show show;
	f->h.upstreams[0].greeting_timeout_s = 1;
	atomic_store(&f->server.fault, FAKE_SILENT);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.net");
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.state == PN_RELAY_ITEM_ACTIVE && item.upstream);
	assert_string_equal(item.upstream, "main");
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, 0);
	assert_int_equal(show.item.state, PN_RELAY_ITEM_ACTIVE);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &id), 0); /* it is being tried */
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), 0);
	harness_wait(harness_find(&f->h, &id, &item) && item.state == PN_RELAY_ITEM_HELD);
	assert_int_equal(item.attempts, 1);
	assert_int_equal(harness_action(&f->h, PN_RELAY_REMOVE, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
}

static void test_unknown_and_late_requests(void **state)
{
	struct fixture *f = *state;
	struct pn_id id = pn_id_make(1, 1);
	struct harness_show show;
	struct harness_list list;
	f->h.settings.worker_count = 3;
	harness_start(&f->h);
	harness_get_list(&f->h, 10, &list);
	assert_int_equal(list.total, 0);
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, -ENOENT);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), -ENOENT);
	pn_relay_stop(f->h.relay, 1000);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), -ESHUTDOWN);
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, -ESHUTDOWN);
	assert_string_equal(pn_relay_item_state_name(PN_RELAY_ITEM_HELD), "held");
	assert_int_equal(pn_relay_route(f->h.relay, PN_SLICE_LIT("x@EXAMPLE.com")), 1);
}

static void test_list_sees_all_workers(void **state)
{
	struct fixture *f = *state;
	struct harness_list list;
	f->h.settings.worker_count = 3;
	harness_start(&f->h);
	for (int i = 0; i < 40; i++)
		harness_send_simple(&f->h, "s@example.org", "defer@example.net");
	harness_wait((harness_get_list(&f->h, 64, &list), list.total == 40));
	assert_int_equal(list.count, 40);
	for (size_t i = 1; i < list.count; i++)
		assert_true(memcmp(list.items[i - 1].id.octets, list.items[i].id.octets, 16) < 0);
	for (size_t i = 0; i < list.count; i++) {
		int rc;
		/* Asked at every moment of its life: at rest, in an attempt, while its outcome is written. */
		harness_wait((rc = harness_action(&f->h, PN_RELAY_REMOVE, &list.items[i].id)) != -EBUSY);
		assert_int_equal(rc, 0);
	}
	harness_wait(harness_messages(&f->h) == 0);
}

static void test_damaged_message_is_held(void **state)
{
#ifdef PN_FAULT_INJECTION
	struct fixture *f = *state;
	struct pn_relay_item item;
	struct harness_show show;
	static const char *const to[] = {"a@example.com"};
	char *content = calloc(1, 400000);
	memset(content, 'x', 399998);
	memcpy(content + 399998, "\r\n", 2);
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 1, .content = pn_slice(content,
	                400000)};
	harness_start(&f->h);
	/* The second read of the content finds the end of the file where there should be more. */
	pn_fault_set_plan("spool.file.read:3:74:0");
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.state == PN_RELAY_ITEM_HELD);
	pn_fault_set_plan(NULL);
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, 0);
	assert_int_equal(count_files(f, "new"), 0);
	/* Unreadable from the start: shown without a message, neither lost nor tried for ever. */
	pn_fault_set_plan("spool.file.read:1:74:0");
	harness_get_show(&f->h, &id, &show);
	assert_int_equal(show.result, 0);
	assert_false(show.has_message);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), -EIO);
	pn_fault_set_plan(NULL);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_files(f, "new"), 1);
	free(content);
#else
	(void)state;
	skip();
#endif
}

static void test_unreadable_message_is_tried_again(void **state)
{
#ifdef PN_FAULT_INJECTION
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com"};
	char *content = calloc(1, 300000);
	memset(content, 'y', 299998);
	memcpy(content + 299998, "\r\n", 2);
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 1, .content = pn_slice(content,
	                300000)};
	harness_start(&f->h);
	pn_fault_set_plan("spool.file.open:1:5,spool.file.read:3:5");
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	pn_fault_set_plan(NULL);
	assert_int_equal(harness_counter(&f->h, "relay", "load_failures"), 1);
	assert_int_equal(count_files(f, "new"), 1);
	free(content);
#else
	(void)state;
	skip();
#endif
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_one_file_for_each_recipient),
		T(test_null_sender_and_odd_line_ends),
		T(test_big_message_through_a_file_of_its_own),
		T(test_many_messages_by_several_workers),
		T(test_success_is_told),
		T(test_parts_for_both_upstreams),
		T(test_restart_does_not_deliver_twice),
		T(test_file_that_moves_after_the_start),
#ifdef PN_FAULT_INJECTION
		T(test_retry_reuses_the_name),
#endif
		T(test_full_disk_at_open),
		T(test_full_disk_at_write),
		T(test_quota_at_write),
		T(test_short_write_goes_on),
		T(test_error_at_fsync),
		T(test_error_at_rename),
		T(test_error_at_directory_sync),
		T(test_maildir_that_cannot_be_made),
		T(test_wrong_settings_are_named),
		T(test_hold_is_durable_and_retry_releases),
		T(test_remove_is_durable_and_silent),
		T(test_active_message_is_held_after_its_attempt),
		T(test_unknown_and_late_requests),
		T(test_list_sees_all_workers),
		T(test_damaged_message_is_held),
		T(test_unreadable_message_is_tried_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
