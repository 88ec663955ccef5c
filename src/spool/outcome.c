/* SPDX-License-Identifier: ISC */
/* outcome.c - the outcome record of a journal; see record.h. Numbers of types are for ever: add, never reuse. */
#include <errno.h>
#include <string.h>

#include "spool/layout.h"
#include "spool/record.h"
#include "spool/tlv.h"

enum {
	T_ID = 1,
	T_SEQ = 2,
	T_KIND = 3,
	T_ATTEMPTS = 4,
	T_FLAGS = 5,
	T_NEXT = 6,
	T_STATES = 7,
	T_REPLY = 8,
};
/* 2 has been used once. */
enum { KIND_FINAL = 1 };

int pn_outcome_encode(struct pn_buf *out, const struct pn_outcome_state *state)
{
	struct pn_tlv_out o = { .buf = out };
	struct pn_slice reply = state->last_reply;

	reply.len = pn_min_size(reply.len, PN_LAST_REPLY_MAX);
	pn_tlv_slice(&o, T_ID, pn_slice(state->id.octets, sizeof(state->id.octets)));
	pn_tlv_u32(&o, T_SEQ, state->seq);
	pn_tlv_u8(&o, T_KIND, state->is_final ? KIND_FINAL : 0);
	/* Nobody will ask a finished message how it fared. */
	if (!state->is_final) {
		pn_tlv_u32(&o, T_ATTEMPTS, state->attempts);
		pn_tlv_u8(&o, T_FLAGS, state->flags);
		pn_tlv_u64(&o, T_NEXT, state->next_attempt_wall_ms);
		pn_tlv_slice(&o, T_STATES, state->rcpt_states);
		pn_tlv_slice_opt(&o, T_REPLY, reply);
	}
	pn_tlv_pad(&o, pn_rec_size(0, 0), PN_REC_ALIGN);
	return o.err;
}

static bool decode_field(uint16_t type, struct pn_slice value, struct pn_outcome_state *s)
{
	uint8_t small = 0;
	uint32_t number = 0;
	switch (type) {
	case T_SEQ:
		return pn_tlv_get_u32(value, &s->seq);
	case T_KIND:
		if (!pn_tlv_get_u8(value, UINT8_MAX, &small))
			return false;
		s->is_final = small & KIND_FINAL;
		return true;
	case T_ATTEMPTS:
		if (!pn_tlv_get_u32(value, &number) || number > UINT16_MAX)
			return false;
		s->attempts = (uint16_t)number;
		return true;
	case T_FLAGS:
		return pn_tlv_get_u8(value, UINT8_MAX, &s->flags);
	case T_NEXT:
		return pn_tlv_get_u64(value, &s->next_attempt_wall_ms);
	case T_STATES:
		s->rcpt_states = value;
		return true;
	case T_REPLY:
		s->last_reply = value;
		return true;
	default:
		return true;
	}
}

int pn_outcome_decode(struct pn_slice in, struct pn_outcome_state *ret)
{
	struct pn_slice value;
	uint16_t type;
	bool has_id = false;
	int got;

	memset(ret, 0, sizeof(*ret));
	while ((got = pn_tlv_next(&in, &type, &value)) > 0) {
		if (type == T_ID && value.len == sizeof(ret->id.octets)) {
			memcpy(ret->id.octets, value.ptr, sizeof(ret->id.octets));
			has_id = true;
		} else if (type == T_ID || !decode_field(type, value, ret)) {
			return -EBADMSG;
		}
	}
	if (got < 0 || !has_id)
		return -EBADMSG;
	return 0;
}
