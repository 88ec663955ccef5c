/* SPDX-License-Identifier: ISC */
/*
 * helper.c - the spool's thread for what blocks: making files, void notes, unlinking, statvfs.
 *
 * Jobs come over a lock-free stack; results go back with pn_loop_post. It never touches a message's octets, and
 * nobody waits for it on the way to a 250 unless a segment ran full before the next one was ready or a batch
 * failed.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "spool/internal.h"
#include "spool/void.h"

int pn_helper_init(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	pn_mpsc_init(&h->queue);
	if (sem_init(&h->wake, 0, 0) < 0)
		return -errno;
	pthread_mutex_init(&h->start_lock, NULL);
	pn_list_init(&h->removals);
	pn_list_init(&h->retries);
	pn_list_init(&h->stuck);
	pn_list_init(&h->void_retries);
	return 0;
}

void pn_helper_deinit(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	pn_removals_drop(spool);
	pn_void_retries_drop(spool);
	sem_destroy(&h->wake);
	pthread_mutex_destroy(&h->start_lock);
}

void pn_helper_push(struct pn_spool *spool, struct pn_job *job)
{
	if (pn_mpsc_push(&spool->helper.queue, &job->node))
		sem_post(&spool->helper.wake);
}

/* Runs jobs until there are none; finishing removals makes more. */
static void run_queue(struct pn_spool *spool)
{
	struct pn_mpsc_node *node;
	while ((node = pn_mpsc_take_all(&spool->helper.queue)) != NULL) {
		while (node) {
			struct pn_job *job = pn_container_of(node, struct pn_job, node);
			struct pn_loop *loop = job->loop;
			node = node->next;
			job->run(spool, job);
			/* Without a loop the job may be gone now. */
			if (loop)
				pn_loop_post(loop, &job->done);
		}
		pn_removals_flush(spool);
	}
}

void pn_helper_run_now(struct pn_spool *spool)
{
	PN_ASSERT(!spool->helper.is_running);
	run_queue(spool);
}

/* For work, or until something may be tried again. */
static void wait_for_work(struct pn_helper *h)
{
	uint64_t until_ns = pn_clock_mono_ns() + (uint64_t)PN_RETRY_MS * 1000000;
	struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
				  .tv_nsec = (long)(until_ns % 1000000000) };
	while (sem_clockwait(&h->wake, CLOCK_MONOTONIC, &until) < 0 && errno == EINTR)
		;
}

static void *helper_main(void *arg)
{
	struct pn_spool *spool = arg;
	struct pn_helper *h = &spool->helper;
	uint64_t space_at_ms = 0;

	for (;;) {
		/* acquire: pairs with the release in pn_helper_stop; what was pushed before it is seen below */
		bool is_last = atomic_load_explicit(&h->is_stopping, memory_order_acquire);
		run_queue(spool);
		if (is_last)
			break;
		uint64_t now = pn_clock_mono_ms();
		if (now >= h->retry_at_ms) {
			h->retry_at_ms = now + PN_RETRY_MS;
			pn_removals_retry(spool);
			pn_void_retries_run(spool);
			(void)pn_reserve_fill(spool);
		}
		if (now >= space_at_ms) {
			space_at_ms = now + 1000;
			pn_spool_refresh_space(spool);
		}
		wait_for_work(h);
	}
	return NULL;
}

int pn_helper_start(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	sigset_t all, old;
	int err = 0;

	pthread_mutex_lock(&h->start_lock);
	if (!h->is_running) {
		/* Signals belong to the main thread. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		err = -pthread_create(&h->thread, NULL, helper_main, spool);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		h->is_running = err == 0;
		if (err == 0)
			pthread_setname_np(h->thread, "spool");
	}
	pthread_mutex_unlock(&h->start_lock);
	return err;
}

void pn_helper_stop(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	if (h->is_running) {
		/* release: pairs with the acquire in helper_main */
		atomic_store_explicit(&h->is_stopping, true, memory_order_release);
		sem_post(&h->wake);
		pthread_join(h->thread, NULL);
		h->is_running = false;
	} else {
		run_queue(spool);
	}
}
