/* SPDX-License-Identifier: ISC */
/*
 * session_commit.c - messages whose promise is being made while the session goes on.
 *
 * A client that pipelines has its next messages under way before the last one is on disk. Waiting for each would
 * put them into group commits of their own; so the protocol is told 250 at once, and what it says from there on
 * is held here, in the clear, until the disk has answered. Not an octet of it, and above all no 250, leaves
 * before that (RFC 2920 3.2: replies in order). A message that could not be stored gets its refusal put in the
 * place of the 250.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_internal.h"

/* One message between its last octet and its reply. In order on s->commits. */
struct pn_session_commit {
	struct pn_list node;
	struct pn_session *s;
	struct pn_spool_txn *txn; /* NULL: answered */
	uint64_t reply_at;        /* of its reply, counted over all that was ever held */
	uint32_t reply_len;
	uint32_t recipient_count;
	struct pn_session_message log;
};

static void release_task(struct pn_loop *loop, struct pn_task *task);

static struct pn_session_commit *commit_new(struct pn_session *s)
{
	struct pn_session_service *svc = s->svc;
	struct pn_list *node = pn_list_pop_front(&svc->spare_commits);
	struct pn_session_commit *c = node ? pn_container_of(node, struct pn_session_commit, node)
					   : malloc(sizeof(*c));
	if (node)
		svc->spare_commit_count--;
	if (c)
		*c = (struct pn_session_commit){ .s = s };
	return c;
}

static void commit_free(struct pn_session_commit *c)
{
	struct pn_session_service *svc = c->s->svc;
	c->s->commit_count--;
	pn_list_remove(&c->node);
	if (svc->spare_commit_count >= PN_SESSION_SPARE_COMMITS_MAX) {
		free(c);
		return;
	}
	pn_list_push_front(&svc->spare_commits, &c->node);
	svc->spare_commit_count++;
}

void pn_session_commits_free_spare(struct pn_session_service *svc)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(&svc->spare_commits)) != NULL)
		free(pn_container_of(node, struct pn_session_commit, node));
}

bool pn_session_hold(struct pn_session *s)
{
	struct pn_buf *replies = &s->svc->replies;
	int rc = pn_buf_append_slice(&s->held, pn_buf_slice(replies));
	pn_buf_clear(replies);
	if (rc == 0)
		return true;
	PN_COUNT(s->svc, output_stalls);
	pn_session_kill(s, "output_limit");
	return false;
}

/* The 250 that was held becomes a refusal, and what stands behind it moves. */
static bool refuse(struct pn_session *s, struct pn_session_commit *c, enum pn_reply reply)
{
	struct pn_buf text, old = s->held;
	size_t at = (size_t)(c->reply_at - s->held_base);
	struct pn_slice all = pn_buf_slice(&old);
	pn_buf_init(&text, PN_REPLY_LINE_MAX_BYTES * 2);
	pn_buf_init(&s->held, old.max + PN_REPLY_LINE_MAX_BYTES);
	int rc = pn_reply_format(reply, PN_SLICE_NULL, true, &text);
	if (rc == 0)
		rc = pn_buf_append(&s->held, all.ptr, at);
	if (rc == 0)
		rc = pn_buf_append_slice(&s->held, pn_buf_slice(&text));
	if (rc == 0)
		rc = pn_buf_append(&s->held, all.ptr + at + c->reply_len, all.len - at - c->reply_len);
	size_t len = pn_buf_len(&text);
	for (struct pn_list *n = c->node.next; n != &s->commits; n = n->next)
		pn_container_of(n, struct pn_session_commit, node)->reply_at += len - c->reply_len;
	c->reply_len = (uint32_t)len;
	s->held.max = old.max;
	pn_buf_free(&old);
	pn_buf_free(&text);
	pn_counter_sub(&s->svc->replies_given[PN_REPLY_OK_QUEUED], 1);
	pn_counter_add(&s->svc->replies_given[reply], 1);
	return rc == 0;
}

