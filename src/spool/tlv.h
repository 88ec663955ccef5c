/* SPDX-License-Identifier: ISC */
/*
 * tlv.h - type-length-value fields: u16 type, u32 length, octets. Type 0 ends a list; only zeros may follow it. Pure.
 *
 * Putting into a pn_buf collects the first error (*err sticks), so that an encoder checks once.
 */
#ifndef PN_SPOOL_TLV_H
#define PN_SPOOL_TLV_H

#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_TLV_HEAD_SIZE 6u

struct pn_tlv_out {
	struct pn_buf *buf;
	int err; /* 0 or the first -errno */
};

void pn_tlv_slice(struct pn_tlv_out *o, uint16_t type, struct pn_slice value);
/* Leaves an empty value out. */
void pn_tlv_slice_opt(struct pn_tlv_out *o, uint16_t type, struct pn_slice value);
void pn_tlv_u64(struct pn_tlv_out *o, uint16_t type, uint64_t value);
void pn_tlv_u32(struct pn_tlv_out *o, uint16_t type, uint32_t value);
void pn_tlv_u8(struct pn_tlv_out *o, uint16_t type, uint8_t value);
/* A field that holds fields: put what is in it between begin and end. */
size_t pn_tlv_begin(struct pn_tlv_out *o, uint16_t type);
void pn_tlv_end(struct pn_tlv_out *o, size_t begin);
/* Zeros until the buffer's length plus `before` is a multiple of `align`. */
void pn_tlv_pad(struct pn_tlv_out *o, uint64_t before, uint32_t align);

/* Takes the next field off *in. 1: *type and *value are set; 0: end; -EBADMSG. */
int pn_tlv_next(struct pn_slice *in, uint16_t *type, struct pn_slice *value) PN_MUST_CHECK;
/* Exact lengths only; false otherwise. */
bool pn_tlv_get_u64(struct pn_slice value, uint64_t *ret) PN_MUST_CHECK;
bool pn_tlv_get_u32(struct pn_slice value, uint32_t *ret) PN_MUST_CHECK;
bool pn_tlv_get_u8(struct pn_slice value, uint8_t max, uint8_t *ret) PN_MUST_CHECK;

#endif
