/* SPDX-License-Identifier: ISC */
/*
 * answer_queue.c - asks the relay workers and waits for their asynchronous answer, with a bound.
 *
 * The waiting object has two owners, this thread and the callback; whoever is last frees it, so an
 * answer that comes after the bound finds
 * memory that is still there.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>

#include "admin_internal.h"

#define WAIT_S  30
#define TURN_NS 200000000

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic int owners;
	bool is_done;
	int result;
	json_t *answer;
};

static struct waiter *waiter_new(void)
{
	struct waiter *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	atomic_init(&w->owners, 2);
	return w;
}

static void waiter_drop(struct waiter *w)
{
	/* acq_rel: the last owner sees what the other one wrote */
	if (atomic_fetch_sub_explicit(&w->owners, 1, memory_order_acq_rel) != 1)
		return;
	json_decref(w->answer);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}

static void waiter_give(struct waiter *w, int result, json_t *answer)
{
	pthread_mutex_lock(&w->lock);
	w->is_done = true;
	w->result = result;
	w->answer = answer;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	waiter_drop(w);
}

/* pn_admin_stop was called. */
static bool is_stopping(const struct pn_admin *a)
{
	struct pollfd stop = { .fd = a->stop_fd, .events = POLLIN };
	return poll(&stop, 1, 0) > 0;
}

static json_t *answer_of_result(int result)
{
	if (result == 0)
		return json_pack("{s:b}", "ok", 1);
	if (result == -ENOENT)
		return pn_admin_answer_error("no such message");
	if (result == -EALREADY)
		return pn_admin_answer_error("the message was decided before this could be done");
	return pn_admin_answer_error(strerror(-result));
}

/* Takes w. */
static json_t *waiter_wait(const struct pn_admin *a, struct waiter *w)
{
	struct timespec until;
	uint64_t end_ms = pn_clock_mono_ms() + WAIT_S * 1000u;
	pthread_mutex_lock(&w->lock);
	/* In short turns, so that an end of the gateway is seen. */
	while (!w->is_done && pn_clock_mono_ms() < end_ms && !is_stopping(a)) {
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TURN_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		(void)pthread_cond_clockwait(&w->changed, &w->lock, CLOCK_MONOTONIC, &until);
	}
	json_t *answer = NULL;
	if (!w->is_done) {
		answer = pn_admin_answer_error("not done yet: an attempt for this message is still "
					       "in progress; it will be done after it");
	} else if (w->answer) {
		answer =
			w->answer; /* passes to this thread: jansson's counts are no handshake between two */
		w->answer = NULL;
	} else {
		answer = answer_of_result(w->result);
	}
	pthread_mutex_unlock(&w->lock);
	waiter_drop(w);
	return answer;
}

/* JSON strings are UTF-8; what is not is shown as if it were Latin-1. */
static json_t *text_of(struct pn_slice s)
{
	if (s.len == 0)
		return json_string(""); /* of a NULL slice jansson would make no value, and the key would be missing */
	if (pn_utf8_is_valid(s))
		return json_stringn_nocheck((const char *)s.ptr, s.len);
	char *out = malloc(2 * s.len + 1);
	if (!out)
		return json_string("");
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x80) {
			out[n++] = (char)s.ptr[i];
		} else {
			out[n++] = (char)(0xc0 | s.ptr[i] >> 6);
			out[n++] = (char)(0x80 | (s.ptr[i] & 0x3f));
		}
	}
	json_t *j = json_stringn_nocheck(out, n);
	free(out);
	return j;
}

static json_t *item_of(const struct pn_relay_item *item)
{
	char id[PN_ID_TEXT_LEN + 1];
	pn_id_format(id, &item->id);
	return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:s}", "id", id, "state",
			 pn_relay_item_state_name(item->state), "size_bytes",
			 (json_int_t)item->size_bytes, "received_ms",
			 (json_int_t)pn_id_time_ms(&item->id), "attempts",
			 (json_int_t)item->attempts, "next_attempt_ms",
			 (json_int_t)item->next_attempt_wall_ms, "upstream",
			 item->upstream ? item->upstream : "");
}

