/* SPDX-License-Identifier: ISC */
/* record.c - the commit part of a message; see record.h. Numbers of types are for ever: add, never reuse. */
#include "spool/record.h"

#include <errno.h>
#include <string.h>

#include "spool/layout.h"
#include "spool/octets.h"
#include "spool/tlv.h"

enum {
	T_ID = 1,
	T_RECEIVED = 2,
	T_USER = 3,
	T_CLIENT = 4,
	T_HELO = 5,
	T_TLS_SUITE = 6,
	T_TLS_VERSION = 7,
	T_REVERSE_PATH = 8,
	T_BODY = 9,
	T_SMTPUTF8 = 10,
	T_SIZE_DECLARED = 11,
	T_DSN_RET = 12,
	T_DSN_ENVID = 13,
	T_AUTH = 14,
	T_RECIPIENT = 15,
	T_FACTS = 16,
	T_EDIT = 17,
	T_PROOF = 18,
};
enum { T_RCPT_ADDRESS = 1, T_RCPT_NOTIFY = 2, T_RCPT_ORCPT = 3 };
enum {
	T_FACT_SIZE = 1,
	T_FACT_HEADER = 2,
	T_FACT_LINE_MAX = 3,
	T_FACT_RECEIVED = 4,
	T_FACT_FLAGS = 5
};
enum { T_PROOF_ORIGINAL = 1, T_PROOF_FLAGS = 2, T_PROOF_RCPTS = 3 };
enum { T_EDIT_AT = 1, T_EDIT_DELETE = 2, T_EDIT_INSERT = 3 };
enum { FACT_8BIT_HEADER = 1, FACT_8BIT_BODY = 2, FACT_FINAL_CRLF = 4, FACT_SMTPUTF8 = 8 };

/* ---- encoding ---- */

static void encode_envelope(struct pn_tlv_out *o, const struct pn_envelope *e)
{
	pn_tlv_slice(o, T_ID, pn_slice(e->id.octets, sizeof(e->id.octets)));
	pn_tlv_u64(o, T_RECEIVED, e->received_wall_ms);
	pn_tlv_slice_opt(o, T_USER, e->user);
	pn_tlv_slice_opt(o, T_CLIENT, e->client_address);
	pn_tlv_slice_opt(o, T_HELO, e->helo);
	pn_tlv_slice_opt(o, T_TLS_SUITE, e->tls_suite);
	pn_tlv_u32(o, T_TLS_VERSION, e->tls_version);
	pn_tlv_slice_opt(o, T_REVERSE_PATH, e->reverse_path);
	pn_tlv_u8(o, T_BODY, (uint8_t)e->body);
	pn_tlv_u8(o, T_SMTPUTF8, e->is_smtputf8);
	pn_tlv_u64(o, T_SIZE_DECLARED, e->size_declared);
	pn_tlv_u8(o, T_DSN_RET, (uint8_t)e->dsn_ret);
	pn_tlv_slice_opt(o, T_DSN_ENVID, e->dsn_envid);
	pn_tlv_slice_opt(o, T_AUTH, e->auth_param);
	for (const struct pn_recipient *r = e->recipients; r; r = r->next) {
		size_t begin = pn_tlv_begin(o, T_RECIPIENT);
		pn_tlv_slice(o, T_RCPT_ADDRESS, r->address);
		if (r->notify != 0)
			pn_tlv_u32(o, T_RCPT_NOTIFY, r->notify);
		pn_tlv_slice_opt(o, T_RCPT_ORCPT, r->orcpt);
		pn_tlv_end(o, begin);
	}
}

static void encode_facts(struct pn_tlv_out *o, const struct pn_content_facts *f)
{
	unsigned flags = (f->has_8bit_header ? FACT_8BIT_HEADER : 0u) |
			 (f->has_8bit_body ? FACT_8BIT_BODY : 0u) |
			 (f->has_final_crlf ? FACT_FINAL_CRLF : 0u) |
			 (f->needs_smtputf8 ? FACT_SMTPUTF8 : 0u);
	size_t begin = pn_tlv_begin(o, T_FACTS);
	pn_tlv_u64(o, T_FACT_SIZE, f->size_bytes);
	pn_tlv_u64(o, T_FACT_HEADER, f->header_size_bytes);
	pn_tlv_u64(o, T_FACT_LINE_MAX, f->line_max_bytes);
	pn_tlv_u32(o, T_FACT_RECEIVED, f->received_count);
	pn_tlv_u8(o, T_FACT_FLAGS, (uint8_t)flags);
	pn_tlv_end(o, begin);
}

static void encode_proof(struct pn_tlv_out *o, const struct pn_commit_proof *p)
{
	size_t begin = pn_tlv_begin(o, T_PROOF);
	pn_tlv_slice(o, T_PROOF_ORIGINAL, pn_slice(p->original.octets, sizeof(p->original.octets)));
	pn_tlv_u8(o, T_PROOF_FLAGS, p->flags);
	pn_tlv_slice(o, T_PROOF_RCPTS, p->rcpts);
	pn_tlv_end(o, begin);
}

