/* SPDX-License-Identifier: ISC */
/* test_files.c - file operations and linked chains. */
#include "net_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/loop_internal.h"

static struct pn_loop *loop;
static char directory[32];
static int dir_fd;

static int set_up(void **state)
{
	struct pn_loop_settings settings = net_test_settings();

	(void)state;
	settings.sq_entries = 16;
	loop = net_test_loop(&settings);
	strcpy(directory, "/tmp/pn-test-net-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	pn_loop_free(loop);
	close(dir_fd);
	return rmdir(directory);
}

static int open_file(const char *name)
{
	struct net_test_op t = { 0 };

	pn_loop_openat(loop, &t.op, net_test_on_done, dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC,
		       0600);
	net_test_run_until(loop, &t.done, 1);
	assert_true(t.res >= 0);
	return t.res;
}

static void close_file(int fd)
{
	struct net_test_op t = { 0 };

	pn_loop_close(loop, &t.op, net_test_on_done, fd);
	net_test_run_until(loop, &t.done, 1);
	assert_int_equal(t.res, 0);
}

static void test_a_file_is_written_synced_named_and_removed(void **state)
{
	struct net_test_op t = { 0 };
	struct iovec iov[2] = { { .iov_base = (void *)(uintptr_t) "one ", .iov_len = 4 },
				{ .iov_base = (void *)(uintptr_t) "two", .iov_len = 3 } };
	char text[32] = "";
	struct stat st;
	int fd = open_file("a");

	(void)state;
	pn_loop_fallocate(loop, &t.op, net_test_on_done, fd, FALLOC_FL_KEEP_SIZE, 0, 65536);
	net_test_run_until(loop, &t.done, 1);
	assert_true(t.res == 0 || t.res == -EOPNOTSUPP);
	pn_loop_writev(loop, &t.op, net_test_on_done, fd, iov, 2, 0, false);
	net_test_run_until(loop, &t.done, 2);
	assert_int_equal(t.res, 7);
	pn_loop_write(loop, &t.op, net_test_on_done, fd, "TWO!", 4, 4, false);
	net_test_run_until(loop, &t.done, 3);
	assert_int_equal(t.res, 4);
	pn_loop_fsync(loop, &t.op, net_test_on_done, fd, true);
	net_test_run_until(loop, &t.done, 4);
	assert_int_equal(t.res, 0);
	pn_loop_fsync(loop, &t.op, net_test_on_done, dir_fd, false);
	net_test_run_until(loop, &t.done, 5);
	assert_int_equal(t.res, 0);
	pn_loop_read(loop, &t.op, net_test_on_done, fd, text, sizeof(text), 0);
	net_test_run_until(loop, &t.done, 6);
	assert_int_equal(t.res, 8);
	assert_string_equal(text, "one TWO!");
	pn_loop_linkat(loop, &t.op, net_test_on_done, dir_fd, "a", dir_fd, "b", 0);
	net_test_run_until(loop, &t.done, 7);
	assert_int_equal(t.res, 0);
	pn_loop_renameat(loop, &t.op, net_test_on_done, dir_fd, "b", dir_fd, "a", RENAME_NOREPLACE);
	net_test_run_until(loop, &t.done, 8);
	assert_int_equal(t.res, -EEXIST);
	pn_loop_renameat(loop, &t.op, net_test_on_done, dir_fd, "b", dir_fd, "c", 0);
	net_test_run_until(loop, &t.done, 9);
	assert_int_equal(t.res, 0);
	assert_int_equal(fstatat(dir_fd, "c", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
	const char *const names[] = { "a", "c", "a" };
	for (unsigned i = 0; i < 3; i++) {
		pn_loop_unlinkat(loop, &t.op, net_test_on_done, dir_fd, names[i], 0);
		net_test_run_until(loop, &t.done, 10 + i);
		assert_int_equal(t.res, i < 2 ? 0 : -ENOENT);
	}
	close_file(fd);
}

static void test_failures_come_as_results(void **state)
{
	struct net_test_op t = { 0 };

	(void)state;
	pn_loop_openat(loop, &t.op, net_test_on_done, dir_fd, "missing", O_RDONLY, 0);
	net_test_run_until(loop, &t.done, 1);
	assert_int_equal(t.res, -ENOENT);
	pn_loop_write(loop, &t.op, net_test_on_done, dir_fd, "x", 1, 0, false);
	net_test_run_until(loop, &t.done, 2);
	assert_int_equal(t.res, -EBADF);
	pn_loop_close(loop, &t.op, net_test_on_done, 100000);
	net_test_run_until(loop, &t.done, 3);
	assert_int_equal(t.res, -EBADF);
}

/* A chain of the greatest length keeps its order at every fill of the queue, where it would be cut
 * in two otherwise. */
static void test_chains_are_never_cut_by_a_full_queue(void **state)
{
	int fd = open_file("chain");

	(void)state;
	for (unsigned fill = 0; fill < 16; fill++) {
		struct net_test_op fillers[16] = { 0 }, links[PN_LOOP_LINK_MAX] = { 0 };
		char text[PN_LOOP_LINK_MAX + 1] = "", octets[16];
		for (unsigned i = 0; i < fill; i++)
			pn_loop_read(loop, &fillers[i].op, net_test_on_done, fd, &octets[i], 1, 0);
		/* All to the same place: the last one must be written last. */
		for (unsigned i = 0; i < PN_LOOP_LINK_MAX; i++)
			pn_loop_write(loop, &links[i].op, net_test_on_done, fd, &"abcdefgh"[i], 1,
				      0, i + 1 < PN_LOOP_LINK_MAX);
		assert_false(loop->is_in_chain);
		while (pn_loop_inflight(loop) != 0)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
		for (unsigned i = 0; i < PN_LOOP_LINK_MAX; i++)
			assert_int_equal(links[i].res, 1);
		assert_int_equal(pread(fd, text, sizeof(text), 0), 1);
		assert_string_equal(text, "h");
	}
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_sq_full]) > 0);
	close_file(fd);
	assert_int_equal(unlinkat(dir_fd, "chain", 0), 0);
}

