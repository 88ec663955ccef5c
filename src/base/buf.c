/* SPDX-License-Identifier: ISC */
/*
 * buf.c - the growable buffer.
 *
 * Room at the tail is made by moving the unread octets to the front when at least half of the
 * buffer is already read (so each octet is moved a bounded number of times), else by doubling, and
 * at the maximum by moving whatever that gains.
 */
#include <postern/base/buf.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/secret.h>

#define BUF_CAP_MIN ((size_t)256)

void pn_buf_init(struct pn_buf *b, size_t max)
{
	*b = (struct pn_buf){ .max = max };
}

void pn_buf_init_secret(struct pn_buf *b, size_t max)
{
	*b = (struct pn_buf){ .max = max, .is_secret = true };
}

static void release(struct pn_buf *b, bool wipe)
{
	if (wipe)
		pn_wipe(b->data, b->cap);
	free(b->data);
	b->data = NULL;
	b->head = b->tail = b->cap = 0;
}

void pn_buf_free(struct pn_buf *b)
{
	release(b, b->is_secret);
}

void pn_buf_wipe(struct pn_buf *b)
{
	release(b, true);
}

bool pn_buf_swap(struct pn_buf *a, struct pn_buf *b)
{
	if (a->cap > b->max || b->cap > a->max || a->is_secret != b->is_secret)
		return false;
	struct pn_buf old = *a;
	size_t b_max = b->max;

	*a = *b;
	a->max = old.max;
	*b = old;
	b->max = b_max;
	return true;
}

static void compact(struct pn_buf *b)
{
	size_t len = pn_buf_len(b);

	memmove(b->data, b->data + b->head, len);
	b->head = 0;
	b->tail = len;
}

static int grow(struct pn_buf *b, size_t need)
{
	size_t cap = pn_max_size(b->cap, BUF_CAP_MIN);
	size_t len = pn_buf_len(b);

	while (cap < need)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	cap = pn_min_size(cap, b->max);
	/* Not realloc: a secret must not stay behind in the old place, and the read part need not
	 * be copied. */
	uint8_t *data = malloc(cap);
	if (!data)
		return -ENOMEM;
	if (len != 0)
		memcpy(data, b->data + b->head, len);
	release(b, b->is_secret);
	b->data = data;
	b->cap = cap;
	b->tail = len;
	return 0;
}

int pn_buf_reserve(struct pn_buf *b, size_t n)
{
	size_t len = pn_buf_len(b);

	if (n <= b->cap - b->tail)
		return 0;
	if (n > b->max || len > b->max - n)
		return -ENOBUFS;
	if (len + n <= b->cap && (b->head >= b->cap / 2 || b->cap == b->max)) {
		compact(b);
		return 0;
	}
	return grow(b, b->cap < b->max && len + n <= b->cap ? b->cap + 1 : len + n);
}

int pn_buf_append(struct pn_buf *b, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	int r = pn_buf_reserve(b, len);
	if (r < 0)
		return r;
	memcpy(b->data + b->tail, data, len);
	b->tail += len;
	return 0;
}

int pn_buf_append_slice(struct pn_buf *b, struct pn_slice s)
{
	return pn_buf_append(b, s.ptr, s.len);
}

int pn_buf_append_str(struct pn_buf *b, const char *s)
{
	return pn_buf_append(b, s, strlen(s));
}

int pn_buf_printf(struct pn_buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len < 0)
		return -EINVAL;
	/* vsnprintf writes a NUL behind the text, which counts against the maximum for this moment
	 * only. */
	int r = pn_buf_reserve(b, (size_t)len);
	if (r < 0)
		return r;
	if (b->cap - b->tail == (size_t)len) {
		char *copy = malloc((size_t)len + 1);
		if (!copy)
			return -ENOMEM;
		va_start(args, fmt);
		(void)vsnprintf(copy, (size_t)len + 1, fmt, args);
		va_end(args);
		r = pn_buf_append(b, copy, (size_t)len);
		pn_wipe(copy, (size_t)len);
		free(copy);
		return r;
	}
	va_start(args, fmt);
	(void)vsnprintf((char *)pn_buf_tail(b), (size_t)len + 1, fmt, args);
	va_end(args);
	b->tail += (size_t)len;
	return 0;
}
