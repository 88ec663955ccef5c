/* SPDX-License-Identifier: ISC */
/*
 * sink_session.c - one connection to the sink: commands, content, replies.
 *
 * Input is worked through where it lies in the receive buffer; only a command line that is cut by
 * its end is copied. Replies gather and leave together when the batch is over, or later when a rule delays them.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink.h"

#define REPLIES_MAX_BYTES   65536u
#define RECIPIENTS_MAX      1000u
#define ADDRESSES_MAX_BYTES 262144u

enum input { INPUT_COMMAND, INPUT_DATA, INPUT_CHUNK };

struct session {
	struct pn_bench_sink *sink;
	struct pn_list node, flush_node;
	int fd;
	bool is_closing, is_quit;
	struct pn_op op_recv, op_send, op_close;
	enum input input;
	struct pn_buf line;         /* the beginning of a cut line */
	struct pn_buf out, sending; /* replies; the kernel's */
	struct pn_data_scanner scanner;
	struct pn_bench_content content;
	uint64_t chunk_left;
	bool is_chunk_last, is_chunk_begun, has_mail;
	bool is_hangup_due;                     /* in the middle of the content */
	enum pn_bench_sink_action chunk_action; /* of a BDAT that is read to its end first */
	uint16_t recipients;
	/* Addresses of those that were accepted, each with a NUL; LMTP asks its rules for each. */
	struct pn_buf addresses;
	/* Replies wait until then. */
	struct pn_timer delay;
	bool is_delayed;
};

static void reply(struct session *s, const char *text)
{
	/* A peer that reads no replies gets no more of them, and the end. */
	if (pn_buf_append_str(&s->out, text) != 0)
		s->is_quit = true;
	if (!pn_list_is_linked(&s->flush_node))
		pn_list_push_back(&s->sink->flush_list, &s->flush_node);
}

static void refuse(struct session *s, const char *text)
{
	s->sink->errors++;
	reply(s, text);
}

static void reset_transaction(struct session *s)
{
	s->has_mail = s->is_chunk_begun = false;
	s->is_hangup_due = false;
	s->chunk_action = PN_BENCH_SINK_TAKE;
	s->recipients = 0;
	pn_buf_clear(&s->addresses);
	pn_bench_content_reset(&s->content);
}

/* ---- the end ---- */

static void finish(struct session *s);

static void on_close(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	(void)res;
	finish(pn_container_of(op, struct session, op_close));
}

static void finish(struct session *s)
{
	if (s->op_recv.is_inflight || s->op_send.is_inflight || s->op_close.is_inflight)
		return;
	if (s->fd >= 0) {
		int fd = s->fd;
		s->fd = -1;
		pn_loop_close(s->sink->loop, &s->op_close, on_close, fd);
		return;
	}
	pn_list_remove(&s->node);
	pn_list_remove(&s->flush_node);
	pn_buf_free(&s->line);
	pn_buf_free(&s->out);
	pn_buf_free(&s->sending);
	pn_buf_free(&s->addresses);
	pn_bench_content_deinit(&s->content);
	free(s);
}

static void close_session(struct session *s)
{
	s->is_closing = true;
	pn_list_remove(&s->flush_node);
	pn_loop_timer_cancel(s->sink->loop, &s->delay);
	pn_loop_cancel(s->sink->loop, &s->op_recv);
	pn_loop_cancel(s->sink->loop, &s->op_send);
}

/* ---- rules ---- */

static void on_delay(struct pn_timer *timer)
{
	struct session *s = pn_container_of(timer, struct session, delay);

	s->is_delayed = false;
	if (!pn_list_is_linked(&s->flush_node))
		pn_list_push_back(&s->sink->flush_list, &s->flush_node);
}

/* Asks the rules; a delay holds back this reply and those behind it. */
static enum pn_bench_sink_action ask_rules(struct session *s, enum pn_bench_sink_stage stage,
					   struct pn_slice recipient)
{
	uint32_t delay_ms = 0;
	enum pn_bench_sink_action action =
		pn_bench_sink_rules_apply(&s->sink->rules, stage, recipient, &delay_ms);

