/* SPDX-License-Identifier: ISC */
/* A file system that is really full (a small tmpfs in a mount namespace of our own; needs root, else skipped). */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* Takes all the space that is left. */
static void fill_disk(struct harness *h, bool fill)
{
	static const uint8_t zeros[4096];
	char path[256];
	snprintf(path, sizeof(path), "%s/filler", h->path);
	if (!fill) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
}

static void test_full_disk_refuses_and_heals(void **state)
{
	struct harness h;
	struct h_commit c;
	uint32_t n = 0, acked = 0;
	bool is_there[400] = { false };
	(void)state;
	h_init(&h, true);
	assert_int_equal(mount("none", h.path, "tmpfs", 0, "size=1500k"), 0);
	h.settings.segment_size_bytes = 128u << 10;
	h_start(&h);
	/* Until it is full, small and large ones. */
	for (; n < 300; n++) {
		h_commit(&h, &c, n, n % 7 == 0 ? 30000 : 5000);
		if (c.result < 0)
			break;
		is_there[n] = true;
		acked++;
		h.entries[h.count++] = c.entry;
	}
	assert_true(n < 300);
	assert_true(c.result == -ENOSPC || c.result == -EIO);
	fill_disk(&h, true);
	/* A full disk loses nothing and says no, again and again. */
	for (int i = 0; i < 20; i++) {
		n++;
		h_commit(&h, &c, n, 30000);
		if (c.result == 0) {
			is_there[n] = true;
			acked++;
			h.entries[h.count++] = c.entry;
		}
	}
	assert_true(c.result < 0);
	for (size_t i = 0; i < h.count; i++)
		assert_int_equal(h_check(&h, h.entries[i], h_number(&h.entries[i]->id)), 0);
	/* Room again: it heals without a restart. */
	fill_disk(&h, false);
	while (h.count > acked / 2) {
		struct pn_spool_entry *e = h.entries[--h.count];
		is_there[h_number(&e->id)] = false;
		(void)h_final(&h, e);
	}
	for (int i = 0; i < 500; i++) {
		h_commit(&h, &c, 390, 3000);
		if (c.result == 0)
			break;
		assert_int_equal(pn_loop_run_once(h.loop, 10), 0);
	}
	assert_int_equal(c.result, 0);
	is_there[390] = true;
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	/* Start on it. */
	h_start(&h);
	for (uint32_t i = 0; i < 400; i++)
		assert_int_equal(h_index(&h, i) >= 0, is_there[i]);
	h_stop(&h);
	assert_int_equal(umount2(h.path, MNT_DETACH), 0);
	h_deinit(&h);
}

static bool make_namespace(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_full_disk_refuses_and_heals) };
	if (!make_namespace()) {
		puts("skipped: needs root and a mount namespace");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
