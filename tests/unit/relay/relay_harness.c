/* SPDX-License-Identifier: ISC */
/* relay_harness.c - see relay_harness.h. */
#include "relay_harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/smtp/content.h>

static void on_recovered(struct pn_spool_entry *entry, void *ctx)
{
	struct harness *h = ctx;
	assert_true(h->recovered_count < 64);
	h->recovered[h->recovered_count++] = entry;
}

static void open_spool(struct harness *h)
{
	char path[80];
	struct pn_error err = {{0}};
	struct pn_loop_settings loop_settings = {.name = "test", .sq_entries = 64, .cq_entries = 256, .cpu = -1};
	snprintf(path, sizeof(path), "%s/spool", h->dir);
	mkdir(path, 0700);
	struct pn_spool_settings s = {
		.path = path,
		.inline_max_bytes = h->inline_max_bytes ? h->inline_max_bytes : 131072,
		.segment_size_bytes = 4 << 20,
		.memory_max_bytes = 64 << 20,
		.free_space_min_bytes = 1 << 20,
		.queue_messages_max = 100000,
		.outcome_sync_ms = h->outcome_sync_ms ? h->outcome_sync_ms : 5,
		.node = 1,
	};
	if (pn_spool_open(&s, &h->spool, &err) < 0)
		fail_msg("spool: %s", err.text);
	h->recovered_count = 0;
	if (pn_spool_recover(h->spool, on_recovered, h, &err) < 0)
		fail_msg("recover: %s", err.text);
	if (pn_loop_new(&loop_settings, &h->loop, &err) < 0)
		fail_msg("loop: %s", err.text);
	h->writer = pn_spool_writer_new(h->spool, h->loop, "test", &err);
	if (!h->writer)
		fail_msg("writer: %s", err.text);
}

static void close_spool(struct harness *h)
{
	while (pn_spool_writer_is_busy(h->writer))
		assert_int_equal(pn_loop_run_once(h->loop, 1), 0);
	pn_spool_writer_free(h->writer);
	while (pn_loop_inflight(h->loop) > 0)
		assert_int_equal(pn_loop_run_once(h->loop, 1), 0);
	pn_loop_free(h->loop);
	for (size_t i = 0; i < h->recovered_count; i++)
		pn_spool_entry_free(h->spool, h->recovered[i]);
	h->recovered_count = 0;
	pn_spool_close(h->spool);
}

void harness_open(struct harness *h)
{
	snprintf(h->dir, sizeof(h->dir), "/tmp/pn-relay-test-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	h->settings = (struct pn_relay_settings){
		.hostname = "relay.example.org",
		.postmaster = "MAILER-DAEMON@relay.example.org",
		.worker_count = 1,
		.retry_first_s = 1,
		.retry_max_s = 1,
		.host_retry_first_s = 1,
		.host_retry_max_s = 1,
		.upstreams = h->upstreams,
	};
	open_spool(h);
}

struct pn_upstream_settings *harness_upstream(struct harness *h, size_t index, const char *name, uint16_t port)
{
	struct pn_upstream_settings *u = &h->upstreams[index];
	h->hosts[index][0] = (struct pn_upstream_host){.host = "127.0.0.1", .port = port, .weight = 1};
	*u = (struct pn_upstream_settings){
		.name = name,
		.hosts = h->hosts[index],
		.host_count = 1,
		.connect_timeout_s = 5,
		.greeting_timeout_s = 10,
		.command_timeout_s = 10,
		.data_start_timeout_s = 10,
		.data_block_timeout_s = 10,
		.data_end_timeout_s = 10,
	};
	if (h->settings.upstream_count < index + 1)
		h->settings.upstream_count = index + 1;
	return u;
}

void harness_start(struct harness *h)
{
	struct pn_error err = {{0}};
	if (pn_relay_new(&h->settings, h->spool, &h->relay, &err) < 0)
		fail_msg("relay: %s", err.text);
	for (size_t i = 0; i < h->recovered_count; i++)
		pn_relay_submit(h->relay, h->recovered[i]);
	h->recovered_count = 0;
	if (pn_relay_start(h->relay, &err) < 0)
		fail_msg("start: %s", err.text);
}

