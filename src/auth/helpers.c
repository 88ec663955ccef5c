/* SPDX-License-Identifier: ISC */
/*
 * helpers.c - pool of hashing threads.
 *
 * Jobs live in an array that belongs to the pool and are claimed by compare-and-swap, so neither a cancelled
 * exchange nor the end of a loop leaves one behind. The way of a job:
 *
 *	QUEUED --helper is done--> DONE, posted to the loop, which calls back
 *	   \--exchange freed----> DETACHED: the helper wipes and drops it, nothing is posted
 *
 * Two parties hold a job, the helper until it is through with the loop it posts to, and the loop until it has
 * called back; the last one gives it back. So when pn_helpers_inflight() is 0 no helper touches any loop. A
 * semaphore counts the jobs in the queue: sem_post never blocks and enters the kernel only if a helper sleeps.
 */
#include <errno.h>
#include <crypt.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/clock.h>
#include <postern/base/mpmc.h>
#include <postern/base/secret.h>

#include "auth/auth_internal.h"

enum job_state { JOB_QUEUED, JOB_DONE, JOB_DETACHED };

struct pn_auth_job {
	struct pn_task task;
	struct pn_helpers *helpers;
	_Atomic bool is_used;
	_Atomic int state;   /* enum job_state */
	_Atomic int parties;
	pn_job_done_fn done; /* loop thread only */
	void *owner;         /* loop thread only; NULL: detached */
	struct pn_loop *loop;
	struct pn_auth_user *user;
	bool can_match;
	bool has_tag;
	uint8_t tag[PN_CACHE_TAG_LEN];
	enum pn_verify_result result;
	size_t password_len;
	char password[PN_SASL_PREPARED_MAX + 1];
};

struct pn_helpers {
	struct pn_auth_job *jobs;
	size_t job_count;
	_Atomic size_t hint;     /* where to look for a free job first */
	_Atomic size_t inflight;
	struct pn_mpmc queue;
	sem_t queued;
	_Atomic bool is_stopping;
	struct pn_cred_cache *cache;
	pn_counter *counters;
	pthread_t *threads;
	uint32_t thread_count;
};

static void count(struct pn_helpers *h, enum pn_auth_counter counter)
{
	pn_counter_add_shared(&h->counters[counter], 1);
}

static void forget_password(struct pn_auth_job *job)
{
	pn_wipe(job->password, sizeof(job->password));
	job->password_len = 0;
}

/* A free job, or NULL. Bounded: looks at each once. */
static struct pn_auth_job *take_job(struct pn_helpers *h)
{
	/* relaxed: only a place to start at. */
	size_t start = atomic_fetch_add_explicit(&h->hint, 1, memory_order_relaxed);

	for (size_t i = 0; i < h->job_count; i++) {
		struct pn_auth_job *job = &h->jobs[(start + i) % h->job_count];
		bool is_used = atomic_load_explicit(&job->is_used, memory_order_relaxed);
		/* acquire: pairs with the release in drop_job; what the last holder wrote is over. */
		if (!is_used && atomic_compare_exchange_strong_explicit(
				    &job->is_used, &is_used, true, memory_order_acquire, memory_order_relaxed)) {
			/* relaxed: a number for others to wait on; the release side is in drop_job. */
			atomic_fetch_add_explicit(&h->inflight, 1, memory_order_relaxed);
			return job;
		}
	}
	return NULL;
}

static void drop_job(struct pn_auth_job *job, int parties)
{
	struct pn_helpers *h = job->helpers;

	/* acq_rel: the last holder sees all that the other did. */
	if (atomic_fetch_sub_explicit(&job->parties, parties, memory_order_acq_rel) != parties)
		return;
	forget_password(job);
	pn_wipe(job->tag, sizeof(job->tag));
	pn_auth_user_unref(job->user);
	job->user = NULL;
	/* release: pairs with the acquire in take_job. */
	atomic_store_explicit(&job->is_used, false, memory_order_release);
	/* release: pairs with the acquire in pn_helpers_inflight. */
	atomic_fetch_sub_explicit(&h->inflight, 1, memory_order_release);
}

