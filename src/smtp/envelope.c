/* SPDX-License-Identifier: ISC */
/* envelope.c - recipients of an envelope and the list of header edits. Everything lives in the caller's arena. */
#include <postern/smtp/envelope.h>

#include <errno.h>

#include <postern/base/codec.h>

void pn_envelope_link_recipient(struct pn_envelope *e, struct pn_recipient *r)
{
	r->next = NULL;
	if (e->recipients_last)
		e->recipients_last->next = r;
	else
		e->recipients = r;
	e->recipients_last = r;
	e->recipient_count++;
}

int pn_envelope_add_recipient(struct pn_envelope *e, struct pn_arena *a, const struct pn_recipient *r)
{
	struct pn_recipient *copy = pn_arena_zalloc(a, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	copy->notify = r->notify;
	if (pn_arena_dup(a, r->address, &copy->address) != 0 || pn_arena_dup(a, r->orcpt, &copy->orcpt) != 0)
		return -ENOMEM;
	pn_envelope_link_recipient(e, copy);
	return 0;
}

bool pn_envelope_has_8bit_address(const struct pn_envelope *e)
{
	if (pn_slice_has_8bit(e->reverse_path))
		return true;
	for (const struct pn_recipient *r = e->recipients; r; r = r->next)
		if (pn_slice_has_8bit(r->address))
			return true;
	return false;
}

static int edit_add(struct pn_edit_list *l, struct pn_arena *a, const struct pn_edit *edit)
{
	PN_ASSERT(!l->last || edit->at >= l->last->at + l->last->delete_len);
	struct pn_edit *copy = pn_arena_alloc(a, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *edit;
	if (pn_arena_dup(a, edit->insert, &copy->insert) != 0)
		return -ENOMEM;
	if (l->last)
		l->last->next = copy;
	else
		l->first = copy;
	l->last = copy;
	l->count++;
	return 0;
}

int pn_edit_insert(struct pn_edit_list *l, struct pn_arena *a, uint64_t at, struct pn_slice text)
{
	return edit_add(l, a, &(struct pn_edit){ .at = at, .insert = text });
}

int pn_edit_delete(struct pn_edit_list *l, struct pn_arena *a, uint64_t at, uint64_t len)
{
	return edit_add(l, a, &(struct pn_edit){ .at = at, .delete_len = len });
}

uint64_t pn_edit_result_size(const struct pn_edit_list *l, uint64_t content_size)
{
	uint64_t size = content_size;

	for (const struct pn_edit *e = l->first; e; e = e->next) {
		PN_ASSERT(e->at <= content_size && e->delete_len <= content_size - e->at);
		size = size - e->delete_len + e->insert.len;
	}
	return size;
}
