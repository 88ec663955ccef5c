/* SPDX-License-Identifier: ISC */
/* session_harness.c - see session_harness.h. */
#include "session_harness.h"

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include <openssl/base64.h>

char c_text[2048];

uint32_t h_inline_max_bytes = 64 * 1024;

static void submit(struct pn_spool_entry *entry, void *ctx)
{
	struct harness *h = ctx;
	h->submitted++;
	pn_spool_entry_free(h->spool, entry);
}

static void on_recovered(struct pn_spool_entry *entry, void *ctx)
{
	submit(entry, ctx);
}

static void write_users(const struct harness *h, char path[96])
{
	struct crypt_data data;
	memset(&data, 0, sizeof(data));
	(void)snprintf(path, 96, "%s/users", h->path);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s:{CRYPT}%s::::::\n", H_USER,
		crypt_r(H_PASSWORD, "$6$rounds=1000$saltstring$", &data));
	assert_int_equal(fclose(f), 0);
}

static int listen_on(uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static struct pn_session_profile default_values(void)
{
	return (struct pn_session_profile){
		.smtp = { .hostname = "mx.example.test",
			  .limits = { .command_line_max_bytes = 4096,
				      .auth_line_max_bytes = 12288,
				      .text_line_max_bytes = 65536,
				      .recipients_max = 100,
				      .message_size_max_bytes = 8u << 20,
				      .header_size_max_bytes = 65536,
				      .received_max = 50,
				      .bad_commands_max = 20,
				      .auth_failures_max = 3,
				      .transaction_memory_max_bytes = 1u << 20 },
			  .has_smtputf8 = true,
			  .has_chunking = true,
			  .has_dsn = true,
			  .auth_mechanisms = "" },
		.has_client_address = true,
		.node = 1,
		.sessions_max = 100,
		.handshakes_max = 100,
		.output_buffer_max_bytes = 256 * 1024,
		.commits_max = 16,
		.handshake_timeout_ms = 60000,
		.idle_timeout_ms = 60000,
		.data_timeout_ms = 60000,
		.session_timeout_ms = 60000,
		.auth_failure_delay_ms = 0,
		.auth_failure_delay_max_ms = 0,
	};
}

static void make_stores(struct harness *h)
{
	struct pn_error err = { { 0 } };
	char users[96], spool[96];
	write_users(h, users);
	(void)snprintf(spool, sizeof(spool), "%s/spool", h->path);
	assert_int_equal(mkdir(spool, 0700), 0);
	struct pn_spool_settings s = { .path = spool,
				       .inline_max_bytes = h_inline_max_bytes,
				       .segment_size_bytes = 4u << 20,
				       .memory_max_bytes = 32u << 20,
				       .queue_messages_max = 1000,
				       .outcome_sync_ms = 10,
				       .node = 1 };
	if (pn_spool_open(&s, &h->spool, &err) != 0 ||
	    pn_spool_recover(h->spool, on_recovered, h, &err) != 0)
		fail_msg("%s", err.text);
	pn_spool_on_orphan(h->spool, submit, h);
	struct pn_auth_settings a = { .user_file = users,
				      .helper_threads = 1,
				      .helper_queue_max = 16,
				      .has_plain = true,
				      .has_login = true,
				      .scram = PN_SCRAM_OFF };
	h->auth = pn_auth_new(&a, &err);
	if (!h->auth)
		fail_msg("%s", err.text);
}

void h_init(struct harness *h)
{
	struct pn_error err = { { 0 } };
	memset(h, 0, sizeof(*h));
	(void)snprintf(h->path, sizeof(h->path), "/tmp/postern-session-XXXXXX");
	assert_non_null(mkdtemp(h->path));
	struct pn_loop_settings l = { .name = "test",
				      .sq_entries = 64,
				      .cq_entries = 256,
				      .buffer_count = 16,
				      .buffer_size_bytes = 4096,
				      .cpu = -1 };
	if (pn_loop_new(&l, &h->loop, &err) != 0)
		fail_msg("%s", err.text);
	make_stores(h);
	h->tickets = pn_tls_tickets_new(3600);
	h->tls = tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true,
								      .has_tickets = true,
								      .tickets = h->tickets });
	h->tls_client = tls_client(true);
	h->values = default_values();
	h->values.tls = h->tls;
	h->listeners = pn_listener_set_new(2);
	assert_non_null(h->listeners);
	for (int i = 0; i < 2; i++) {
		int fd = listen_on(&h->ports[i]);
		h->listeners->items[i] = pn_listener_new(i == H_TLS ? "submissions" : "submission", i == H_TLS, &fd, 1);
		assert_non_null(h->listeners->items[i]);
	}
	h->shared = (struct pn_session_shared){ .spool = h->spool,
						.auth = h->auth,
						.sources = pn_sources_new(64),
						.submit = submit,
						.submit_ctx = h };
	assert_non_null(h->shared.sources);
}

