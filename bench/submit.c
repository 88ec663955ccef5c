/* SPDX-License-Identifier: ISC */
/*
 * submit.c - the command that logs in and sends messages, one or more in a connection.
 *
 * Each message has an id of its own; the server's reply to it is kept, and with --sink-ids it must arrive at the sink
 * exactly once before the run is over and the server's cost is read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "account.h"
#include "command.h"
#include "message.h"
#include "run.h"

#define SECRET_MAX 1024

struct submit {
	struct pn_bench_run run;
	/* options */
	const char *user, *password_path, *from, *to, *sink_ids_path;
	uint64_t size_bytes, messages_per_connection, sink_timeout_ms;
	bool is_chunking_used;
	/* */
	char password[SECRET_MAX];
	struct pn_bench_message message;
	struct pn_bench_account account;
	struct pn_envelope envelope;
	struct pn_recipient recipient;
	const struct pn_recipient *recipients[1];
	size_t header_len;
};

struct slot {
	struct pn_bench_conn conn;
	struct submit *submit;
	struct pn_smtp_transaction transaction;
	struct pn_smtp_rcpt_result result;
	struct pn_arena arena;
	uint64_t start_ns, sent_on_connection;
	uint32_t number;
	bool has_message; /* taken from the run, not yet decided */
};

/* ---- one message ---- */

/* Takes the next message from the run. */
static bool take(struct slot *slot)
{
	struct submit *s = slot->submit;

	if (!pn_bench_run_take(&s->run))
		return false;
	if (pn_bench_account_next(&s->account, &slot->number) != 0) {
		pn_bench_run_failed(&s->run, "out of memory");
		return false;
	}
	slot->start_ns = pn_clock_mono_ns();
	slot->has_message = true;
	return true;
}

static void decide(struct slot *slot, enum pn_bench_outcome outcome,
		   const struct pn_smtp_reply_info *reply, const char *why)
{
	struct submit *s = slot->submit;

	if (!slot->has_message)
		return;
	slot->has_message = false;
	pn_bench_account_set(&s->account, slot->number, outcome,
			     reply ? reply->text : PN_SLICE_NULL);
	if (outcome == PN_BENCH_ACCEPTED)
		pn_bench_run_done(&s->run, slot->start_ns);
	else
		pn_bench_run_failed(&s->run, "message %u: %s", slot->number, why);
}

static void begin(struct slot *slot)
{
	struct submit *s = slot->submit;
	struct pn_smtp_transaction *t = &slot->transaction;

	memset(&slot->result, 0, sizeof(slot->result));
	pn_arena_reset(&slot->arena);
	*t = (struct pn_smtp_transaction){
		.envelope = &s->envelope,
		.recipients = s->recipients,
		.recipient_count = 1,
		.results = &slot->result,
		.arena = &slot->arena,
		.size_bytes = s->size_bytes,
	};
	slot->sent_on_connection++;
	if (pn_bench_conn_begin(&slot->conn, t) != 0)
		pn_bench_conn_fail(&slot->conn, "the server does not offer what the message needs");
}

static void send_body(struct slot *slot)
{
	struct submit *s = slot->submit;
	char header[PN_BENCH_MESSAGE_HEADER_MAX];
	size_t len = pn_bench_message_header(&s->message, slot->number, header);
	int r = pn_bench_conn_body(&slot->conn, pn_slice(header, len),
				   pn_slice(s->message.body, s->message.body_size_bytes));

	if (r < 0)
		pn_bench_conn_fail(&slot->conn, "sending the content: %s", strerror(-r));
}

static void message_done(struct slot *slot)
{
	const struct pn_smtp_reply_info *reply = &slot->result.reply;
	char why[640];

	if (reply->code == 250) {
		decide(slot, PN_BENCH_ACCEPTED, reply, NULL);
	} else {
		(void)snprintf(why, sizeof(why), "%u %u.%u.%u %.*s", reply->code,
			       reply->enhanced[0], reply->enhanced[1], reply->enhanced[2],
			       (int)reply->text.len, (const char *)reply->text.ptr);
		decide(slot, PN_BENCH_REFUSED, reply, why);
	}
	if (slot->sent_on_connection < slot->submit->messages_per_connection && take(slot))
		begin(slot);
	else
		pn_bench_conn_quit(&slot->conn);
}

/* ---- one connection ---- */

