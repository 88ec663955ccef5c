/* SPDX-License-Identifier: ISC */
/* octets.h - little-endian numbers in octets. Any thread. */
#ifndef PN_SPOOL_OCTETS_H
#define PN_SPOOL_OCTETS_H

#include <postern/base/common.h>

static inline void pn_put_u16(uint8_t *out, uint16_t v)
{
	out[0] = (uint8_t)v;
	out[1] = (uint8_t)(v >> 8);
}

static inline void pn_put_u32(uint8_t *out, uint32_t v)
{
	pn_put_u16(out, (uint16_t)v);
	pn_put_u16(out + 2, (uint16_t)(v >> 16));
}

static inline void pn_put_u64(uint8_t *out, uint64_t v)
{
	pn_put_u32(out, (uint32_t)v);
	pn_put_u32(out + 4, (uint32_t)(v >> 32));
}

static inline uint16_t pn_get_u16(const uint8_t *in)
{
	return (uint16_t)(in[0] | in[1] << 8);
}

static inline uint32_t pn_get_u32(const uint8_t *in)
{
	return pn_get_u16(in) | (uint32_t)pn_get_u16(in + 2) << 16;
}

static inline uint64_t pn_get_u64(const uint8_t *in)
{
	return pn_get_u32(in) | (uint64_t)pn_get_u32(in + 4) << 32;
}

#endif
