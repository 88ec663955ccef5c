/* SPDX-License-Identifier: ISC */
/*
 * buf.h - a growable octet buffer with a hard maximum, filled at the tail and consumed at the head.
 *
 * Growth doubles up to `max`; asking for more is -ENOBUFS and changes nothing. An empty buffer can
 * be released (pn_buf_free) so that idle sessions hold no memory. Not thread-safe; one owner.
 */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include <stdarg.h>

#include <postern/base/common.h>
#include <postern/base/slice.h>

struct pn_buf {
	uint8_t *data;
	size_t head; /* first unread octet */
	size_t tail; /* first free octet */
	size_t cap;
	size_t max;     /* bytes; never exceeded by cap */
	bool is_secret; /* every allocation is wiped before it goes */
};

/* Makes an empty buffer; allocates nothing. `max` in bytes. */
void pn_buf_init(struct pn_buf *b, size_t max);
/* The same for octets that must leave no trace: what growth and release leave behind is wiped. */
void pn_buf_init_secret(struct pn_buf *b, size_t max);
/* Releases the memory and leaves an empty, usable buffer with the same maximum. */
void pn_buf_free(struct pn_buf *b);
/* As pn_buf_free, overwriting the whole allocation first (secrets). */
void pn_buf_wipe(struct pn_buf *b);
/* Exchanges what two buffers hold, with its memory; each keeps its maximum. False and nothing done:
 * the memory of one is more than the other may have, or only one is secret. */
bool pn_buf_swap(struct pn_buf *a, struct pn_buf *b);
/* Makes room for `n` more octets at the tail. 0, -ENOBUFS (over max) or -ENOMEM. */
int pn_buf_reserve(struct pn_buf *b, size_t n) PN_MUST_CHECK;
/* Appends a copy. 0, -ENOBUFS or -ENOMEM; on failure nothing was appended. */
int pn_buf_append(struct pn_buf *b, const void *data, size_t len) PN_MUST_CHECK;
int pn_buf_append_slice(struct pn_buf *b, struct pn_slice s) PN_MUST_CHECK;
int pn_buf_append_str(struct pn_buf *b, const char *s) PN_MUST_CHECK;
int pn_buf_printf(struct pn_buf *b, const char *fmt, ...) PN_MUST_CHECK PN_PRINTF(2, 3);

static inline size_t pn_buf_len(const struct pn_buf *b)
{
	return b->tail - b->head;
}

static inline const uint8_t *pn_buf_ptr(const struct pn_buf *b)
{
	return b->data + b->head;
}

static inline struct pn_slice pn_buf_slice(const struct pn_buf *b)
{
	return pn_slice(b->data ? b->data + b->head : NULL, pn_buf_len(b));
}

/* Where the next octets may be written after a successful pn_buf_reserve. */
static inline uint8_t *pn_buf_tail(struct pn_buf *b)
{
	return b->data + b->tail;
}

/* Declares `n` octets written at pn_buf_tail(); n <= reserved room. */
static inline void pn_buf_commit(struct pn_buf *b, size_t n)
{
	PN_ASSERT(n <= b->cap - b->tail);
	b->tail += n;
}

/* Drops `n` octets from the head. */
static inline void pn_buf_consume(struct pn_buf *b, size_t n)
{
	PN_ASSERT(n <= pn_buf_len(b));
	b->head += n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

static inline void pn_buf_clear(struct pn_buf *b)
{
	b->head = b->tail = 0;
}

#endif
