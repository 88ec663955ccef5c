/* SPDX-License-Identifier: ISC */
/*
 * log_writer.c - the thread that takes lines from the ring and writes them out.
 *
 * Lines are gathered into one block and written together. A socket is written with MSG_DONTWAIT and
 * a pipe with RWF_NOWAIT, never by making the descriptor non-blocking: it may be shared with our
 * parent's shell. When the output is blocked, full or broken the block is kept and tried again;
 * meanwhile the ring fills and producers drop by class. Nothing here is waited for by anyone but
 * pn_log_stop, and that for two seconds at most; after that the thread and its memory are left to
 * the end of the process.
 *
 * A line that was only begun when the output changes is written again, whole, to the new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "base/log_internal.h"

#define BLOCK_SIZE ((size_t)64 * 1024)
/* After each write: lines that come meanwhile go in one write, and their threads need not wake us. */
#define GATHER_MS 4
#define RETRY_MS  200
/* How long a stopping writer tries an output that does not take its lines, and how long pn_log_stop
 * waits. */
#define STOP_TRY_MS 1500
#define STOP_WAIT_S 2
/* Pipes promise room for this much when poll says writable. */
#define PIPE_CHUNK ((size_t)4096)

enum output_kind { OUTPUT_FILE, OUTPUT_PIPE, OUTPUT_SOCKET };

pn_counter pn_log_counters[PN_LOG_COUNTER_COUNT];

static const char *const counter_names[] = {
#define X(name) #name,
	PN_LOG_COUNTERS(X)
#undef X
};

static struct pn_counter_block counter_block = {
	.scope = "log",
	.names = counter_names,
	.values = pn_log_counters,
	.count = PN_LOG_COUNTER_COUNT,
};

struct writer {
	struct pn_log_ring ring;
	int event_fd;
	int fd;
	enum output_kind kind;
	bool is_blocked; /* the last write said "later", not that something is wrong */
	pthread_t thread;
	_Atomic bool must_stop;
	_Atomic int next_fd; /* to go on with; -1: none */
	uint64_t reported_drops[PN_LOG_CLASS_COUNT];
	size_t sent; /* of the block */
	size_t len;
	char block[BLOCK_SIZE];
	/* What pn_log_stop waits for. */
	pthread_mutex_t done_lock;
	pthread_cond_t done_cond;
	bool is_done;
};

static _Atomic(struct writer *) active;
/* The stopped one: a late producer may still hold it, so it is freed at the next start. */
static struct writer *retired;

static void wake(const struct writer *w)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the writer is awake. */
	(void)!write(w->event_fd, &one, sizeof(one));
}

bool pn_log_writer_submit(enum pn_log_class class, const char *text, size_t len)
{
	bool must_wake;

	/* acquire: pairs with the release in pn_log_start, so that the writer's insides are visible
	 */
	struct writer *w = atomic_load_explicit(&active, memory_order_acquire);
	if (!w)
		return false;
	if (!pn_log_ring_push(&w->ring, class, text, len, &must_wake))
		pn_counter_add_shared(&pn_log_counters[PN_LOG_C_dropped_debug + (int)class], 1);
	if (must_wake)
		wake(w);
	return true;
}

static int dup_stderr(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

static enum output_kind kind_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode))
		return OUTPUT_FILE;
	return S_ISSOCK(st.st_mode) ? OUTPUT_SOCKET : OUTPUT_PIPE;
}

static ssize_t write_pipe(int fd, const char *data, size_t len)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data,
			     .iov_len = pn_min_size(len, PIPE_CHUNK) };

	/* Not every kind (a terminal) knows RWF_NOWAIT; poll is the next best thing. */
	if (poll(&pfd, 1, 0) <= 0 || !(pfd.revents & (POLLOUT | POLLERR | POLLHUP))) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
		n = write(fd, iov.iov_base, iov.iov_len);
	return n;
}