static void open_next(struct slot *slot)
{
	struct pn_bench_run *run = &slot->submit->run;

	if (!take(slot))
		return;
	slot->sent_on_connection = 0;
	int r = pn_bench_conn_open(&slot->conn);
	if (r < 0) {
		decide(slot, PN_BENCH_REFUSED, NULL, strerror(-r));
		return;
	}
	run->open_count++;
	run->connections++;
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct slot *slot = pn_container_of(conn, struct slot, conn);
	struct pn_bench_run *run = &slot->submit->run;

	switch (event) {
	case PN_BENCH_CONN_GREETED:
		break;
	case PN_BENCH_CONN_READY:
		run->facts = conn->facts;
		begin(slot);
		break;
	case PN_BENCH_CONN_BODY:
		send_body(slot);
		break;
	case PN_BENCH_CONN_DONE:
		message_done(slot);
		break;
	case PN_BENCH_CONN_FAILED:
		if (!slot->has_message)
			pn_bench_run_failed(run, "after the last message: %s",
					    pn_bench_conn_failure(conn));
		decide(slot, pn_bench_conn_is_in_doubt(conn) ? PN_BENCH_DOUBTFUL : PN_BENCH_REFUSED,
		       NULL, pn_bench_conn_failure(conn));
		break;
	case PN_BENCH_CONN_CLOSED:
		run->open_count--;
		open_next(slot);
		break;
	}
}

/* ---- the run ---- */

/* Until the sink has all that was promised, or time is up. */
static int wait_for_sink(struct submit *s)
{
	uint64_t end_ms = pn_clock_mono_ms() + s->sink_timeout_ms;
	int r = pn_bench_account_read(&s->account);

	while (r == 0 && s->sink_ids_path && s->account.missing > 0 &&
	       pn_clock_mono_ms() < end_ms) {
		r = pn_bench_run_idle(&s->run);
		if (r == 0)
			r = pn_bench_account_read(&s->account);
	}
	return r == -EINTR ? 0 : r;
}

static int run_submit(struct submit *s)
{
	struct slot *slots = calloc(s->run.parallel, sizeof(*slots));
	int r = slots ? 0 : -ENOMEM;

	for (uint64_t i = 0; slots && i < s->run.parallel; i++) {
		slots[i].submit = s;
		slots[i].conn.endpoint = &s->run.endpoint;
		slots[i].conn.fn = on_event;
		pn_arena_init(&slots[i].arena, 2048, 1u << 20);
		open_next(&slots[i]);
	}
	if (r == 0)
		r = pn_bench_run_drive(&s->run);
	if (r == 0)
		r = wait_for_sink(s);
	if (r == 0)
		r = pn_bench_run_settle(&s->run);
	/* Duplicates may come late. */
	if (r == 0)
		r = pn_bench_account_read(&s->account);
	for (uint64_t i = 0; r == 0 && i < s->run.parallel; i++) {
		pn_arena_reset(&slots[i].arena);
		pn_bench_conn_deinit(&slots[i].conn);
	}
	free(slots);
	return r;
}

static int report(struct submit *s)
{
	struct pn_bench_account_sums a;

	pn_bench_account_sum(&s->account, &a);
	bool is_clean = pn_bench_account_is_clean(&a);
	json_t *extra = json_pack(
		"{s:{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I}, s:I, s:I}",
		"accounting", "sent", (json_int_t)a.sent, "accepted", (json_int_t)a.accepted,
		"refused", (json_int_t)a.refused, "doubtful", (json_int_t)a.doubtful,
		"distinct_replies", (json_int_t)a.distinct_replies, "has_sink", a.has_sink,
		"received", (json_int_t)a.received, "lost", (json_int_t)a.lost, "duplicated",
		(json_int_t)a.duplicated, "unpromised", (json_int_t)a.unpromised, "corrupt",
		(json_int_t)a.corrupt, "message_size_bytes", (json_int_t)s->size_bytes,
		"messages_per_connection", (json_int_t)s->messages_per_connection);
	int code = pn_bench_run_report(&s->run, extra, is_clean);

	printf("  %-28s %llu accepted (%llu different replies), %llu refused, %llu in doubt\n",
	       "server's word", (unsigned long long)a.accepted,
	       (unsigned long long)a.distinct_replies, (unsigned long long)a.refused,
	       (unsigned long long)a.doubtful);
	if (a.has_sink)
		printf("  %-28s %llu received, %llu lost, %llu duplicated, %llu unpromised, %llu "
		       "changed: %s\n",
		       "at the sink", (unsigned long long)a.received, (unsigned long long)a.lost,
		       (unsigned long long)a.duplicated, (unsigned long long)a.unpromised,
		       (unsigned long long)a.corrupt, is_clean ? "all accounted for" : "WRONG");
	return code;
}