void harness_stop(struct harness *h, uint64_t deadline_ms)
{
	if (!h->relay)
		return;
	pn_relay_stop(h->relay, deadline_ms);
	pn_relay_free(h->relay);
	h->relay = NULL;
}

void harness_reopen(struct harness *h, uint64_t deadline_ms)
{
	harness_stop(h, deadline_ms);
	close_spool(h);
	open_spool(h);
}

void harness_crash(struct harness *h)
{
	char command[512];
	snprintf(command, sizeof(command), "cp -a '%s/spool' '%s/crashed'", h->dir, h->dir);
	assert_int_equal(system(command), 0);
	harness_stop(h, 0);
	close_spool(h);
	snprintf(command, sizeof(command), "cd '%s' && rm -rf spool && mv crashed spool", h->dir);
	assert_int_equal(system(command), 0);
	open_spool(h);
}

static void remove_tree(const char *path)
{
	char command[160];
	snprintf(command, sizeof(command), "rm -rf -- '%s'", path);
	assert_int_equal(system(command), 0);
}

void harness_close(struct harness *h)
{
	harness_stop(h, 5000);
	close_spool(h);
	remove_tree(h->dir);
}

/* ---- sending ---- */

static void on_commit(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct harness *h = ctx;
	assert_int_equal(result, 0);
	h->is_committed = true;
	h->entry = entry;
}

static void fill_envelope(struct pn_envelope *e, const struct harness_mail *mail, struct pn_arena *arena)
{
	uint64_t now_ms = pn_clock_wall_ms();
	*e = (struct pn_envelope){
		.id = pn_id_make(1, now_ms),
		.received_wall_ms = mail->received_wall_ms ? mail->received_wall_ms : now_ms,
		.user = PN_SLICE_LIT("user@example.org"),
		.client_address = PN_SLICE_LIT("127.0.0.1"),
		.helo = PN_SLICE_LIT("client.example.org"),
		.reverse_path = pn_slice_str(mail->from),
		.dsn_ret = mail->ret,
		.dsn_envid = mail->envid ? pn_slice_str(mail->envid) : PN_SLICE_NULL,
	};
	for (size_t i = 0; i < mail->to_count; i++) {
		struct pn_recipient r = {
			.address = pn_slice_str(mail->to[i]),
			.notify = mail->notify,
			.orcpt = mail->orcpt ? pn_slice_str(mail->orcpt) : PN_SLICE_NULL,
		};
		assert_int_equal(pn_envelope_add_recipient(e, arena, &r), 0);
	}
}

static void write_content(struct harness *h, struct pn_spool_txn *txn, struct pn_slice content,
                          struct pn_content_scan *scan)
{
	while (content.len > 0) {
		struct pn_slice part = pn_slice(content.ptr, pn_min_size(content.len, 50000));
		pn_content_scan_feed(scan, part);
		int rc = pn_spool_txn_write(txn, part);
		assert_true(rc >= 0);
		pn_slice_advance(&content, part.len);
		for (int i = 0; rc == 1 && i < 20; i++)
			assert_int_equal(pn_loop_run_once(h->loop, 1), 0);
	}
	pn_content_scan_end(scan);
}

void harness_send(struct harness *h, const struct harness_mail *mail)
{
	struct pn_arena arena;
	struct pn_envelope e;
	struct pn_content_scan scan;
	struct pn_edit_list edits = {0};
	int rc = 0;
	pn_arena_init(&arena, 4096, 4 << 20);
	fill_envelope(&e, mail, &arena);
	struct pn_spool_txn *txn = pn_spool_txn_begin(h->writer, &rc);
	assert_non_null(txn);
	pn_content_scan_init(&scan, UINT64_MAX, UINT64_MAX, 100);
	write_content(h, txn, mail->content, &scan);
	scan.facts.needs_smtputf8 = mail->needs_smtputf8;
	if (mail->edit_insert)
		assert_int_equal(pn_edit_insert(&edits, &arena, 0, pn_slice_str(mail->edit_insert)), 0);
	h->is_committed = false;
	pn_spool_txn_commit(txn, &e, &scan.facts, &edits, on_commit, h);
	while (!h->is_committed)
		assert_int_equal(pn_loop_run_once(h->loop, 1), 0);
	h->last_id = e.id;
	pn_arena_reset(&arena);
	h->entry->next_attempt_wall_ms = mail->next_attempt_wall_ms;
	if (h->relay)
		pn_relay_submit(h->relay, h->entry);
	else
		on_recovered(h->entry, h);
}