static void test_a_failed_or_short_link_cancels_the_rest(void **state)
{
	struct net_test_op ops[3] = { 0 };
	struct rlimit limit = { .rlim_cur = 10 }, saved;
	int fd = open_file("short");

	(void)state;
	pn_loop_write(loop, &ops[0].op, net_test_on_done, dir_fd, "x", 1, 0, true);
	pn_loop_write(loop, &ops[1].op, net_test_on_done, fd, "y", 1, 0, true);
	pn_loop_fsync(loop, &ops[2].op, net_test_on_done, fd, true);
	net_test_run_until(loop, &ops[2].done, 1);
	assert_int_equal(ops[0].res, -EBADF);
	assert_int_equal(ops[1].res, -ECANCELED);
	assert_int_equal(ops[2].res, -ECANCELED);
	/* The limit of the file size makes a real short write. */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
	limit.rlim_max = saved.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	pn_loop_write(loop, &ops[0].op, net_test_on_done, fd, "fifteen octets.", 15, 0, true);
	pn_loop_fsync(loop, &ops[1].op, net_test_on_done, fd, true);
	net_test_run_until(loop, &ops[1].done, 2);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
	assert_int_equal(ops[0].res, 10);
	assert_int_equal(ops[1].res, -ECANCELED);
	close_file(fd);
	assert_int_equal(unlinkat(dir_fd, "short", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_file_is_written_synced_named_and_removed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failures_come_as_results, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_chains_are_never_cut_by_a_full_queue, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_failed_or_short_link_cancels_the_rest,
						set_up, tear_down),
	};
	signal(SIGXFSZ, SIG_IGN);
	return net_test_main("files", tests, PN_ARRAY_SIZE(tests));
}