static void job_returned(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_auth_job *job = pn_container_of(task, struct pn_auth_job, task);
	pn_job_done_fn done = job->done;
	void *owner = job->owner;
	enum pn_verify_result result = job->result;

	(void)loop;
	drop_job(job, 1);
	if (owner)
		done(owner, result);
}

static void work(struct pn_helpers *h, struct pn_auth_job *job, struct crypt_data *scratch)
{
	enum pn_verify_result result = pn_user_verify(job->user, pn_slice(job->password, job->password_len), scratch);

	count(h, PN_AUTH_C_hashes);
	forget_password(job);
	if (result == PN_VERIFY_RIGHT && !job->can_match)
		result = PN_VERIFY_WRONG;
	if (result == PN_VERIFY_RIGHT && job->has_tag && pn_cred_cache_add(h->cache, job->tag, pn_clock_mono_ms()))
		count(h, PN_AUTH_C_cache_evictions);
	job->result = result;
}

static void run_job(struct pn_helpers *h, struct pn_auth_job *job, struct crypt_data *scratch)
{
	int expected = JOB_QUEUED;

	/* acquire: pairs with the exchange in pn_helpers_cancel. */
	if (atomic_load_explicit(&job->state, memory_order_acquire) != JOB_DETACHED)
		work(h, job, scratch);
	/* acq_rel: pairs with the exchange in pn_helpers_cancel; one of the two is first. */
	if (!atomic_compare_exchange_strong_explicit(&job->state, &expected, JOB_DONE, memory_order_acq_rel,
	                                             memory_order_acquire)) {
		drop_job(job, 2);
		return;
	}
	pn_loop_post(job->loop, &job->task);
	drop_job(job, 1);
}

/*
 * After sem_wait there is a job, though a producer in front of it may still be writing its cell. NULL:
 * stopping.
 */
static struct pn_auth_job *next_job(struct pn_helpers *h)
{
	struct pn_auth_job *job = NULL;

	while (sem_wait(&h->queued) != 0)
		PN_ASSERT(errno == EINTR);
	/* acquire: pairs with the release in stop_threads. */
	while (!atomic_load_explicit(&h->is_stopping, memory_order_acquire)) {
		job = pn_mpmc_pop(&h->queue);
		if (job)
			break;
		sched_yield();
	}
	return job;
}

static void *helper_main(void *arg)
{
	struct pn_helpers *h = arg;
	struct pn_auth_job *job;
	/* Some 32 KiB: too much for a thread's stack to be taken for granted. */
	struct crypt_data *scratch = calloc(1, sizeof(*scratch));

	PN_ASSERT(scratch);
	while ((job = next_job(h)) != NULL)
		run_job(h, job, scratch);
	free(scratch);
	return NULL;
}

static void stop_threads(struct pn_helpers *h)
{
	/* release: pairs with the acquire in next_job. */
	atomic_store_explicit(&h->is_stopping, true, memory_order_release);
	for (uint32_t i = 0; i < h->thread_count; i++)
		sem_post(&h->queued);
	for (uint32_t i = 0; i < h->thread_count; i++)
		pthread_join(h->threads[i], NULL);
	h->thread_count = 0;
}

static int start_threads(struct pn_helpers *h, uint32_t thread_count)
{
	for (uint32_t i = 0; i < thread_count; i++) {
		char name[16];
		snprintf(name, sizeof(name), "auth/%u", i % 1000);
		int r = pn_auth_thread_create(&h->threads[i], name, helper_main, h);
		if (r < 0)
			return r;
		h->thread_count++;
	}
	return 0;
}

