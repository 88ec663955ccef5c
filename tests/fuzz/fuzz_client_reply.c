/* SPDX-License-Identifier: ISC */
/*
 * The SMTP client against a server that says anything. The first octet chooses the settings; the
 * rest is what the server says, fed whole and octet by octet: the client must do the same both
 * times, decide every recipient before it says DONE, and never send a bare CR or LF.
 */
#include "fuzz.h"

#include <stdlib.h>

#include <postern/smtp/client.h>

#define EVENTS_MAX 4096

struct run {
	struct pn_smtp_client *client;
	struct pn_smtp_transaction t;
	struct pn_smtp_rcpt_result results[3];
	struct pn_arena arena;
	struct pn_buf out, log; /* log: everything sent and every event */
	bool is_over;
};

static void check(bool is_right)
{
	if (!is_right)
		abort();
}

static void log_octet(struct run *r, uint8_t octet)
{
	check(pn_buf_append(&r->log, &octet, 1) == 0);
}

static void flush(struct run *r)
{
	const uint8_t *p = pn_buf_len(&r->out) ? pn_buf_ptr(&r->out) : NULL;

	for (size_t i = 0; i < pn_buf_len(&r->out); i++) {
		check(p[i] != '\n' || (i > 0 && p[i - 1] == '\r'));
		check(p[i] != '\r' || (i + 1 < pn_buf_len(&r->out) && p[i + 1] == '\n'));
		log_octet(r, p[i]);
	}
	pn_buf_clear(&r->out);
}

static void begin(struct run *r)
{
	pn_arena_reset(&r->arena);
	while (pn_smtp_client_begin(r->client, &r->t, &r->out)) {
		for (uint32_t i = 0; i < r->t.recipient_count; i++)
			check(r->results[i].reply.code >= 400);
		if (!r->t.has_8bit && r->t.size_bytes == 0) {
			r->is_over = true; /* nothing more to leave out: needs SMTPUTF8 */
			return;
		}
		r->t.has_8bit = false;
		r->t.size_bytes = 0;
		r->t.is_size_estimate = true;
	}
}

static void send_body(struct run *r)
{
	if (r->t.size_bytes == 12)
		check(pn_smtp_client_body(r->client, PN_SLICE_LIT(".a\r\n..b\r\nc\r\n"), &r->out) ==
		      0);
	else
		check(pn_smtp_client_body(r->client, PN_SLICE_LIT("\r\n.\r\n"), &r->out) == 0);
	check(pn_smtp_client_body_end(r->client, &r->out) == 0);
}

static void on_event(struct run *r, enum pn_smtp_client_event event)
{
	flush(r);
	log_octet(r, (uint8_t)event);
	switch (event) {
	case PN_CLIENT_EV_STARTTLS:
		pn_smtp_client_tls_started(r->client, &r->out);
		break;
	case PN_CLIENT_EV_DONE:
		for (uint32_t i = 0; i < r->t.recipient_count; i++)
			check(r->results[i].reply.code >= 400 ||
			      (r->results[i].reply.code >= 200 &&
			       r->results[i].stage == PN_STAGE_BODY));
		check(!pn_smtp_client_is_in_doubt(r->client));
		begin(r);
		break;
	case PN_CLIENT_EV_READY:
		begin(r);
		break;
	case PN_CLIENT_EV_BODY:
		send_body(r);
		break;
	case PN_CLIENT_EV_FAILED:
		(void)pn_smtp_client_is_in_doubt(r->client);
		log_octet(r, (uint8_t)pn_smtp_client_stage(r->client));
		r->is_over = true;
		break;
	case PN_CLIENT_EV_CLOSED:
		r->is_over = true;
		break;
	}
}

static void play(struct run *r, const struct pn_smtp_client_settings *settings, uint8_t options,
		 struct pn_slice said, size_t step)
{
	static const struct pn_recipient people[3] = { { .address = { (const uint8_t *)"a@y", 3 } },
						       { .address = { (const uint8_t *)"b@y", 3 } },
						       { .address = { (const uint8_t *)"c@y",
								      3 } } };
	static const struct pn_recipient *const list[3] = { &people[0], &people[1], &people[2] };
	static const struct pn_envelope envelope = { .reverse_path = { (const uint8_t *)"s@x",
								       3 } };
	size_t events = 0;

	*r = (struct run){ .t = { .envelope = &envelope,
				  .recipients = list,
				  .recipient_count = 1 + (options & 64 ? 2 : 0),
				  .results = r->results,
				  .arena = &r->arena,
				  .size_bytes = 12,
				  .has_8bit = options & 128 } };
	pn_arena_init(&r->arena, 512, 1 << 16);
	pn_buf_init(&r->out, 1 << 15);
	pn_buf_init(&r->log, 1 << 24);
	r->client = pn_smtp_client_new(settings, false);
	check(r->client != NULL);
	while (said.len != 0 && !r->is_over && events < EVENTS_MAX) {
		struct pn_slice in = pn_slice(said.ptr, pn_min_size(step, said.len));
		size_t n = in.len;
		enum pn_smtp_client_event event;

		while (!r->is_over && events++ < EVENTS_MAX &&
		       pn_smtp_client_step(r->client, &in, &event, &r->out) == PN_CLIENT_EVENT) {
			on_event(r, event);
			flush(r);
		}
		flush(r);
		pn_slice_advance(&said, n - in.len);
	}
	pn_smtp_client_lost(r->client, "lost");
}

static void play_deinit(struct run *r)
{
	pn_smtp_client_free(r->client);
	pn_arena_reset(&r->arena);
	pn_buf_free(&r->out);
	pn_buf_free(&r->log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run whole, octets;
	struct pn_smtp_client_settings settings = { .helo_name = "me",
						    .reply_line_max_bytes = 256,
						    .reply_lines_max = 10,
						    .auth_without_tls = true };

	if (size == 0 || size > EVENTS_MAX / 4)
		return 0;
	settings.is_lmtp = data[0] & 1;
	settings.is_chunking_used = data[0] & 2;
	settings.tls = data[0] & 4   ? PN_CLIENT_TLS_REQUIRED
		       : data[0] & 8 ? PN_CLIENT_TLS_OPPORTUNISTIC
				     : PN_CLIENT_TLS_NONE;
	settings.auth_user = data[0] & 16 ? "user" : NULL;
	settings.auth_password = "password";
	play(&whole, &settings, data[0], pn_slice(data + 1, size - 1), SIZE_MAX);
	play(&octets, &settings, data[0], pn_slice(data + 1, size - 1), 1);
	/*
	 * Behind STARTTLS the cut decides by design: octets that come together with the 220 end the
	 * session before the handshake.
	 */
	if (settings.tls == PN_CLIENT_TLS_NONE)
		check(pn_slice_eq(pn_buf_slice(&whole.log), pn_buf_slice(&octets.log)));
	play_deinit(&whole);
	play_deinit(&octets);
	return 0;
}