static void on_committed(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct pn_session_commit *c = ctx;
	struct pn_session *s = c->s;
	struct pn_session_service *svc = s->svc;
	enum pn_reply reply = result == 0 ? PN_REPLY_OK_QUEUED : pn_session_storage_reply(result);

	c->txn = NULL;
	pn_session_log_message(s, &c->log, reply, result);
	if (result == 0) {
		PN_COUNT(svc, messages_accepted);
		pn_counter_add(&svc->counters[PN_SESSION_C_recipients_accepted], c->recipient_count);
		s->messages++;
		s->recipients += c->recipient_count;
		svc->shared->submit(entry, svc->shared->submit_ctx);
	} else {
		PN_COUNT(svc, messages_failed);
		if (!refuse(s, c, reply)) {
			pn_session_kill(s, "memory");
			return;
		}
	}
	if (s->is_release_posted)
		return;
	/* Once for all that one sync has made safe. */
	s->is_release_posted = true;
	s->release_task.fn = release_task;
	pn_loop_defer(svc->loop, &s->release_task);
}

/* Lets out what is held in front of the oldest message that has no answer yet. */
static void release(struct pn_session *s)
{
	uint64_t until = s->held_base + pn_buf_len(&s->held);
	PN_LIST_FOR_EACH_SAFE(node, next, &s->commits) {
		struct pn_session_commit *c = pn_container_of(node, struct pn_session_commit, node);
		if (c->txn) {
			until = c->reply_at;
			break;
		}
		commit_free(c);
	}
	size_t len = (size_t)(until - s->held_base);
	if (len == 0)
		return;
	struct pn_slice plain = pn_slice(pn_buf_ptr(&s->held), len);
	enum pn_record_status status = pn_record_seal(s->record, plain, &s->out);
	pn_buf_consume(&s->held, len);
	s->held_base = until;
	if (status != PN_RECORD_OK) {
		PN_COUNT(s->svc, output_stalls);
		pn_session_kill(s, "output_limit");
		return;
	}
	s->bytes_out += len;
	pn_session_touch(s);
	if (s->commit_count == 0)
		pn_buf_free(&s->held);
}

static void release_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_session *s = pn_container_of(task, struct pn_session, release_task);
	(void)loop;
	s->is_release_posted = false;
	if (s->state == PN_SESSION_OPEN)
		release(s);
	if (s->state != PN_SESSION_OPEN) {
		pn_session_check_dead(s);
		return;
	}
	if (s->wait == PN_WAIT_COMMIT ||
	    (s->wait == PN_WAIT_OUTPUT && !pn_session_is_output_full(s)))
		s->wait = PN_WAIT_NONE;
	pn_session_send(s);
	if (s->state == PN_SESSION_OPEN)
		pn_session_resume(s);
	else
		pn_session_check_dead(s);
}

bool pn_session_commit(struct pn_session *s, const struct pn_edit_list *edits)
{
	const struct pn_envelope *e = pn_smtp_server_envelope(&s->smtp);
	const struct pn_content_facts *facts = pn_smtp_server_content_facts(&s->smtp);
	struct pn_session_commit *c = commit_new(s);
	char text[PN_ID_TEXT_LEN + 32];
	char id[PN_ID_TEXT_LEN + 1];

	if (!c)
		return false;
	pn_session_message_fill(&c->log, s, e, facts->size_bytes);
	c->recipient_count = e->recipient_count;
	pn_session_rescue(s);
	c->txn = s->txn;
	s->txn = NULL;
	pn_list_push_back(&s->commits, &c->node);
	s->commit_count++;
	pn_spool_txn_commit(c->txn, e, facts, edits, on_committed, c);
	if (!pn_session_hold(s))
		return true;
	c->reply_at = s->held_base + pn_buf_len(&s->held);
	pn_id_format(id, &s->message_id);
	int len = snprintf(text, sizeof(text), "queued as %s", id);
	pn_session_resolve(s, PN_REPLY_OK_QUEUED, pn_slice(text, (size_t)len));
	c->reply_len = (uint32_t)pn_buf_len(&s->svc->replies);
	if (pn_session_hold(s) && s->commit_count >= s->profile->commits_max) {
		PN_COUNT(s->svc, commit_waits);
		s->wait = PN_WAIT_COMMIT;
	}
	return true;
}

void pn_session_commits_drop(struct pn_session *s)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &s->commits) {
		struct pn_session_commit *c = pn_container_of(node, struct pn_session_commit, node);
		if (c->txn)
			pn_spool_txn_abort(c->txn);
		commit_free(c);
	}
	pn_buf_free(&s->held);
	s->held_base = 0;
}
