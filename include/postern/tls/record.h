/* SPDX-License-Identifier: ISC */
/*
 * record.h - the one interface to whatever protects a connection's octets.
 *
 * Implementations: plaintext (before STARTTLS, and plain upstreams), ours on BoringSSL's ciphers, the
 * kernel's (ktls.h), BoringSSL's own. Code above never asks which. A record is used by one thread.
 *
 * Receiving: hand octets from the socket to pn_record_input(); then call pn_record_open() until it
 * says WANT. The input stays borrowed until then and is then used up whole (a partial record is
 * kept inside). It is written to: records are opened where they lie. An opened slice is valid until
 * the next call on the same thread's records (implementations may share one scratch buffer per thread).
 *
 * Sending: pn_record_seal() appends octets for the socket to an out buffer, in order. When all of
 * them have been taken by the socket after a pn_record_close(), pn_record_flushed() says so.
 *
 * Changing: a record that wants_quiet may become another one at a moment in which nothing is under
 * way (pn_record_quiet()).
 */
#ifndef POSTERN_TLS_RECORD_H
#define POSTERN_TLS_RECORD_H

#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/slice.h>

enum pn_record_status {
	PN_RECORD_OK,
	PN_RECORD_WANT,   /* all input used, nothing to give now */
	PN_RECORD_CLOSED, /* the peer sent close_notify (or plain end of stream) */
	/* Protocol error, bad MAC, over the buffer's limit: send what is in out, then close. */
	PN_RECORD_FAILED,
};

struct pn_record;

struct pn_record_ops {
	const char *name; /* for logs and status: "plain", "aead", "kernel", "boringssl" */
	void (*input)(struct pn_record *r, uint8_t *data, size_t len);
	/* May append to `out` (alerts, KeyUpdate answers). */
	enum pn_record_status (*open)(struct pn_record *r, struct pn_slice *ret,
				      struct pn_buf *out);
	enum pn_record_status (*seal)(struct pn_record *r, struct pn_slice plain,
				      struct pn_buf *out);
	/* What is sealed is the plaintext itself. */
	bool is_clear;
	size_t (*pending)(const struct pn_record *r);
	size_t (*take_back)(struct pn_record *r);
	enum pn_record_status (*close)(struct pn_record *r, struct pn_buf *out);
	enum pn_record_status (*rekey)(struct pn_record *r, struct pn_buf *out);
	void (*idle)(struct pn_record *r);
	void (*free)(struct pn_record *r);
	/* NULL where there is nothing to do: */
	struct pn_record *(*quiet)(struct pn_record *r, struct pn_buf *out);
	enum pn_record_status (*recv_failed)(struct pn_record *r, int error, struct pn_buf *out);
	void (*flushed)(struct pn_record *r);
};

/* First member of every implementation. */
struct pn_record {
	const struct pn_record_ops *ops;
	bool wants_quiet; /* see pn_record_quiet() */
	/* See pn_record_open_into(); set during the call alone. */
	uint8_t *into;
	size_t into_room;
};

static inline void pn_record_input(struct pn_record *r, uint8_t *data, size_t len)
{
	r->ops->input(r, data, len);
}

/* Next run of plaintext: OK with *ret non-empty, or WANT, CLOSED, FAILED. */
PN_MUST_CHECK static inline enum pn_record_status pn_record_open(struct pn_record *r,
								 struct pn_slice *ret,
								 struct pn_buf *out)
{
	return r->ops->open(r, ret, out);
}

/*
 * As pn_record_open(), and lends `room` octets at `into`: where the record opens what it got to another place than it
 * came in, and all of the next record has room there (content, and in TLS 1.3 type and padding), the plaintext is put
 * there, ret->ptr == into, and it is the owner's, who keeps it or wipes it. The rest of the room may be changed.
 */
PN_MUST_CHECK static inline enum pn_record_status
pn_record_open_into(struct pn_record *r, uint8_t *into, size_t room, struct pn_slice *ret,
		    struct pn_buf *out)
{
	r->into = into;
	r->into_room = room;
	enum pn_record_status status = r->ops->open(r, ret, out);
	r->into = NULL;
	r->into_room = 0;
	return status;
}

/* Protects all of `plain` and appends to out; an empty slice lets out what is held back (session
 * tickets of TLS 1.3). OK or FAILED: out's limit (then nothing was appended, and pn_record_close()
 * may still work), after close, or keys that are used up (RFC 9325 4.4). */
PN_MUST_CHECK static inline enum pn_record_status pn_record_seal(struct pn_record *r,
								 struct pn_slice plain,
								 struct pn_buf *out)
{
	return r->ops->seal(r, plain, out);
}