void h_start(struct harness *h)
{
	struct pn_error err = { { 0 } };
	struct pn_session_profile *p = pn_session_profile_new(&h->values);
	assert_non_null(p);
	h->svc = pn_session_service_new(h->loop, &h->shared, p, 0, &err);
	pn_session_profile_unref(p);
	if (!h->svc)
		fail_msg("%s", err.text);
	pn_session_service_set_listeners(h->svc, h->listeners);
	h_turn(h);
}

void h_profile(struct harness *h)
{
	struct pn_session_profile *p = pn_session_profile_new(&h->values);
	assert_non_null(p);
	pn_session_service_set_profile(h->svc, p);
	pn_session_profile_unref(p);
}

static void on_drained(void *ctx)
{
	struct harness *h = ctx;
	assert_false(h->is_drained);
	h->is_drained = true;
}

void h_drain(struct harness *h, uint32_t timeout_ms)
{
	pn_session_service_drain(h->svc, timeout_ms, on_drained, h);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void h_stop(struct harness *h)
{
	if (!h->svc->is_draining)
		h_drain(h, 0);
	h_until(h, h->is_drained);
	assert_true(h_is_empty(h));
	assert_int_equal(h_counter(h, sessions_open), 0);
	pn_session_service_free(h->svc);
	h_until(h, pn_loop_inflight(h->loop) == 0);
	pn_auth_free(h->auth);
	pn_sources_free(h->shared.sources);
	pn_spool_close(h->spool);
	pn_loop_free(h->loop);
	pn_tls_server_unref(h->tls);
	pn_tls_client_unref(h->tls_client);
	pn_tls_tickets_free(h->tickets);
	pn_listener_set_unref(h->listeners);
	(void)nftw(h->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void h_turn(struct harness *h)
{
	assert_int_equal(pn_loop_run_once(h->loop, 2), 0);
}

uint32_t h_sessions(struct harness *h)
{
	return atomic_load_explicit(&h->shared.sessions, memory_order_relaxed);
}

uint32_t h_handshakes(struct harness *h)
{
	return atomic_load_explicit(&h->shared.handshakes, memory_order_relaxed);
}

bool h_is_empty(struct harness *h)
{
	return h->svc->session_count == 0 && h_sessions(h) == 0 && h_handshakes(h) == 0;
}

struct pn_session *h_session(struct harness *h)
{
	return pn_list_is_empty(&h->svc->sessions)
		       ? NULL
		       : pn_container_of(h->svc->sessions.next, struct pn_session, node);
}

/* ---- clients ---- */

void c_connect(struct client *c, struct harness *h, enum h_port port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(h->ports[port]) };
	*c = (struct client){ .h = h };
	pn_buf_init(&c->cipher, OUT_MAX);
	pn_buf_init(&c->plain, OUT_MAX);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
}

static void receive(struct client *c)
{
	for (;;) {
		assert_int_equal(pn_buf_reserve(&c->cipher, 16384), 0);
		ssize_t n = recv(c->fd, pn_buf_tail(&c->cipher), 16384, 0);
		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				c->is_over = true;
			return;
		}
		pn_buf_commit(&c->cipher, (size_t)n);
	}
}

void c_send_raw(struct client *c, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t limit_ms = pn_clock_mono_ms() + 60000;
	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return; /* the server has ended the session; tests look at that themselves */
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
		h_turn(c->h);
		assert_true(pn_clock_mono_ms() < limit_ms);
	}
}

void c_handshake(struct client *c)
{
	struct pn_buf out;
	struct pn_tls_facts facts;
	enum pn_record_status status = PN_RECORD_WANT;
	uint64_t limit_ms = pn_clock_mono_ms() + 60000;

	pn_buf_init(&out, OUT_MAX);
	c->conn = pn_tls_conn_new_client(c->h->tls_client, "mx.example.test");
	assert_non_null(c->conn);
	while (status == PN_RECORD_WANT) {
		receive(c);
		struct pn_slice in = pn_buf_slice(&c->cipher);
		size_t before = in.len;
		status = pn_tls_handshake(c->conn, &in, &out);
		pn_buf_consume(&c->cipher, before - in.len);
		c_send_raw(c, pn_buf_ptr(&out), pn_buf_len(&out));
		pn_buf_clear(&out);
		h_turn(c->h);
		assert_true(pn_clock_mono_ms() < limit_ms && !c->is_over);
	}
	assert_int_equal(status, PN_RECORD_OK);
	c->record = pn_tls_conn_finish(c->conn, &facts);
	assert_non_null(c->record);
	pn_tls_conn_free(c->conn);
	c->conn = NULL;
	pn_buf_free(&out);
}

void c_open(struct client *c, struct harness *h, enum h_port port)
{
	c_connect(c, h, port);
	if (port == H_TLS)
		c_handshake(c);
}

