/* SPDX-License-Identifier: ISC */
/* record_plain.c - octets as they are: before STARTTLS, and to upstreams without TLS. */
#include <stdlib.h>

#include <postern/tls/record.h>

struct plain {
	struct pn_record base;
	struct pn_slice in; /* lent */
};

static struct plain *plain_of(struct pn_record *r)
{
	return pn_container_of(r, struct plain, base);
}

static void plain_input(struct pn_record *r, uint8_t *data, size_t len)
{
	struct plain *p = plain_of(r);

	PN_ASSERT(p->in.len == 0);
	p->in = pn_slice(data, len);
}

static enum pn_record_status plain_open(struct pn_record *r, struct pn_slice *ret,
					struct pn_buf *out)
{
	struct plain *p = plain_of(r);

	(void)out;
	*ret = p->in;
	p->in = PN_SLICE_NULL;
	return ret->len > 0 ? PN_RECORD_OK : PN_RECORD_WANT;
}

static enum pn_record_status plain_seal(struct pn_record *r, struct pn_slice plain,
					struct pn_buf *out)
{
	(void)r;
	return pn_buf_append_slice(out, plain) == 0 ? PN_RECORD_OK : PN_RECORD_FAILED;
}

static size_t plain_pending(const struct pn_record *r)
{
	return pn_container_of(r, const struct plain, base)->in.len;
}

static size_t plain_take_back(struct pn_record *r)
{
	struct plain *p = plain_of(r);
	size_t rest = p->in.len;

	p->in = PN_SLICE_NULL;
	return rest;
}

static enum pn_record_status plain_nothing(struct pn_record *r, struct pn_buf *out)
{
	(void)r;
	(void)out;
	return PN_RECORD_OK;
}

static void plain_idle(struct pn_record *r)
{
	(void)r;
}

static void plain_free(struct pn_record *r)
{
	free(plain_of(r));
}

static const struct pn_record_ops plain_ops = {
	.name = "plain",
	.is_clear = true,
	.input = plain_input,
	.open = plain_open,
	.seal = plain_seal,
	.pending = plain_pending,
	.take_back = plain_take_back,
	.close = plain_nothing,
	.rekey = plain_nothing,
	.idle = plain_idle,
	.free = plain_free,
};

struct pn_record *pn_record_plain_new(void)
{
	struct plain *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base.ops = &plain_ops;
	return &p->base;
}
