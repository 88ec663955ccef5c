/* SPDX-License-Identifier: ISC */
/*
 * helpers.h - the threads that hash, and the bounded way to them.
 *
 * A job is taken on a loop, goes through a lock-free queue to a helper, and its result is posted back to the
 * same loop. There are queue_max + threads jobs and no more; when all are taken the answer is "full".
 */
#ifndef PN_AUTH_HELPERS_H
#define PN_AUTH_HELPERS_H

#include <postern/base/counters.h>
#include <postern/net/loop.h>

#include "auth/cache.h"
#include "auth/user.h"

struct pn_helpers;
struct pn_auth_job;

/* Called on the loop that submitted. */
typedef void (*pn_job_done_fn)(void *owner, enum pn_verify_result result);

struct pn_job_request {
	struct pn_loop *loop;
	struct pn_auth_user *user;  /* the job takes its own reference */
	bool can_match; /* false: the work of a user that does not exist; the result is WRONG (or BROKEN) */
	const uint8_t *cache_tag;   /* what to add to the cache when right; NULL: nothing */
	struct pn_slice password;   /* copied */
	pn_job_done_fn done;
	void *owner;
};

/* `cache` may be NULL; `counters` are those of auth.h. NULL with err. */
struct pn_helpers *pn_helpers_new(uint32_t threads, uint32_t queue_max, struct pn_cred_cache *cache,
                                  pn_counter *counters, struct pn_error *err);
/* Joins the threads; jobs that still wait are wiped. NULL is fine. */
void pn_helpers_free(struct pn_helpers *h);
/* Loop thread. NULL: full. */
struct pn_auth_job *pn_helpers_submit(struct pn_helpers *h, const struct pn_job_request *request);
/*
 * Loop thread, before `done` was called: it will not be called any more. The password is wiped at the latest
 * when a helper next looks at the job.
 */
void pn_helpers_cancel(struct pn_auth_job *job);
/* Jobs taken: waiting, worked on, or on the way back. Any thread. */
size_t pn_helpers_inflight(const struct pn_helpers *h);

#endif