void harness_send_simple(struct harness *h, const char *from, const char *to)
{
	struct harness_mail mail = {.from = from, .to = &to, .to_count = 1, .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	harness_send(h, &mail);
}

/* ---- looking ---- */

void harness_nap(void)
{
	usleep(2000);
}

uint64_t harness_messages(struct harness *h)
{
	struct pn_spool_stats stats;
	pn_spool_stats(h->spool, &stats);
	return stats.messages;
}

struct counter_sum {
	const char *scope, *name;
	uint64_t sum;
};

static void add_counter(const struct pn_counter_block *block, void *ctx)
{
	struct counter_sum *c = ctx;
	if (strcmp(block->scope, c->scope) != 0)
		return;
	for (size_t i = 0; i < block->count; i++) {
		if (strcmp(block->names[i], c->name) == 0)
			c->sum += pn_counter_get(&block->values[i]);
	}
}

uint64_t harness_counter(struct harness *h, const char *scope, const char *name)
{
	struct counter_sum c = {.scope = scope, .name = name};
	(void)h;
	pn_counters_for_each(add_counter, &c);
	return c.sum;
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool is_done;
	int result;
	struct harness_list *list;
	struct harness_show *show;
};

static void waiter_done(struct waiter *w, int result)
{
	pthread_mutex_lock(&w->lock);
	w->result = result;
	w->is_done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static int waiter_wait(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->is_done)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->cond);
	return w->result;
}

static void waiter_init(struct waiter *w)
{
	*w = (struct waiter){0};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
}

static void on_list(void *ctx, int result, const struct pn_relay_list *list)
{
	struct waiter *w = ctx;
	if (result == 0) {
		w->list->count = list->count < 64 ? list->count : 64;
		w->list->total = list->total;
		if (w->list->count > 0)
			memcpy(w->list->items, list->items, w->list->count * sizeof(list->items[0]));
	}
	waiter_done(w, result);
}

void harness_get_list(struct harness *h, uint32_t limit, struct harness_list *ret)
{
	struct waiter w;
	waiter_init(&w);
	w.list = ret;
	*ret = (struct harness_list){0};
	pn_relay_queue_list(h->relay, limit, on_list, &w);
	assert_int_equal(waiter_wait(&w), 0);
}

bool harness_find(struct harness *h, const struct pn_id *id, struct pn_relay_item *ret)
{
	struct harness_list list;
	harness_get_list(h, 64, &list);
	for (size_t i = 0; i < list.count; i++) {
		if (pn_id_eq(&list.items[i].id, id)) {
			*ret = list.items[i];
			return true;
		}
	}
	return false;
}

static void on_action(void *ctx, int result)
{
	waiter_done(ctx, result);
}

int harness_action(struct harness *h, enum pn_relay_action action, const struct pn_id *id)
{
	struct waiter w;
	waiter_init(&w);
	pn_relay_queue_action(h->relay, action, id, on_action, &w);
	return waiter_wait(&w);
}

static void copy_slice(char *out, size_t size, struct pn_slice s)
{
	size_t len = pn_min_size(size - 1, s.len);
	if (len > 0)
		memcpy(out, s.ptr, len);
	out[len] = '\0';
}