static void on_list(void *ctx, int result, const struct pn_relay_list *list)
{
	if (result != 0) {
		waiter_give(ctx, result, NULL);
		return;
	}
	json_t *items = json_array();
	for (size_t i = 0; i < list->count; i++)
		(void)json_array_append_new(items, item_of(&list->items[i]));
	waiter_give(ctx, 0,
		    json_pack("{s:b,s:I,s:o}", "ok", 1, "total", (json_int_t)list->total,
			      "messages", items));
}

json_t *pn_admin_answer_queue_list(const struct pn_admin *a, uint32_t limit)
{
	struct waiter *w = waiter_new();
	if (!w)
		return NULL;
	pn_relay_queue_list(a->settings.relay, limit, on_list, w);
	return waiter_wait(a, w);
}

static const char *rcpt_state_name(enum pn_rcpt_state state)
{
	switch (state) {
	case PN_RCPT_PENDING:
		return "pending";
	case PN_RCPT_DELIVERED:
		return "delivered";
	case PN_RCPT_BOUNCED:
		return "bounced";
	case PN_RCPT_EXPIRED:
		return "expired";
	case PN_RCPT_REMOVED:
		return "removed";
	}
	return "unknown";
}

static void on_show(void *ctx, int result, const struct pn_relay_item *item,
		    const struct pn_spool_message *m)
{
	if (result != 0) {
		waiter_give(ctx, result, NULL);
		return;
	}
	json_t *out = item_of(item);
	(void)json_object_set_new(out, "ok", json_true());
	if (item->error != 0)
		(void)json_object_set_new(out, "unreadable", json_string(strerror(-item->error)));
	if (m) {
		const struct pn_envelope *e = &m->envelope;
		json_t *rcpts = json_array();
		uint32_t i = 0;
		for (const struct pn_recipient *r = e->recipients; r; r = r->next, i++)
			(void)json_array_append_new(
				rcpts,
				json_pack("{s:o,s:s}", "address", text_of(r->address), "state",
					  rcpt_state_name((enum pn_rcpt_state)m->rcpt_states[i])));
		(void)json_object_set_new(out, "reverse_path", text_of(e->reverse_path));
		(void)json_object_set_new(out, "user", text_of(e->user));
		(void)json_object_set_new(out, "client_address", text_of(e->client_address));
		(void)json_object_set_new(out, "helo", text_of(e->helo));
		(void)json_object_set_new(out, "tls_suite", text_of(e->tls_suite));
		(void)json_object_set_new(out, "last_reply", text_of(m->last_reply));
		(void)json_object_set_new(out, "recipients", rcpts);
	}
	waiter_give(ctx, 0, out);
}

json_t *pn_admin_answer_queue_show(const struct pn_admin *a, const char *text)
{
	struct pn_id id;
	if (!pn_id_parse(pn_slice_str(text), &id))
		return pn_admin_answer_error("this is not a message id (26 characters of base32, "
					     "as in the 250 and in the logs)");
	struct waiter *w = waiter_new();
	if (!w)
		return NULL;
	pn_relay_queue_show(a->settings.relay, &id, on_show, w);
	return waiter_wait(a, w);
}

static void on_action(void *ctx, int result)
{
	waiter_give(ctx, result, NULL);
}

json_t *pn_admin_answer_queue_action(const struct pn_admin *a, enum pn_relay_action action,
				     const char *text)
{
	struct pn_id id;
	if (!pn_id_parse(pn_slice_str(text), &id))
		return pn_admin_answer_error("this is not a message id (26 characters of base32, "
					     "as in the 250 and in the logs)");
	struct waiter *w = waiter_new();
	if (!w)
		return NULL;
	pn_relay_queue_action(a->settings.relay, action, &id, on_action, w);
	return waiter_wait(a, w);
}