	if (delay_ms > 0) {
		s->is_delayed = true;
		pn_loop_timer_set(s->sink->loop, &s->delay, delay_ms);
	}
	/* Nobody reports that a report was refused (RFC 5321 6.1): its message would look lost. */
	return action == PN_BENCH_SINK_REJECT && s->content.is_report ? PN_BENCH_SINK_TAKE : action;
}

/*
 * What was answered leaves first: a peer that was told 250 and a sink that counted the message must not
 * differ in what the peer can know.
 */
static void hang_up(struct session *s)
{
	s->is_quit = true;
	if (!pn_list_is_linked(&s->flush_node))
		pn_list_push_back(&s->sink->flush_list, &s->flush_node);
}

/* Whether the rules have answered in our place. */
static bool is_answered(struct session *s, enum pn_bench_sink_action action, const char *defer,
			const char *reject)
{
	switch (action) {
	case PN_BENCH_SINK_DEFER:
		reply(s, defer);
		return true;
	case PN_BENCH_SINK_REJECT:
		reply(s, reject);
		return true;
	case PN_BENCH_SINK_HANGUP:
		hang_up(s);
		return true;
	case PN_BENCH_SINK_TAKE:
	case PN_BENCH_SINK_DELAY:
	case PN_BENCH_SINK_ACTION_COUNT:
		break;
	}
	return false;
}

/* ---- commands ---- */

static void command_ehlo(struct session *s)
{
	reset_transaction(s);
	reply(s, "250-sink.bench.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-"
		 "DSN\r\n"
		 "250-ENHANCEDSTATUSCODES\r\n");
	reply(s,
	      s->sink->is_chunking_offered ? "250-CHUNKING\r\n250 SIZE 0\r\n" : "250 SIZE 0\r\n");
}

static void command_mail(struct session *s, struct pn_slice line)
{
	if (s->has_mail) {
		refuse(s, "503 5.5.1 MAIL was given\r\n");
		return;
	}
	s->content.is_report = pn_slice_starts_nocase(line, PN_SLICE_LIT("MAIL FROM:<>"));
	if (is_answered(s, ask_rules(s, PN_BENCH_SINK_MAIL, PN_SLICE_NULL), "451 4.3.2 Not now\r\n",
			"550 5.7.1 Not from you\r\n"))
		return;
	s->has_mail = true;
	reply(s, "250 2.1.0 OK\r\n");
}

/* What stands between the angle brackets. */
static struct pn_slice address_of(struct pn_slice line)
{
	const uint8_t *begin = memchr(line.ptr, '<', line.len);
	const uint8_t *end =
		begin ? memchr(begin, '>', (size_t)(line.ptr + line.len - begin)) : NULL;

	return end ? pn_slice(begin + 1, (size_t)(end - begin - 1)) : PN_SLICE_NULL;
}

static void command_rcpt(struct session *s, struct pn_slice line)
{
	if (!s->has_mail) {
		refuse(s, "503 5.5.1 MAIL first\r\n");
		return;
	}
	if (s->recipients == RECIPIENTS_MAX) {
		refuse(s, "452 4.5.3 Too many recipients\r\n");
		return;
	}
	struct pn_slice address = address_of(line);
	if (is_answered(s, ask_rules(s, PN_BENCH_SINK_RCPT, address), "451 4.2.1 Not now\r\n",
			"550 5.1.1 Nobody here\r\n"))
		return;
	if (pn_buf_append_slice(&s->addresses, address) != 0 ||
	    pn_buf_append(&s->addresses, "", 1) != 0) {
		refuse(s, "452 4.3.1 No room\r\n");
		return;
	}
	s->recipients++;
	reply(s, "250 2.1.5 OK\r\n");
}

static void command_data(struct session *s)
{
	if (s->recipients == 0) {
		refuse(s, "503 5.5.1 RCPT first\r\n");
		return;
	}
	enum pn_bench_sink_action action = ask_rules(s, PN_BENCH_SINK_DATA, PN_SLICE_NULL);
	s->is_hangup_due = action == PN_BENCH_SINK_HANGUP;
	if (!s->is_hangup_due &&
	    is_answered(s, action, "451 4.3.0 Not now\r\n", "554 5.7.1 Nothing from you\r\n"))
		return;
	pn_data_scanner_init(&s->scanner, PN_LINE_REJECT, false);
	s->input = INPUT_DATA;
	reply(s, "354 Go on\r\n");
}