static ssize_t write_output(const struct writer *w, const char *data, size_t len)
{
	switch (w->kind) {
	case OUTPUT_SOCKET:
		return send(w->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	case OUTPUT_PIPE:
		return write_pipe(w->fd, data, len);
	case OUTPUT_FILE:
		break;
	}
	return write(w->fd, data, len);
}

/* Writes what it can of the block; true when all of it is out. */
static bool flush_block(struct writer *w)
{
	while (w->sent < w->len) {
		ssize_t n = write_output(w, w->block + w->sent, w->len - w->sent);
		if (n > 0) {
			w->sent += (size_t)n;
			pn_counter_add(&pn_log_counters[PN_LOG_C_bytes], (uint64_t)n);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			w->is_blocked = n < 0 && errno == EAGAIN;
			pn_counter_add(&pn_log_counters[w->is_blocked ? PN_LOG_C_blocked
								      : PN_LOG_C_write_errors],
				       1);
			return false;
		}
	}
	w->sent = w->len = 0;
	return true;
}

static void change_output(struct writer *w, int fd)
{
	while (w->sent > 0 && w->sent < w->len && w->block[w->sent - 1] != '\n')
		w->sent--;
	close(w->fd);
	w->fd = fd;
	w->kind = kind_of(fd);
	pn_counter_add(&pn_log_counters[PN_LOG_C_reopens], 1);
}

/* Adds a line about drops that were not reported yet; the block has room for it. */
static void report_drops(struct writer *w)
{
	static const char *const keys[PN_LOG_CLASS_COUNT] = { "debug", "session", "info",    "warn",
							      "error", "message", "delivery" };
	struct pn_log_line l;
	bool has_any = false;

	for (size_t i = 0; i < PN_LOG_CLASS_COUNT; i++) {
		uint64_t drops = pn_counter_get(&pn_log_counters[PN_LOG_C_dropped_debug + i]);
		uint64_t fresh = drops - w->reported_drops[i];
		if (fresh == 0)
			continue;
		if (!has_any)
			pn_log_begin(&l, PN_LOG_MESSAGE, "log_lines_dropped");
		has_any = true;
		pn_log_u64(&l, keys[i], fresh);
		w->reported_drops[i] = drops;
	}
	if (!has_any)
		return;
	pn_log_finish(&l);
	memcpy(w->block + w->len, l.text, l.len);
	w->len += l.len;
}

/* Fills the empty block from the ring; false when there was nothing. */
static bool fill_block(struct writer *w)
{
	while (BLOCK_SIZE - w->len >= 2 * (size_t)PN_LOG_LINE_MAX) {
		size_t len = pn_log_ring_pop(&w->ring, w->block + w->len);
		if (len == 0)
			break;
		w->len += len;
		pn_counter_add(&pn_log_counters[PN_LOG_C_lines], 1);
	}
	/* After the lines: drops happened when the ring was full of them. */
	report_drops(w);
	return w->len != 0;
}

/* Sleeps until woken; with a block that could not be written, until the output or some time lets us
 * try again. */
static void wait_for_work(struct writer *w, bool has_block)
{
	struct pollfd fds[2] = { { .fd = w->event_fd, .events = POLLIN },
				 { .fd = w->fd, .events = POLLOUT } };
	/* A full disk and a broken pipe are always "ready": they get the pause and no poll. */
	bool can_poll_output = has_block && w->is_blocked && w->kind != OUTPUT_FILE;
	uint64_t count;

	/* With a block in hand new lines are no reason to wake: they wait in the ring. Stop and
	 * a new output come within a retry. */
	if (has_block)
		fds[0].fd = -1;
	(void)poll(fds, can_poll_output ? 2 : 1, has_block ? RETRY_MS : -1);
	if (!has_block && read(w->event_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		pn_counter_add(&pn_log_counters[PN_LOG_C_wakeups], 1);
}

static void writer_loop(struct writer *w)
{
	bool has_block = false;
	uint64_t give_up_ms = 0;

	for (;;) {
		/* acquire: pairs with the release in pn_log_stop, so that lines from before it are
		 * seen */
		bool must_stop = atomic_load_explicit(&w->must_stop, memory_order_acquire);
		/* acq_rel: pairs with the exchange in pn_log_set_output */
		if (atomic_load_explicit(&w->next_fd, memory_order_relaxed) >= 0)
			change_output(
				w, atomic_exchange_explicit(&w->next_fd, -1, memory_order_acq_rel));
		if (!has_block)
			has_block = fill_block(w);
		if (must_stop && give_up_ms == 0)
			give_up_ms = pn_clock_mono_ms() + STOP_TRY_MS;
		if (has_block) {
			has_block = !flush_block(w);
			if (has_block && must_stop && pn_clock_mono_ms() >= give_up_ms)
				return;
			if (has_block)
				wait_for_work(w, true);
			else if (!must_stop)
				(void)poll(NULL, 0, GATHER_MS);
			continue;
		}
		if (must_stop)
			return;
		if (pn_log_ring_may_sleep(&w->ring))
			wait_for_work(w, false);
	}
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	writer_loop(w);
	pthread_mutex_lock(&w->done_lock);
	w->is_done = true;
	pthread_cond_signal(&w->done_cond);
	pthread_mutex_unlock(&w->done_lock);
	return NULL;
}

static void writer_free(struct writer *w)
{
	if (!w)
		return;
	pn_log_ring_deinit(&w->ring);
	if (w->event_fd >= 0)
		close(w->event_fd);
	if (w->fd >= 0)
		close(w->fd);
	int next =
		atomic_load_explicit(&w->next_fd, memory_order_relaxed); /* nobody else is left */
	if (next >= 0)
		close(next);
	pthread_cond_destroy(&w->done_cond);
	pthread_mutex_destroy(&w->done_lock);
	free(w);
}

static int writer_new(const struct pn_log_settings *settings, struct writer **ret)
{
	struct writer *w = aligned_alloc(PN_CACHE_LINE, (sizeof(*w) + PN_CACHE_LINE - 1) /
								PN_CACHE_LINE * PN_CACHE_LINE);
	pthread_condattr_t attr;
	int r = 0;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->event_fd = w->fd = -1;
	atomic_init(&w->next_fd, -1);
	for (size_t i = 0; i < PN_LOG_CLASS_COUNT; i++)
		w->reported_drops[i] = pn_counter_get(&pn_log_counters[PN_LOG_C_dropped_debug + i]);
	pthread_mutex_init(&w->done_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->done_cond, &attr);
	pthread_condattr_destroy(&attr);
	r = pn_log_ring_init(&w->ring, settings->ring_slots);
	if (r == 0 && (w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		r = -errno;
	if (r == 0 && (w->fd = settings->fd >= 0 ? settings->fd : dup_stderr()) < 0)
		r = w->fd;
	if (r == 0)
		w->kind = kind_of(w->fd);
	if (r < 0) {
		writer_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

/* The thread takes no signal: they are for the process's own handlers, and a broken pipe is only an
 * error code. */
static int start_thread(struct writer *w)
{
	sigset_t all, saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	int r = pthread_create(&w->thread, NULL, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (r == 0)
		(void)pthread_setname_np(w->thread, "log");
	return -r;
}

int pn_log_start(const struct pn_log_settings *settings)
{
	struct writer *w;

	/* relaxed: start and stop are called by one thread */
	if (atomic_load_explicit(&active, memory_order_relaxed))
		return -EALREADY;
	int r = writer_new(settings, &w);
	if (r < 0)
		return r;
	pn_log_configure(settings);
	r = start_thread(w);
	if (r < 0) {
		if (settings->fd >= 0)
			w->fd = -1;
		writer_free(w);
		return r;
	}
	writer_free(retired);
	retired = NULL;
	pn_counters_register(&counter_block);
	/* release: pairs with the acquire in pn_log_writer_submit */
	atomic_store_explicit(&active, w, memory_order_release);
	return 0;
}

/* Whether the thread has ended, or does within the time that stop may take. */
static bool wait_until_done(struct writer *w)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += STOP_WAIT_S;
	pthread_mutex_lock(&w->done_lock);
	while (!w->is_done &&
	       pthread_cond_timedwait(&w->done_cond, &w->done_lock, &deadline) != ETIMEDOUT)
		;
	bool is_done = w->is_done;
	pthread_mutex_unlock(&w->done_lock);
	return is_done;
}

void pn_log_stop(void)
{
	/* acq_rel: as in pn_log_start; who still holds the writer pushes into a ring that stays
	 * allocated */
	struct writer *w = atomic_exchange_explicit(&active, NULL, memory_order_acq_rel);

	if (!w)
		return;
	/* release: pairs with the acquire in writer_loop */
	atomic_store_explicit(&w->must_stop, true, memory_order_release);
	wake(w);
	bool is_done = wait_until_done(w);
	pn_counters_unregister(&counter_block);
	if (is_done) {
		pthread_join(w->thread, NULL);
		retired = w;
	} else {
		/* Stuck inside a system call: the thread keeps its memory, which nobody frees any
		 * more. */
		pthread_detach(w->thread);
	}
}

void pn_log_set_output(int fd)
{
	/* acquire: as in pn_log_writer_submit */
	struct writer *w = atomic_load_explicit(&active, memory_order_acquire);
	int next = fd >= 0 ? fd : dup_stderr();

	if (next < 0)
		return; /* no descriptor to be had: better the old output than none */
	/* acq_rel: pairs with the exchange in writer_loop; one that nobody has seen is closed */
	int unused = w ? atomic_exchange_explicit(&w->next_fd, next, memory_order_acq_rel) : next;
	if (unused >= 0)
		close(unused);
	if (w)
		wake(w);
}
