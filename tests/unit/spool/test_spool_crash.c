/* SPDX-License-Identifier: ISC */
/*
 * Crashes. Snapshots: the directory is copied at many points of a workload and recovered from each copy, as it
 * is and with what was not synced yet torn in random places. Kills: a child works and reports what was
 * acknowledged, is killed at a random moment, and the parent recovers.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>

#include "spool/layout.h"

#define MESSAGES_MAX 512

/* What a client or the relay has been told. */
enum told { TOLD_NOTHING, TOLD_STARTED, TOLD_ACKED, TOLD_FINISHING, TOLD_FINISHED };

static uint8_t told[MESSAGES_MAX];

/* Checks a directory after a crash against what had been told before it. */
static void check_copy(struct harness *copy, const uint8_t *then)
{
	h_start(copy);
	for (uint32_t n = 0; n < MESSAGES_MAX; n++) {
		int at = h_index(copy, n);
		if (then[n] == TOLD_ACKED && at < 0)
			fail_msg("message %u was acknowledged and is lost", n);
		if (then[n] == TOLD_FINISHED && at >= 0)
			fail_msg("message %u was finished and is back", n);
		if (then[n] == TOLD_NOTHING && at >= 0)
			fail_msg("message %u was never sent", n);
		if (at >= 0)
			assert_int_equal(h_check(copy, copy->entries[at], n), 0);
	}
	/* And it works on. */
	struct h_commit c;
	h_commit(copy, &c, 10000, 500);
	assert_int_equal(c.result, 0);
	copy->entries[copy->count++] = c.entry;
	h_stop(copy);
	h_deinit(copy);
}

/* ---- torn writes ---- */

/* Where the octets of a file end that were in it at the last snapshot of sizes; behind it lies what may not
 * have been synced. */
struct known {
	char name[64];
	uint64_t end;
};

static uint64_t used_end(const char *path, uint64_t align)
{
	static uint8_t buf[1u << 20];
	uint64_t end = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n = fd >= 0 ? pread(fd, buf, sizeof(buf), 0) : 0;
	for (ssize_t i = n; i > 0 && end == 0; i--) {
		if (buf[i - 1] != 0)
			end = (uint64_t)i;
	}
	if (fd >= 0)
		close(fd);
	/* What was written last ends with zeros of its own. */
	return (end + align - 1) / align * align;
}

static uint64_t write_align(const char *folder)
{
	return strcmp(folder, "segments") == 0 ? PN_DIRECT_ALIGN : PN_REC_ALIGN;
}

static size_t note_ends(struct harness *h, const char *folder, struct known *known, size_t max)
{
	char path[256];
	size_t count = 0;
	snprintf(path, sizeof(path), "%s/%s", h->path, folder);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)) != NULL && count < max;) {
		char file[400];
		if (e->d_name[0] == '.')
			continue;
		snprintf(known[count].name, sizeof(known[count].name), "%.63s", e->d_name);
		snprintf(file, sizeof(file), "%s/%.63s", path, e->d_name);
		known[count++].end = used_end(file, write_align(folder));
	}
	closedir(d);
	return count;
}

/* Sectors behind what was durable become zeros, or noise, in no order. */
static void tear(struct harness *copy, const char *folder, const struct known *known, size_t count,
		 struct pn_prng *p)
{
	static uint8_t noise[512];
	for (size_t i = 0; i < count; i++) {
		char file[400];
		snprintf(file, sizeof(file), "%s/%s/%s", copy->path, folder, known[i].name);
		uint64_t now = used_end(file, write_align(folder));
		int fd = open(file, O_WRONLY);
		if (fd < 0)
			continue;
		for (uint64_t at = known[i].end; at < now; at += 512 - at % 512) {
			size_t len = (size_t)pn_min_size(512 - at % 512, now - at);
			uint64_t what = pn_prng_below(p, 3);
			for (size_t k = 0; k < sizeof(noise); k++)
				noise[k] = what == 1 ? 0 : (uint8_t)pn_prng_next(p);
			if (what != 0)
				assert_int_equal(pwrite(fd, noise, len, (off_t)at), len);
		}
		close(fd);
	}
}

/* ---- the workload, step by step ---- */

struct worker {
	struct harness *h;
	struct h_commit commits[MESSAGES_MAX];
	int results[MESSAGES_MAX];
	uint32_t next;
};

static void poll_commits(struct worker *w)
{
	for (uint32_t n = 0; n < w->next; n++) {
		if (told[n] == TOLD_STARTED && w->commits[n].is_done && w->commits[n].result == 0)
			told[n] = TOLD_ACKED;
		if (told[n] == TOLD_FINISHING && w->results[n] == 0)
			told[n] = TOLD_FINISHED;
	}
}

static void start_some(struct worker *w, struct pn_prng *p)
{
	uint64_t count = pn_prng_below(p, 4);
	for (uint64_t i = 0; i < count && w->next < MESSAGES_MAX; i++) {
		uint32_t n = w->next++;
		size_t size = pn_prng_below(p, 8) == 0 ? 20000 + pn_prng_below(p, 60000)
						       : pn_prng_below(p, 9000);
		told[n] = TOLD_STARTED;
		/* One piece: feeding never waits here, what is written waits in memory. */
		h_commit_start(w->h, &w->commits[n], n, size, size ? size : 1);
	}
}

static void finish_some(struct worker *w, struct pn_prng *p)
{
	for (uint32_t n = 0; n < w->next; n++) {
		if (told[n] != TOLD_ACKED || pn_prng_below(p, 6) != 0)
			continue;
		struct pn_outcome o = { .entry = w->commits[n].entry, .is_final = true };
		told[n] = TOLD_FINISHING;
		w->results[n] = H_PENDING;
		pn_journal_record(w->h->j, &o, h_on_recorded, &w->results[n]);
	}
}