static bool read_password(struct submit *s)
{
	FILE *f = fopen(s->password_path, "re");
	bool is_read = f && fgets(s->password, sizeof(s->password), f);

	if (f)
		(void)fclose(f);
	if (!is_read)
		fprintf(stderr, "postern-bench: cannot read a password from %s\n",
			s->password_path);
	s->password[strcspn(s->password, "\r\n")] = '\0';
	return is_read;
}

static int prepare(struct submit *s)
{
	if (!s->from || !s->to || !s->user != !s->password_path) {
		fprintf(stderr, "postern-bench submit: give --from and --to; --user and "
				"--password-file go together\n");
		return -EINVAL;
	}
	if (s->user && !read_password(s))
		return -EINVAL;
	int r = pn_bench_run_start(&s->run, (size_t)s->size_bytes);
	if (r < 0)
		return r;
	s->run.endpoint.client.auth_user = s->user;
	s->run.endpoint.client.auth_password = s->user ? s->password : NULL;
	s->run.endpoint.client.is_chunking_used = s->is_chunking_used;
	r = pn_bench_message_init(&s->message, s->run.id, s->run.seed, s->from, s->to,
				  (size_t)s->size_bytes);
	if (r < 0) {
		fprintf(stderr, "postern-bench submit: the addresses do not fit into a message of "
				"that size\n");
		return r;
	}
	r = pn_bench_account_init(&s->account, s->run.id, s->sink_ids_path);
	if (r < 0)
		fprintf(stderr, "postern-bench submit: %s: %s\n", s->sink_ids_path, strerror(-r));
	s->envelope.reverse_path = pn_slice_str(s->from);
	s->recipient.address = pn_slice_str(s->to);
	s->recipients[0] = &s->recipient;
	return r;
}

static int parse(struct submit *s, int argc, char **argv)
{
	struct pn_bench_option common[PN_BENCH_RUN_OPTION_COUNT];
	const struct pn_bench_option own[] = {
		{ "user", "NAME", PN_BENCH_TEXT, &s->user, 0, 0, "log in as this user" },
		{ "password-file", "FILE", PN_BENCH_TEXT, &s->password_path, 0, 0,
		  "its first line is the password" },
		{ "from", "ADDRESS", PN_BENCH_TEXT, &s->from, 0, 0, "sender" },
		{ "to", "ADDRESS", PN_BENCH_TEXT, &s->to, 0, 0, "recipient" },
		{ "size", "OCTETS", PN_BENCH_SIZE, &s->size_bytes, PN_BENCH_MESSAGE_SIZE_MIN,
		  64u << 20, "of a message, header included" },
		{ "messages-per-connection", "N", PN_BENCH_NUMBER, &s->messages_per_connection, 1,
		  UINT32_MAX, "then QUIT" },
		{ "chunking", NULL, PN_BENCH_FLAG, &s->is_chunking_used, 0, 0,
		  "BDAT where the server offers CHUNKING" },
		{ "sink-ids", "FILE", PN_BENCH_TEXT, &s->sink_ids_path, 0, 0,
		  "what the sink writes: all must arrive, once" },
		{ "sink-timeout", "S", PN_BENCH_SECONDS, &s->sink_timeout_ms, 0, 0,
		  "how long that may take" },
	};
	const struct pn_bench_option_group groups[] = {
		{ "Messages", own, PN_ARRAY_SIZE(own) },
		{ "Options", common, PN_ARRAY_SIZE(common) },
	};

	pn_bench_run_options(&s->run, "messages", common);
	return pn_bench_options_parse(groups, PN_ARRAY_SIZE(groups),
				      "Logs in and sends messages. Latency counts to the 250 from "
				      "MAIL, for the first message of\n"
				      "a connection from the connect.",
				      argc, argv);
}

int pn_bench_submit_main(int argc, char **argv)
{
	static struct submit s;
	int code = PN_BENCH_EXIT_FAILED;

	pn_bench_run_init(&s.run, argc, argv);
	s.run.operation_name = "message";
	s.size_bytes = 4096;
	s.messages_per_connection = 1;
	s.sink_timeout_ms = 30000;
	int r = parse(&s, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	r = prepare(&s);
	if (r < 0)
		code = PN_BENCH_EXIT_USAGE;
	else if (run_submit(&s) == 0)
		code = report(&s);
	else
		return PN_BENCH_EXIT_FAILED; /* the kernel may still hold our memory */
	pn_bench_account_deinit(&s.account);
	pn_bench_message_deinit(&s.message);
	pn_bench_run_deinit(&s.run);
	return code;
}
