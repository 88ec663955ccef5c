/* SPDX-License-Identifier: ISC */
/*
 * session_place.c - content is opened straight into the spool's memory.
 *
 * While content is awaited, the record layer gets the place where the spool would copy the next content to. The
 * protocol reads the plaintext there and the spool finds it in its place. What a record has behind the content
 * (the next commands) lies there too, and is carried to safety before the message leaves the session's hands.
 */
#include <string.h>

#include <postern/base/secret.h>

#include "session_internal.h"

size_t pn_session_place(const struct pn_session *s, uint8_t **ret)
{
	if (!s->txn || !pn_smtp_server_is_storing_in_place(&s->smtp))
		return 0;
	return pn_min_size(pn_spool_txn_room(s->txn, ret), PN_SESSION_PLACED_MAX);
}

void pn_session_placed(struct pn_session *s, struct pn_slice *in)
{
	struct pn_session_service *svc = s->svc;

	PN_ASSERT(!svc->placed);
	PN_COUNT(svc, records_placed);
	svc->placed = in;
}

void pn_session_placed_over(struct pn_session *s)
{
	struct pn_session_service *svc = s->svc;

	svc->placed = NULL;
	/* Commands are secrets. */
	pn_wipe(svc->rescued, svc->rescued_len);
	svc->rescued_len = 0;
}

void pn_session_rescue(struct pn_session *s)
{
	struct pn_session_service *svc = s->svc;
	struct pn_slice *in = svc->placed;

	if (!in)
		return;
	svc->placed = NULL;
	if (in->len == 0)
		return;
	PN_ASSERT(in->len <= sizeof(svc->rescued));
	/* That memory is the writer's own, of which in->ptr is a reader's view. */
	uint8_t *from = (uint8_t *)(uintptr_t)in->ptr;
	memcpy(svc->rescued, from, in->len);
	pn_wipe(from, in->len);
	svc->rescued_len = in->len;
	in->ptr = svc->rescued;
}