static void command_bdat(struct session *s, struct pn_slice line)
{
	static const struct pn_slice last = PN_SLICE_LIT(" LAST");
	uint64_t size;

	pn_slice_advance(&line, pn_min_size(line.len, 5));
	s->is_chunk_last =
		line.len > last.len &&
		pn_slice_eq_nocase(pn_slice(line.ptr + line.len - last.len, last.len), last);
	if (s->is_chunk_last)
		line.len -= last.len;
	/* The length of a chunk that is not wanted could not be told from commands: no use going on. */
	if (s->recipients == 0 || !pn_slice_to_u64(line, UINT64_MAX >> 1, &size)) {
		refuse(s, "503 5.5.1 BDAT out of order\r\n");
		s->is_quit = true;
		return;
	}
	s->chunk_left = size;
	if (!s->is_chunk_begun)
		s->chunk_action = ask_rules(s, PN_BENCH_SINK_DATA, PN_SLICE_NULL);
	s->is_hangup_due = s->chunk_action == PN_BENCH_SINK_HANGUP;
	s->is_chunk_begun = true;
	s->input = INPUT_CHUNK;
}

static void command(struct session *s, struct pn_slice line)
{
	static const struct pn_slice ehlo = PN_SLICE_LIT("EHLO ");
	static const struct pn_slice lhlo = PN_SLICE_LIT("LHLO ");
	static const struct pn_slice noop = PN_SLICE_LIT("NOOP");
	static const struct pn_slice rset = PN_SLICE_LIT("RSET");
	static const struct pn_slice quit = PN_SLICE_LIT("QUIT");

	if (pn_slice_starts_nocase(line, PN_SLICE_LIT("MAIL FROM:"))) {
		command_mail(s, line);
	} else if (pn_slice_starts_nocase(line, PN_SLICE_LIT("RCPT TO:"))) {
		command_rcpt(s, line);
	} else if (pn_slice_eq_nocase(line, PN_SLICE_LIT("DATA"))) {
		command_data(s);
	} else if (s->sink->is_chunking_offered &&
		   pn_slice_starts_nocase(line, PN_SLICE_LIT("BDAT "))) {
		command_bdat(s, line);
	} else if (pn_slice_starts_nocase(line, s->sink->is_lmtp ? lhlo : ehlo)) {
		command_ehlo(s);
	} else if (pn_slice_starts_nocase(line, PN_SLICE_LIT("HELO "))) {
		reply(s, "250 sink.bench.invalid\r\n");
	} else if (pn_slice_eq_nocase(line, rset)) {
		reset_transaction(s);
		reply(s, "250 2.0.0 OK\r\n");
	} else if (pn_slice_eq_nocase(line, noop)) {
		reply(s, "250 2.0.0 OK\r\n");
	} else if (pn_slice_eq_nocase(line, quit)) {
		reply(s, "221 2.0.0 Bye\r\n");
		s->is_quit = true;
	} else {
		refuse(s, "500 5.5.2 What?\r\n");
	}
}

/* ---- input ---- */

/* One line, from the input or put together with an earlier piece. */
static void take_line(struct session *s, struct pn_slice *in)
{
	const uint8_t *end = memchr(in->ptr, '\n', in->len);
	size_t len = end ? (size_t)(end + 1 - in->ptr) : in->len;
	struct pn_slice line = pn_slice(in->ptr, len);

	if (!end || pn_buf_len(&s->line) > 0) {
		if (pn_buf_append(&s->line, in->ptr, len) != 0) {
			refuse(s, "500 5.5.2 Line too long\r\n");
			s->is_quit = true;
		}
		line = pn_buf_slice(&s->line);
	}
	pn_slice_advance(in, len);
	if (!end || s->is_quit)
		return;
	if (line.len < 2 || line.ptr[line.len - 2] != '\r')
		refuse(s, "500 5.5.2 Only CRLF ends a line\r\n");
	else
		command(s, pn_slice(line.ptr, line.len - 2));
	pn_buf_clear(&s->line);
}