static void adopt_rest(struct worker *w)
{
	h_run_until_idle(w->h);
	poll_commits(w);
	for (uint32_t n = 0; n < w->next; n++) {
		if (told[n] == TOLD_ACKED)
			w->h->entries[w->h->count++] = w->commits[n].entry;
	}
}

/* Large ones have files of their own, or share segments and are written from their blocks. */
static void choose_sizes(struct harness *h, bool is_shared)
{
	h->settings.segment_size_bytes = is_shared ? 512u << 10 : 64u << 10;
	h->settings.inline_max_bytes = is_shared ? 128u << 10 : 16384;
}

static void run_with_snapshots(uint64_t seed, bool is_torn)
{
	static struct worker w;
	struct harness h, copy;
	struct known segments[64], journals[64];
	struct pn_prng p;
	uint8_t then[MESSAGES_MAX];

	memset(&w, 0, sizeof(w));
	memset(told, 0, sizeof(told));
	pn_prng_init(&p, seed);
	h_init(&h, true);
	choose_sizes(&h, seed % 2 == 0);
	h_start(&h);
	w.h = &h;
	for (int step = 0; step < 150; step++) {
		/* Everything told so far is durable; what is written from here on perhaps not, until it is told. */
		poll_commits(&w);
		memcpy(then, told, sizeof(then));
		size_t s = note_ends(&h, "segments", segments, 64);
		size_t j = note_ends(&h, "journals", journals, 64);
		start_some(&w, &p);
		finish_some(&w, &p);
		for (uint64_t rounds = pn_prng_below(&p, 4); rounds > 0; rounds--)
			assert_int_equal(pn_loop_run_once(h.loop, 1), 0);
		if (step % 5 != 0)
			continue;
		h_copy(&h, &copy);
		/* Started since: allowed to be there. Finishing since: allowed to be gone. */
		for (uint32_t n = 0; n < MESSAGES_MAX; n++) {
			if (told[n] != then[n])
				then[n] = then[n] == TOLD_NOTHING ? TOLD_STARTED
					  : then[n] == TOLD_ACKED ? TOLD_FINISHING
								  : then[n];
		}
		if (is_torn) {
			tear(&copy, "segments", segments, s, &p);
			tear(&copy, "journals", journals, j, &p);
		}
		check_copy(&copy, then);
	}
	adopt_rest(&w);
	h_stop(&h);
	check_copy(&h, told);
}

static void test_snapshots(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++)
		run_with_snapshots(seed, false);
}

static void test_snapshots_with_torn_tails(void **state)
{
	(void)state;
	for (uint64_t seed = 11; seed <= 16; seed++)
		run_with_snapshots(seed, true);
}

/* ---- kills ---- */

struct report {
	uint32_t n;
	uint32_t what;
};

static void child_report(int fd, uint32_t n, enum told what)
{
	struct report r = { n, what };
	if (write(fd, &r, sizeof(r)) != sizeof(r))
		_exit(1);
}

static void child_work(struct harness *h, int fd, uint64_t seed)
{
	static struct worker w;
	static uint8_t before[MESSAGES_MAX];
	struct pn_prng p;
	pn_prng_init(&p, seed);
	memset(&w, 0, sizeof(w));
	memset(told, 0, sizeof(told));
	memset(before, 0, sizeof(before));
	h_start(h);
	w.h = h;
	for (;;) {
		start_some(&w, &p);
		finish_some(&w, &p);
		/* Told before it can be on disk, told again after it is. */
		for (uint32_t n = 0; n < w.next; n++) {
			if (told[n] != before[n])
				child_report(fd, n, told[n]);
		}
		memcpy(before, told, sizeof(before));
		if (pn_loop_run_once(h->loop, 1) != 0)
			_exit(1);
		poll_commits(&w);
		for (uint32_t n = 0; n < w.next; n++) {
			if (told[n] != before[n])
				child_report(fd, n, told[n]);
		}
		memcpy(before, told, sizeof(before));
	}
}

static void test_kill(void **state)
{
	struct pn_prng p;
	size_t acked = 0;
	(void)state;
	pn_prng_init(&p, 42);
	for (int round = 0; round < 12; round++) {
		struct harness h;
		struct report r;
		uint8_t then[MESSAGES_MAX] = { 0 };
		int fds[2];
		h_init(&h, true);
		choose_sizes(&h, round % 2 != 0);
		assert_int_equal(pipe(fds), 0);
		uint64_t seed = pn_prng_next(&p);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			close(fds[0]);
			child_work(&h, fds[1], seed);
			_exit(0);
		}
		close(fds[1]);
		/* A number of reports, then a little while: any moment will do. */
		uint64_t limit = 1 + pn_prng_below(&p, 600);
		for (uint64_t i = 0; i < limit && read(fds[0], &r, sizeof(r)) == sizeof(r); i++)
			then[r.n] = (uint8_t)r.what;
		usleep((useconds_t)pn_prng_below(&p, 3000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		while (read(fds[0], &r, sizeof(r)) == sizeof(r))
			then[r.n] = (uint8_t)r.what;
		close(fds[0]);
		for (uint32_t n = 0; n < MESSAGES_MAX; n++)
			acked += then[n] >= TOLD_ACKED;
		/* Starts and finishes were reported before they could reach the disk, acknowledgements after
		 * they had. */
		check_copy(&h, then);
	}
	assert_true(acked > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_snapshots_with_torn_tails),
		cmocka_unit_test(test_kill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