void c_send_bytes(struct client *c, const void *data, size_t len)
{
	struct pn_buf out;
	if (!c->record) {
		c_send_raw(c, data, len);
		return;
	}
	pn_buf_init(&out, 2 * len + OUT_MAX);
	assert_int_equal(pn_record_seal(c->record, pn_slice(data, len), &out), PN_RECORD_OK);
	c_send_raw(c, pn_buf_ptr(&out), pn_buf_len(&out));
	pn_buf_free(&out);
}

void c_send(struct client *c, const char *text)
{
	c_send_bytes(c, text, strlen(text));
}

/* Moves what has come from the socket to c->plain. */
static void open_received(struct client *c)
{
	struct pn_buf out;
	struct pn_slice plain;
	receive(c);
	if (pn_buf_len(&c->cipher) == 0)
		return;
	if (!c->record) {
		assert_int_equal(pn_buf_append_slice(&c->plain, pn_buf_slice(&c->cipher)), 0);
		pn_buf_clear(&c->cipher);
		return;
	}
	pn_buf_init(&out, OUT_MAX);
	pn_record_input(c->record, c->cipher.data + c->cipher.head, pn_buf_len(&c->cipher));
	enum pn_record_status status;
	while ((status = pn_record_open(c->record, &plain, &out)) == PN_RECORD_OK)
		assert_int_equal(pn_buf_append_slice(&c->plain, plain), 0);
	pn_buf_clear(&c->cipher);
	pn_buf_free(&out);
	if (status != PN_RECORD_WANT)
		c->is_over = true;
}

/* Length of the whole reply at the head of c->plain, or 0. */
static size_t reply_len(const struct client *c)
{
	const uint8_t *p = pn_buf_ptr(&c->plain);
	size_t len = pn_buf_len(&c->plain), at = 0;
	while (at + 4 <= len) {
		const uint8_t *end = memchr(p + at, '\n', len - at);
		if (!end)
			return 0;
		bool is_last = p[at + 3] == ' ';
		at = (size_t)(end - p) + 1;
		if (is_last)
			return at;
	}
	return 0;
}

bool c_has_reply(struct client *c)
{
	if (!c->is_over)
		open_received(c);
	return reply_len(c) > 0;
}

int c_reply(struct client *c)
{
	h_until(c->h, c_has_reply(c) || c->is_over);
	size_t len = reply_len(c);
	if (len == 0)
		return 0;
	size_t kept = pn_min_size(len, sizeof(c_text) - 1);
	memcpy(c_text, pn_buf_ptr(&c->plain), kept);
	c_text[kept] = '\0';
	pn_buf_consume(&c->plain, len);
	return (int)strtol(c_text, NULL, 10);
}

void c_cmd(struct client *c, const char *line, int code)
{
	c_send(c, line);
	c_send(c, "\r\n");
	assert_int_equal(c_reply(c), code);
}

void c_auth_send(struct client *c, const char *password)
{
	char plain[256], line[512] = "AUTH PLAIN ";
	int len = snprintf(plain, sizeof(plain), "%c%s%c%s", '\0', H_USER, '\0', password);
	size_t n = EVP_EncodeBlock((uint8_t *)line + strlen(line), (const uint8_t *)plain,
				   (size_t)len);
	assert_true(n > 0);
	(void)snprintf(line + 11 + n, sizeof(line) - 11 - n, "\r\n");
	c_send(c, line);
}

void c_ready(struct client *c, struct harness *h, enum h_port port, bool is_authenticated)
{
	c_open(c, h, port);
	assert_int_equal(c_reply(c), 220);
	c_cmd(c, "EHLO client.example", 250);
	if (port == H_STARTTLS) {
		c_cmd(c, "STARTTLS", 220);
		c_handshake(c);
		c_cmd(c, "EHLO client.example", 250);
	}
	if (!is_authenticated)
		return;
	c_auth_send(c, H_PASSWORD);
	assert_int_equal(c_reply(c), 235);
}

void c_wait_over(struct client *c)
{
	while (!c->is_over) {
		(void)c_reply(c);
		h_turn(c->h);
	}
}

void c_body(struct client *c, size_t size)
{
	char line[72];
	memset(line, 'x', sizeof(line));
	memcpy(line + 70, "\r\n", 2);
	c_send(c, "Subject: test\r\n\r\n");
	char *body = malloc(size + sizeof(line));
	assert_non_null(body);
	size_t len = 0;
	for (; len < size; len += sizeof(line))
		memcpy(body + len, line, sizeof(line));
	c_send_bytes(c, body, len);
	free(body);
}

int c_message(struct client *c, size_t size)
{
	c_cmd(c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(c, "RCPT TO:<someone@example.net>", 250);
	c_cmd(c, "DATA", 354);
	c_body(c, size);
	c_send(c, ".\r\n");
	return c_reply(c);
}

void c_close(struct client *c, bool is_reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	if (is_reset)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)close(c->fd);
	pn_tls_conn_free(c->conn);
	pn_record_free(c->record);
	pn_buf_free(&c->cipher);
	pn_buf_free(&c->plain);
}