static const char deferred[] = "451 4.3.0 Not now\r\n";
static const char rejected[] = "554 5.6.0 Not this\r\n";

/* What was accepted of the recipients: how many, and their sum. */
struct taken {
	uint16_t count;
	uint32_t sum;
};

static struct taken take_all(const struct session *s)
{
	const char *at = (const char *)pn_buf_ptr(&s->addresses);
	struct taken taken = { .count = s->recipients };

	for (uint16_t i = 0; i < s->recipients; i++, at += strlen(at) + 1)
		taken.sum += pn_bench_recipient_sum(pn_slice_str(at));
	return taken;
}

/* RFC 2033 4.2: a reply for each recipient that was accepted, unless we hang up among them. */
static struct taken answer_each(struct session *s)
{
	const char *at = (const char *)pn_buf_ptr(&s->addresses);
	struct taken taken = { .count = 0 };

	for (uint16_t i = 0; i < s->recipients; i++, at += strlen(at) + 1) {
		struct pn_slice address = pn_slice_str(at);
		if (is_answered(s, ask_rules(s, PN_BENCH_SINK_DOT, address), deferred, rejected)) {
			if (s->is_quit)
				break;
			continue;
		}
		reply(s, "250 2.0.0 Got it\r\n");
		taken.count++;
		taken.sum += pn_bench_recipient_sum(address);
	}
	return taken;
}

static struct taken answer(struct session *s)
{
	/* A BDAT that was to be refused was read to its end first (RFC 3030 2). */
	enum pn_bench_sink_action action = s->chunk_action;

	if (s->sink->is_lmtp && action == PN_BENCH_SINK_TAKE)
		return answer_each(s);
	if (action == PN_BENCH_SINK_TAKE)
		action = ask_rules(s, PN_BENCH_SINK_DOT, PN_SLICE_NULL);
	for (uint16_t i = 1; s->sink->is_lmtp && i < s->recipients; i++)
		(void)is_answered(s, action, deferred, rejected);
	if (is_answered(s, action, deferred, rejected))
		return (struct taken){ .count = 0 };
	reply(s, "250 2.0.0 Got it\r\n");
	return take_all(s);
}

static void message_end(struct session *s)
{
	struct taken taken = answer(s);

	s->sink->recipients += s->content.is_report ? 0 : taken.count;
	if (taken.count > 0)
		pn_bench_content_end(&s->content, s->sink, pn_data_is_dirty(&s->scanner),
				     taken.count, taken.sum);
	reset_transaction(s);
	s->input = INPUT_COMMAND;
}

/* A rule said so, and some of the content is here. */
static bool hangs_up(struct session *s)
{
	if (!s->is_hangup_due || s->content.octets == 0)
		return false;
	hang_up(s);
	return true;
}

static void take_data(struct session *s, struct pn_slice *in)
{
	struct pn_slice run;

	switch (pn_data_scan(&s->scanner, in, &run)) {
	case PN_DATA_RUN:
		pn_bench_content_add(&s->content, run);
		(void)hangs_up(s);
		break;
	case PN_DATA_END:
		message_end(s);
		break;
	case PN_DATA_MORE:
		break;
	}
}

static void take_chunk(struct session *s, struct pn_slice *in)
{
	size_t len = s->chunk_left < in->len ? (size_t)s->chunk_left : in->len;

	/* Whole chunks are content as they are. */
	if (len > 0)
		pn_bench_content_add(&s->content, pn_slice(in->ptr, len));
	pn_slice_advance(in, len);
	s->chunk_left -= len;
	if (hangs_up(s) || s->chunk_left > 0)
		return;
	if (s->is_chunk_last) {
		pn_data_scanner_init(&s->scanner, PN_LINE_REJECT, true);
		message_end(s);
	} else {
		s->input = INPUT_COMMAND;
		reply(s, "250 2.0.0 Go on\r\n");
	}
}