int pn_proof_rcpt_put(struct pn_buf *out, uint32_t index, uint8_t state)
{
	uint8_t octets[PN_PROOF_RCPT_SIZE];
	pn_put_u32(octets, index);
	octets[4] = state;
	return pn_buf_append(out, octets, sizeof(octets));
}

bool pn_proof_rcpt_next(struct pn_slice *rcpts, uint32_t *ret_index, uint8_t *ret_state)
{
	if (rcpts->len < PN_PROOF_RCPT_SIZE)
		return false;
	*ret_index = pn_get_u32(rcpts->ptr);
	*ret_state = rcpts->ptr[4];
	pn_slice_advance(rcpts, PN_PROOF_RCPT_SIZE);
	return true;
}

int pn_commit_encode(struct pn_buf *out, uint64_t content_len, const struct pn_envelope *envelope,
		     const struct pn_content_facts *facts, const struct pn_edit_list *edits,
		     const struct pn_commit_proof *proof)
{
	struct pn_tlv_out o = { .buf = out };
	encode_envelope(&o, envelope);
	encode_facts(&o, facts);
	for (const struct pn_edit *e = edits ? edits->first : NULL; e; e = e->next) {
		size_t begin = pn_tlv_begin(&o, T_EDIT);
		pn_tlv_u64(&o, T_EDIT_AT, e->at);
		if (e->delete_len != 0)
			pn_tlv_u64(&o, T_EDIT_DELETE, e->delete_len);
		pn_tlv_slice_opt(&o, T_EDIT_INSERT, e->insert);
		pn_tlv_end(&o, begin);
	}
	if (proof)
		encode_proof(&o, proof);
	pn_tlv_pad(&o, pn_rec_size(content_len, 0), PN_REC_ALIGN);
	return o.err;
}

int pn_commit_pad(struct pn_buf *out, uint64_t content_len, uint32_t align)
{
	struct pn_tlv_out o = { .buf = out };
	pn_tlv_pad(&o, pn_rec_size(content_len, 0), align);
	return o.err;
}

/* ---- decoding ---- */

static int decode_recipient(struct pn_slice in, struct pn_arena *a, struct pn_envelope *e)
{
	struct pn_recipient *r = pn_arena_zalloc(a, sizeof(*r));
	struct pn_slice value;
	uint16_t type;
	bool has_address = false;
	int got;

	if (!r)
		return -ENOMEM;
	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		switch (type) {
		case T_RCPT_ADDRESS:
			r->address = value;
			has_address = true;
			break;
		case T_RCPT_NOTIFY:
			if (!pn_tlv_get_u32(value, &r->notify))
				return -EBADMSG;
			break;
		case T_RCPT_ORCPT:
			r->orcpt = value;
			break;
		default:
			break;
		}
	}
	if (got < 0 || !has_address)
		return -EBADMSG;
	if (e->recipients_last)
		e->recipients_last->next = r;
	else
		e->recipients = r;
	e->recipients_last = r;
	e->recipient_count++;
	return 0;
}

static int decode_facts(struct pn_slice in, struct pn_content_facts *f)
{
	struct pn_slice value;
	uint16_t type;
	uint8_t flags = 0;
	int got;

	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		bool is_good = true;
		switch (type) {
		case T_FACT_SIZE:
			is_good = pn_tlv_get_u64(value, &f->size_bytes);
			break;
		case T_FACT_HEADER:
			is_good = pn_tlv_get_u64(value, &f->header_size_bytes);
			break;
		case T_FACT_LINE_MAX:
			is_good = pn_tlv_get_u64(value, &f->line_max_bytes);
			break;
		case T_FACT_RECEIVED:
			is_good = pn_tlv_get_u32(value, &f->received_count);
			break;
		case T_FACT_FLAGS:
			is_good = pn_tlv_get_u8(value, UINT8_MAX, &flags);
			break;
		default:
			break;
		}
		if (!is_good)
			return -EBADMSG;
	}
	f->has_8bit_header = flags & FACT_8BIT_HEADER;
	f->has_8bit_body = flags & FACT_8BIT_BODY;
	f->has_final_crlf = flags & FACT_FINAL_CRLF;
	f->needs_smtputf8 = flags & FACT_SMTPUTF8;
	return got;
}

static int decode_edit(struct pn_slice in, uint64_t content_len, struct pn_arena *a,
		       struct pn_edit_list *l)
{
	struct pn_edit *e = pn_arena_zalloc(a, sizeof(*e));
	struct pn_slice value;
	uint16_t type;
	int got;

