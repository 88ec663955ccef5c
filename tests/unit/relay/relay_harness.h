/* SPDX-License-Identifier: ISC */
/* relay_harness.h - a relay over a real spool in /tmp, with the test's own thread in the role of a
 * session loop. */
#ifndef PN_TEST_RELAY_HARNESS_H
#define PN_TEST_RELAY_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <postern/relay/relay.h>

#include "fake_server.h"

struct harness {
	char dir[64];
	struct pn_spool *spool;
	struct pn_loop *loop;
	struct pn_spool_writer *writer;
	struct pn_relay *relay;
	struct pn_relay_settings settings;
	struct pn_upstream_settings upstreams[4];
	struct pn_upstream_host hosts[4][4];
	size_t recovered_count;
	struct pn_spool_entry *recovered[64];
	uint32_t inline_max_bytes;
	uint32_t outcome_sync_ms; /* 0: 5 */
	/* of the last commit */
	bool is_committed;
	struct pn_spool_entry *entry;
	struct pn_id last_id;
};

struct harness_mail {
	const char *from;            /* "" = <> */
	const char *const *to;
	size_t to_count;
	struct pn_slice content;     /* CRLF lines */
	uint32_t notify;
	const char *orcpt;
	enum pn_dsn_ret ret;
	const char *envid;
	uint64_t received_wall_ms;   /* 0: now */
	const char *edit_insert;     /* on top */
	bool needs_smtputf8;
	uint64_t next_attempt_wall_ms;
};

/* Makes the folder and opens the spool; settings have short times and one worker. */
void harness_open(struct harness *h);
/* One host on loopback for upstream `index` (and upstream_count at least index + 1). Returns its settings. */
struct pn_upstream_settings *harness_upstream(struct harness *h, size_t index, const char *name, uint16_t port);
/* Makes and starts the relay, giving it what recovery found. */
void harness_start(struct harness *h);
void harness_stop(struct harness *h, uint64_t deadline_ms);
/* Stops, closes the spool, opens it again and recovers: a restart. */
void harness_reopen(struct harness *h, uint64_t deadline_ms);
/* The same as the disk is at this moment: what is not durable now is lost. */
void harness_crash(struct harness *h);
void harness_close(struct harness *h);

/* Stores and submits a message; its id in h->last_id. */
void harness_send(struct harness *h, const struct harness_mail *mail);
void harness_send_simple(struct harness *h, const char *from, const char *to);
#define SIMPLE_CONTENT "Subject: test\r\n\r\nhello\r\n.dot\r\n"

uint64_t harness_messages(struct harness *h);
uint64_t harness_counter(struct harness *h, const char *scope, const char *name);
/* Waits until the expression is true; fails the test after a long time. */
#define harness_wait(expr)                                                                         \
	do {                                                                                       \
		for (int harness_i = 0; !(expr); harness_i++) {                                    \
			if (harness_i == 60000)                                                    \
				fail_msg("never became true: %s", #expr);                          \
			harness_nap();                                                             \
		}                                                                                  \
	} while (0)
void harness_nap(void);

struct harness_list {
	size_t count;
	uint64_t total;
	struct pn_relay_item items[64];
};
void harness_get_list(struct harness *h, uint32_t limit, struct harness_list *ret);
bool harness_find(struct harness *h, const struct pn_id *id, struct pn_relay_item *ret);
int harness_action(struct harness *h, enum pn_relay_action action, const struct pn_id *id);
struct harness_show {
	int result;
	struct pn_relay_item item;
	bool has_message;
	char from[256], first_rcpt[256], last_reply[600];
	uint32_t rcpt_count;
	uint8_t states[16];
};
void harness_get_show(struct harness *h, const struct pn_id *id, struct harness_show *ret);

/* What most tests need: a relay whose default upstream "main" is the server. */
struct fixture {
	struct harness h;
	struct fake_server server;
	struct fake_server other; /* once started */
	bool has_other;
	char maildir[96];
	struct pn_tls_server *tls_server; /* the test's, given back at the end */
	struct pn_tls_client *tls_client;
};
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_start_other(struct fixture *f);
/* Certificates for the server, which is mx.example.test, and roots for upstream 0. */
void fixture_make_tls(struct fixture *f, bool is_verify_required);

/* Message `index` of the server has this text in its data (waits for nothing). */
bool fake_has(struct fake_server *s, size_t index, const char *text);
/* Some message of the server has it. */
bool fake_any_has(struct fake_server *s, const char *text);

#endif