static void take_input(struct session *s, struct pn_slice in)
{
	while (!s->is_closing && !s->is_quit &&
	       (in.len > 0 || (s->input == INPUT_CHUNK && s->chunk_left == 0))) {
		switch (s->input) {
		case INPUT_COMMAND:
			take_line(s, &in);
			break;
		case INPUT_DATA:
			take_data(s, &in);
			break;
		case INPUT_CHUNK:
			take_chunk(s, &in);
			break;
		}
	}
}

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct session *s = pn_container_of(op, struct session, op_recv);

	if (res > 0) {
		uint16_t buffer_id = op->buffer_id;
		s->sink->receives++;
		if (!s->is_closing)
			take_input(s, pn_slice(pn_loop_buffer(loop, buffer_id), (size_t)res));
		pn_loop_buffer_return(loop, buffer_id);
	} else if (res != -ENOBUFS && !s->is_closing) {
		close_session(s);
	}
	if (s->is_closing && !op->is_inflight)
		finish(s);
	else if (!op->is_inflight && res == -ENOBUFS)
		pn_loop_recv_retry(loop, op, on_recv, s->fd);
	else if (!op->is_inflight)
		pn_loop_recv(loop, op, on_recv, s->fd);
}

/* ---- output ---- */

static void on_send(struct pn_loop *loop, struct pn_op *op, int res);

static void send_more(struct session *s)
{
	if (s->op_send.is_inflight || s->is_closing || s->is_delayed)
		return;
	if (pn_buf_len(&s->sending) == 0) {
		struct pn_buf empty = s->sending;
		s->sending = s->out;
		s->out = empty;
	}
	if (pn_buf_len(&s->sending) > 0) {
		s->sink->sends++;
		pn_loop_send(s->sink->loop, &s->op_send, on_send, s->fd, pn_buf_ptr(&s->sending),
			     pn_buf_len(&s->sending), 0);
	} else if (s->is_quit) {
		close_session(s);
	}
}

static void on_send(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct session *s = pn_container_of(op, struct session, op_send);

	(void)loop;
	if (res > 0)
		pn_buf_consume(&s->sending, (size_t)res);
	else
		close_session(s);
	send_more(s);
	if (s->is_closing)
		finish(s);
}

void pn_bench_sink_sessions_flush(struct pn_bench_sink *sink)
{
	struct pn_list *node;

	while ((node = pn_list_pop_front(&sink->flush_list)) != NULL)
		send_more(pn_container_of(node, struct session, flush_node));
}

/* ---- beginning, and the end of all ---- */

int pn_bench_sink_session_new(struct pn_bench_sink *sink, int fd)
{
	struct session *s = calloc(1, sizeof(*s));
	int one = 1;

	if (!s) {
		(void)close(fd);
		return -ENOMEM;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->sink = sink;
	s->fd = fd;
	pn_list_init(&s->flush_node);
	pn_list_push_back(&sink->sessions, &s->node);
	pn_buf_init(&s->line, PN_BENCH_SINK_LINE_MAX);
	pn_buf_init(&s->out, REPLIES_MAX_BYTES);
	pn_buf_init(&s->sending, REPLIES_MAX_BYTES);
	pn_bench_content_init(&s->content);
	pn_buf_init(&s->addresses, ADDRESSES_MAX_BYTES);
	pn_timer_init(&s->delay, on_delay);
	sink->connections++;
	enum pn_bench_sink_action action = ask_rules(s, PN_BENCH_SINK_CONNECT, PN_SLICE_NULL);
	if (!is_answered(s, action, "421 4.3.2 Not now\r\n", "554 5.3.2 Never\r\n"))
		reply(s, "220 sink.bench.invalid ESMTP\r\n");
	else
		s->is_quit = true;
	pn_loop_recv(sink->loop, &s->op_recv, on_recv, fd);
	return 0;
}

void pn_bench_sink_sessions_close(struct pn_bench_sink *sink)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &sink->sessions)
	{
		struct session *s = pn_container_of(node, struct session, node);
		if (!s->is_closing)
			close_session(s);
	}
}