	if (!e)
		return -ENOMEM;
	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		if (type == T_EDIT_AT && !pn_tlv_get_u64(value, &e->at))
			return -EBADMSG;
		if (type == T_EDIT_DELETE && !pn_tlv_get_u64(value, &e->delete_len))
			return -EBADMSG;
		if (type == T_EDIT_INSERT)
			e->insert = value;
	}
	if (got < 0 || e->at > content_len || e->delete_len > content_len - e->at)
		return -EBADMSG;
	if (l->last && e->at < l->last->at + l->last->delete_len)
		return -EBADMSG;
	if (l->last)
		l->last->next = e;
	else
		l->first = e;
	l->last = e;
	l->count++;
	return 0;
}

static bool decode_id(struct pn_slice value, struct pn_id *ret)
{
	if (value.len != sizeof(ret->octets))
		return false;
	memcpy(ret->octets, value.ptr, sizeof(ret->octets));
	return true;
}

static int decode_proof(struct pn_slice in, struct pn_commit *c)
{
	struct pn_slice value;
	uint16_t type;
	int got;

	c->proof = (struct pn_commit_proof){ 0 };
	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		if (type == T_PROOF_ORIGINAL)
			c->has_proof = decode_id(value, &c->proof.original);
		if (type == T_PROOF_FLAGS && !pn_tlv_get_u8(value, UINT8_MAX, &c->proof.flags))
			return -EBADMSG;
		if (type == T_PROOF_RCPTS)
			c->proof.rcpts = value;
	}
	return got < 0 || !c->has_proof || c->proof.rcpts.len % PN_PROOF_RCPT_SIZE != 0 ? -EBADMSG
											: 0;
}

/* The envelope's text fields. False: not one of them. */
static bool decode_text(uint16_t type, struct pn_slice value, struct pn_envelope *e)
{
	struct pn_slice *const place = type == T_USER           ? &e->user
				       : type == T_CLIENT       ? &e->client_address
				       : type == T_HELO         ? &e->helo
				       : type == T_TLS_SUITE    ? &e->tls_suite
				       : type == T_REVERSE_PATH ? &e->reverse_path
				       : type == T_DSN_ENVID    ? &e->dsn_envid
				       : type == T_AUTH         ? &e->auth_param
								: NULL;
	if (place)
		*place = value;
	return place != NULL;
}

/* The envelope's numbers; unknown types are fine. */
static bool decode_number(uint16_t type, struct pn_slice value, struct pn_envelope *e)
{
	uint8_t small = 0;
	uint32_t number = 0;
	switch (type) {
	case T_RECEIVED:
		return pn_tlv_get_u64(value, &e->received_wall_ms);
	case T_SIZE_DECLARED:
		return pn_tlv_get_u64(value, &e->size_declared);
	case T_TLS_VERSION:
		if (!pn_tlv_get_u32(value, &number) || number > UINT16_MAX)
			return false;
		e->tls_version = (uint16_t)number;
		return true;
	case T_BODY:
		if (!pn_tlv_get_u8(value, PN_BODY_8BITMIME, &small))
			return false;
		e->body = (enum pn_body_type)small;
		return true;
	case T_SMTPUTF8:
		if (!pn_tlv_get_u8(value, 1, &small))
			return false;
		e->is_smtputf8 = small;
		return true;
	case T_DSN_RET:
		if (!pn_tlv_get_u8(value, PN_DSN_RET_HDRS, &small))
			return false;
		e->dsn_ret = (enum pn_dsn_ret)small;
		return true;
	default:
		return true;
	}
}

static int decode_field(uint16_t type, struct pn_slice value, uint64_t content_len,
			struct pn_arena *a, struct pn_commit *c)
{
	switch (type) {
	case T_RECIPIENT:
		return decode_recipient(value, a, &c->envelope);
	case T_FACTS:
		return decode_facts(value, &c->facts);
	case T_EDIT:
		return decode_edit(value, content_len, a, &c->edits);
	case T_PROOF:
		return decode_proof(value, c);
	default:
		if (decode_text(type, value, &c->envelope) ||
		    decode_number(type, value, &c->envelope))
			return 0;
		return -EBADMSG;
	}
}

int pn_commit_decode(struct pn_slice in, uint64_t content_len, struct pn_arena *a,
		     struct pn_commit *ret)
{
	struct pn_slice value;
	uint16_t type;
	bool has_id = false;
	int got;

	memset(ret, 0, sizeof(*ret));
	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		int err = 0;
		if (type == T_ID)
			has_id = decode_id(value, &ret->envelope.id);
		else
			err = decode_field(type, value, content_len, a, ret);
		if (err < 0)
			return err;
	}
	if (got < 0 || !has_id)
		return -EBADMSG;
	return 0;
}

size_t pn_commit_arena_max(size_t commit_len)
{
	/* The smallest recipient or edit costs two field heads on disk; in memory a struct of less than 128
	 * octets. Chunks may be half used. */
	_Static_assert(sizeof(struct pn_recipient) <= 128 && sizeof(struct pn_edit) <= 128,
		       "arena estimate");
	return (commit_len / PN_TLV_HEAD_SIZE + 1) * 128 * 2 + 65536;
}
