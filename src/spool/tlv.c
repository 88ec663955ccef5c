/* SPDX-License-Identifier: ISC */
/* tlv.c - see tlv.h. */
#include "spool/tlv.h"

#include <errno.h>
#include <string.h>

#include "spool/layout.h"
#include "spool/octets.h"

static void put(struct pn_tlv_out *o, const void *data, size_t len)
{
	if (o->err == 0)
		o->err = pn_buf_append(o->buf, data, len);
}

static void put_head(struct pn_tlv_out *o, uint16_t type, size_t len)
{
	uint8_t head[PN_TLV_HEAD_SIZE];
	if (len > UINT32_MAX) {
		o->err = o->err ? o->err : -E2BIG;
		return;
	}
	pn_put_u16(head, type);
	pn_put_u32(head + 2, (uint32_t)len);
	put(o, head, sizeof(head));
}

void pn_tlv_slice(struct pn_tlv_out *o, uint16_t type, struct pn_slice value)
{
	put_head(o, type, value.len);
	if (value.len > 0)
		put(o, value.ptr, value.len);
}

void pn_tlv_slice_opt(struct pn_tlv_out *o, uint16_t type, struct pn_slice value)
{
	if (value.len > 0)
		pn_tlv_slice(o, type, value);
}

void pn_tlv_u64(struct pn_tlv_out *o, uint16_t type, uint64_t value)
{
	uint8_t octets[8];
	pn_put_u64(octets, value);
	pn_tlv_slice(o, type, pn_slice(octets, sizeof(octets)));
}

void pn_tlv_u32(struct pn_tlv_out *o, uint16_t type, uint32_t value)
{
	uint8_t octets[4];
	pn_put_u32(octets, value);
	pn_tlv_slice(o, type, pn_slice(octets, sizeof(octets)));
}

void pn_tlv_u8(struct pn_tlv_out *o, uint16_t type, uint8_t value)
{
	pn_tlv_slice(o, type, pn_slice(&value, 1));
}

size_t pn_tlv_begin(struct pn_tlv_out *o, uint16_t type)
{
	put_head(o, type, 0);
	return pn_buf_len(o->buf);
}

void pn_tlv_end(struct pn_tlv_out *o, size_t begin)
{
	if (o->err != 0)
		return;
	size_t len = pn_buf_len(o->buf) - begin;
	if (len > UINT32_MAX) {
		o->err = -E2BIG;
		return;
	}
	pn_put_u32(o->buf->data + o->buf->head + begin - 4, (uint32_t)len);
}

void pn_tlv_pad(struct pn_tlv_out *o, uint64_t before, uint32_t align)
{
	static const uint8_t zeros[PN_DIRECT_ALIGN];
	PN_ASSERT(align > 0 && align <= sizeof(zeros));
	size_t rest = (size_t)((before + pn_buf_len(o->buf)) % align);
	if (rest != 0)
		put(o, zeros, align - rest);
}

int pn_tlv_next(struct pn_slice *in, uint16_t *type, struct pn_slice *value)
{
	/* Fewer octets than a field head can only be padding. */
	if (in->len < PN_TLV_HEAD_SIZE || pn_get_u16(in->ptr) == 0) {
		for (size_t i = 0; i < in->len; i++) {
			if (in->ptr[i] != 0)
				return -EBADMSG;
		}
		pn_slice_advance(in, in->len);
		return 0;
	}
	uint32_t len = pn_get_u32(in->ptr + 2);
	*type = pn_get_u16(in->ptr);
	if (len > in->len - PN_TLV_HEAD_SIZE)
		return -EBADMSG;
	*value = pn_slice(in->ptr + PN_TLV_HEAD_SIZE, len);
	pn_slice_advance(in, PN_TLV_HEAD_SIZE + len);
	return 1;
}

bool pn_tlv_get_u64(struct pn_slice value, uint64_t *ret)
{
	if (value.len != 8)
		return false;
	*ret = pn_get_u64(value.ptr);
	return true;
}

bool pn_tlv_get_u32(struct pn_slice value, uint32_t *ret)
{
	if (value.len != 4)
		return false;
	*ret = pn_get_u32(value.ptr);
	return true;
}

bool pn_tlv_get_u8(struct pn_slice value, uint8_t max, uint8_t *ret)
{
	if (value.len != 1 || value.ptr[0] > max)
		return false;
	*ret = value.ptr[0];
	return true;
}