static int init_jobs(struct pn_helpers *h, uint32_t threads, uint32_t queue_max)
{
	h->job_count = (size_t)queue_max + threads;
	h->jobs = calloc(h->job_count, sizeof(struct pn_auth_job));
	h->threads = calloc(threads, sizeof(pthread_t));
	if (!h->jobs || !h->threads)
		return -ENOMEM;
	for (size_t i = 0; i < h->job_count; i++)
		h->jobs[i].helpers = h;
	/* Twice the jobs: a push never finds a cell whose last pop is not over. */
	return pn_mpmc_init(&h->queue, 2 * h->job_count);
}

struct pn_helpers *pn_helpers_new(uint32_t threads, uint32_t queue_max, struct pn_cred_cache *cache,
                                  pn_counter *counters, struct pn_error *err)
{
	struct pn_helpers *h = calloc(1, sizeof(*h));
	if (!h) {
		pn_error_set(err, "out of memory");
		return NULL;
	}
	threads = threads > 0 ? threads : 1;
	h->cache = cache;
	h->counters = counters;
	if (sem_init(&h->queued, 0, 0) != 0 || init_jobs(h, threads, queue_max) != 0) {
		pn_error_set(err, "out of memory for %u password checks; lower auth.helper_queue_max", queue_max);
		goto fail;
	}
	int r = start_threads(h, threads);
	if (r < 0) {
		pn_error_set(err, "cannot start %u password helpers: %s", threads, strerror(-r));
		goto fail;
	}
	return h;
fail:
	pn_helpers_free(h);
	return NULL;
}

void pn_helpers_free(struct pn_helpers *h)
{
	if (!h)
		return;
	stop_threads(h);
	for (size_t i = 0; h->jobs && i < h->job_count; i++)
		pn_auth_user_unref(h->jobs[i].user);
	if (h->jobs)
		pn_wipe(h->jobs, h->job_count * sizeof(struct pn_auth_job));
	if (h->queue.cells)
		pn_mpmc_deinit(&h->queue);
	sem_destroy(&h->queued);
	free(h->jobs);
	free(h->threads);
	free(h);
}

static void fill_job(struct pn_auth_job *job, const struct pn_job_request *request)
{
	job->task = (struct pn_task){ .fn = job_returned };
	job->done = request->done;
	job->owner = request->owner;
	job->loop = request->loop;
	job->user = pn_user_ref(request->user);
	job->can_match = request->can_match;
	job->has_tag = request->cache_tag != NULL;
	if (job->has_tag)
		memcpy(job->tag, request->cache_tag, sizeof(job->tag));
	memcpy(job->password, request->password.ptr, request->password.len);
	job->password[request->password.len] = '\0';
	job->password_len = request->password.len;
	/* relaxed: the push below publishes the job (release inside, acquire in the pop). */
	atomic_store_explicit(&job->state, JOB_QUEUED, memory_order_relaxed);
	atomic_store_explicit(&job->parties, 2, memory_order_relaxed);
}

struct pn_auth_job *pn_helpers_submit(struct pn_helpers *h, const struct pn_job_request *request)
{
	PN_ASSERT(request->owner && request->password.len <= PN_SASL_PREPARED_MAX);
	struct pn_auth_job *job = take_job(h);
	if (!job) {
		count(h, PN_AUTH_C_queue_full);
		return NULL;
	}
	fill_job(job, request);
	if (!pn_mpmc_push(&h->queue, job)) {
		count(h, PN_AUTH_C_queue_full);
		drop_job(job, 2);
		return NULL;
	}
	sem_post(&h->queued);
	return job;
}

void pn_helpers_cancel(struct pn_auth_job *job)
{
	/* First the owner: as soon as the state says DETACHED a helper may give the job to somebody else. */
	job->owner = NULL;
	/*
	 * acq_rel: pairs with the compare-and-swap in run_job. If that came first, job_returned finds no owner.
	 */
	atomic_exchange_explicit(&job->state, JOB_DETACHED, memory_order_acq_rel);
}

size_t pn_helpers_inflight(const struct pn_helpers *h)
{
	/* acquire: pairs with the release in drop_job. */
	return atomic_load_explicit(&h->inflight, memory_order_acquire);
}