/*
 * As pn_record_seal() for at most `max` octets from the front of `plain`, which are consumed. Where
 * nothing protects them and `out` is empty, the buffers change places instead of a copy: then all of them go.
 */
PN_MUST_CHECK static inline enum pn_record_status pn_record_seal_buf(struct pn_record *r,
								     struct pn_buf *plain,
								     size_t max, struct pn_buf *out)
{
	if (r->ops->is_clear && pn_buf_len(out) == 0 && pn_buf_swap(plain, out))
		return PN_RECORD_OK;
	size_t len = pn_min_size(pn_buf_len(plain), max);
	enum pn_record_status status = r->ops->seal(r, pn_slice(pn_buf_ptr(plain), len), out);
	if (status == PN_RECORD_OK)
		pn_buf_consume(plain, len);
	return status;
}

/* Octets of input taken but not yet opened (a partial record counts). */
static inline size_t pn_record_pending(const struct pn_record *r)
{
	return r->ops->pending(r);
}

/*
 * Gives the borrowed input back before it is used up (the owner must pause and may not keep the
 * memory lent): returns how many octets at the end of the last input were not looked at, and
 * forgets them; the owner hands them in again later. The plaintext that was given last ends here.
 */
static inline size_t pn_record_take_back(struct pn_record *r)
{
	return r->ops->take_back(r);
}

/* Appends close_notify; nothing may be sealed afterwards. (RFC 8314 3.3, RFC 8446 6.1) */
static inline enum pn_record_status pn_record_close(struct pn_record *r, struct pn_buf *out)
{
	return r->ops->close(r, out);
}

/* Updates the sending keys where the protocol can (TLS 1.3); OK and nothing done elsewhere. */
static inline enum pn_record_status pn_record_rekey(struct pn_record *r, struct pn_buf *out)
{
	return r->ops->rekey(r, out);
}

/* The connection is going idle: release buffers that can be made again. */
static inline void pn_record_idle(struct pn_record *r)
{
	r->ops->idle(r);
}

/*
 * Tells a record that wants_quiet that no receive and no send is under way, all that was sealed has
 * been taken by the socket, and all input is used up. Takes r and returns the record that carries
 * on (r or another). While it wants_quiet the owner holds the next receive back until what is being
 * sent is sent, and calls this then. What it appends to out is sent first and the call repeated.
 */
static inline struct pn_record *pn_record_quiet(struct pn_record *r, struct pn_buf *out)
{
	return r->ops->quiet ? r->ops->quiet(r, out) : r;
}

/*
 * A receive has failed with -errno `error`. OK: the record has seen to it, receive again; it may
 * have appended to out. CLOSED, FAILED: as from pn_record_open(). WANT: not the record's business,
 * the connection is broken.
 */
static inline enum pn_record_status pn_record_recv_failed(struct pn_record *r, int error,
							  struct pn_buf *out)
{
	return r->ops->recv_failed ? r->ops->recv_failed(r, error, out) : PN_RECORD_WANT;
}

/* After pn_record_close() or FAILED, when the socket has taken all of out: the record's own last
 * words (an alert that does not travel in out) leave now. Never blocks. */
static inline void pn_record_flushed(struct pn_record *r)
{
	if (r->ops->flushed)
		r->ops->flushed(r);
}

/* Takes r. NULL is fine. Secrets are wiped. */
static inline void pn_record_free(struct pn_record *r)
{
	if (r)
		r->ops->free(r);
}

/* clang-format off */
#define PN_RECORD_COUNTERS(X)                                                                          \
	X(sessions_kernel) X(sessions_aead) X(sessions_boringssl) /* connections there now */          \
	/* why a connection stayed on BoringSSL's records: */                                          \
	X(kept_suite) X(kept_keys) X(kept_tickets) X(kept_memory)
/* clang-format on */
enum pn_record_counter {
#define X(name) PN_RECORD_C_##name,
	PN_RECORD_COUNTERS(X)
#undef X
		PN_RECORD_COUNTER_COUNT
};
/* Registers the counters of the process (scope "records"); several threads write them, rarely. */
void pn_record_counters_register(void);
void pn_record_counters_unregister(void);
uint64_t pn_record_counter_get(enum pn_record_counter counter);
/* For implementations. Any thread. */
void pn_record_count(enum pn_record_counter counter);
void pn_record_uncount(enum pn_record_counter counter);

/* Plaintext: open gives back the input itself, seal copies. NULL when out of memory. */
struct pn_record *pn_record_plain_new(void);

#endif