static void on_show(void *ctx, int result, const struct pn_relay_item *item, const struct pn_spool_message *m)
{
	struct waiter *w = ctx;
	struct harness_show *show = w->show;
	if (result == 0)
		show->item = *item;
	show->has_message = m != NULL;
	if (m) {
		copy_slice(show->from, sizeof(show->from), m->envelope.reverse_path);
		copy_slice(show->first_rcpt, sizeof(show->first_rcpt), m->envelope.recipients->address);
		copy_slice(show->last_reply, sizeof(show->last_reply), m->last_reply);
		show->rcpt_count = m->envelope.recipient_count;
		memcpy(show->states, m->rcpt_states, pn_min_size(16, show->rcpt_count));
	}
	waiter_done(w, result);
}

void harness_get_show(struct harness *h, const struct pn_id *id, struct harness_show *ret)
{
	struct waiter w;
	waiter_init(&w);
	*ret = (struct harness_show){0};
	w.show = ret;
	pn_relay_queue_show(h->relay, id, on_show, &w);
	ret->result = waiter_wait(&w);
}

bool fake_has(struct fake_server *s, size_t index, const char *text)
{
	pthread_mutex_lock(&s->lock);
	bool has = index < s->message_count &&
	           memmem(s->messages[index].data, s->messages[index].data_len, text, strlen(text)) != NULL;
	pthread_mutex_unlock(&s->lock);
	return has;
}

bool fake_any_has(struct fake_server *s, const char *text)
{
	for (size_t i = 0; i < fake_server_count(s); i++) {
		if (fake_has(s, i, text))
			return true;
	}
	return false;
}

/* ---- fixture ---- */

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	if (!f)
		return -1;
	harness_open(&f->h);
	fake_server_start(&f->server);
	harness_upstream(&f->h, 0, "main", f->server.port);
	*state = f;
	return 0;
}

void fixture_start_other(struct fixture *f)
{
	fake_server_start(&f->other);
	f->has_other = true;
}

static char *read_text(const char *path)
{
	char *text = calloc(1, 65536);
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && text && read(fd, text, 65535) > 0);
	close(fd);
	return text;
}

/* Chain, key, roots: made once, since that takes longer than most tests. */
static char *const *certificate_texts(const struct fixture *f)
{
	static const char *const names[] = {"ecdsa.pem", "ecdsa.key", "ca.pem"};
	static char *texts[3];
	char command[512], path[160];
	if (texts[0])
		return texts;
	snprintf(command, sizeof(command), "bash '%s/tests/support/make-certs' '%s' mx.example.test >/dev/null 2>&1",
	         getenv("PN_SOURCE_DIR"), f->h.dir);
	assert_int_equal(system(command), 0);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->h.dir, names[i]);
		texts[i] = read_text(path);
	}
	return texts;
}

void fixture_make_tls(struct fixture *f, bool is_verify_required)
{
	struct pn_error err = {{0}};
	char *const *texts = certificate_texts(f);
	struct pn_tls_certificate_pem cert = {.chain_pem = pn_slice_str(texts[0]), .key_pem = pn_slice_str(texts[1]),
	                                      .chain_path = "ecdsa.pem", .key_path = "ecdsa.key"};
	struct pn_tls_server_settings server = {.certificates = &cert, .certificate_count = 1, .has_tls12 = true};
	struct pn_tls_client_settings client = {.ca_pem = pn_slice_str(texts[2]), .ca_path = "ca.pem",
	                                        .is_verify_required = is_verify_required};
	f->tls_server = pn_tls_server_new(&server, &err);
	f->tls_client = pn_tls_client_new(&client, &err);
	if (!f->tls_server || !f->tls_client)
		fail_msg("%s", err.text);
	f->server.tls = f->tls_server;
	f->h.upstreams[0].tls_client = f->tls_client;
	f->h.upstreams[0].is_verify_required = is_verify_required;
	f->h.upstreams[0].verify_name = "mx.example.test";
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	harness_close(&f->h);
	fake_server_stop(&f->server);
	if (f->has_other)
		fake_server_stop(&f->other);
	pn_tls_server_unref(f->tls_server);
	pn_tls_client_unref(f->tls_client);
	free(f);
	return 0;
}
