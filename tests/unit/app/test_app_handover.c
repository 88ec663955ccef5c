/* SPDX-License-Identifier: ISC */
/* The hand-over from parent to worker: what goes in comes out, and nothing else is believed or kept
 * open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"

static size_t open_descriptors(void)
{
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void pair_open(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void test_round_trip(void **state)
{
	(void)state;
	int pair[2];
	struct pn_handover h = { 0 }, got;
	static uint8_t big[300000];
	pair_open(pair);
	memset(big, 0xa5, sizeof(big));
	assert_int_equal(pn_handover_add(&h, "config", (const uint8_t *)"a = 1\n", 6), 0);
	assert_int_equal(pn_handover_add(&h, "/empty", NULL, 0), 0);
	assert_int_equal(pn_handover_add(&h, "/big", big, sizeof(big)), 0);
	int file = memfd_create("test", MFD_CLOEXEC);
	assert_true(file >= 0);
	for (h.fd_count = 0; h.fd_count < PN_HANDOVER_FDS_MAX; h.fd_count++)
		h.fds[h.fd_count] = file;
	assert_int_equal(pn_handover_send(pair[0], &h), 0);
	assert_int_equal(pn_handover_recv(pair[1], &got), 0);
	assert_int_equal(got.blob_count, 3);
	assert_int_equal(got.fd_count, PN_HANDOVER_FDS_MAX);
	assert_true(pn_slice_eq(pn_handover_get(&got, "config"), pn_slice_str("a = 1\n")));
	assert_true(pn_handover_get(&got, "/empty").ptr &&
		    pn_handover_get(&got, "/empty").len == 0);
	assert_true(pn_slice_eq(pn_handover_get(&got, "/big"), pn_slice(big, sizeof(big))));
	assert_null(pn_handover_get(&got, "/none").ptr);
	struct stat a, b;
	assert_int_equal(fstat(file, &a), 0);
	for (size_t i = 0; i < got.fd_count; i++) {
		assert_int_equal(fstat(got.fds[i], &b), 0);
		assert_true(a.st_ino == b.st_ino);
		(void)close(got.fds[i]);
	}
	pn_handover_clear(&h);
	pn_handover_clear(&got);
	(void)close(file);
	(void)close(pair[0]);
	assert_int_equal(pn_handover_recv(pair[1], &got), -ENOTCONN);
	(void)close(pair[1]);
}

/* Sends a memory file with these octets, and `extra` more descriptors, as a hand-over with that
 * mark. */
static void send_octets(int sock, const void *data, size_t len, char mark, size_t extra)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	int fds[8];
	struct iovec iov = { .iov_base = &mark, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE((extra + 1) * sizeof(int)) };
	fds[0] = memfd_create("test", MFD_CLOEXEC);
	assert_true(fds[0] >= 0 && extra < 8);
	assert_int_equal(write(fds[0], data, len), (ssize_t)len);
	for (size_t i = 0; i < extra; i++)
		fds[i + 1] = fds[0];
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN((extra + 1) * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, (extra + 1) * sizeof(int));
	assert_int_equal(sendmsg(sock, &msg, 0), 1);
	(void)close(fds[0]);
}

/* count, name length, data length, name, data */
static size_t octets_of(uint8_t *out, uint32_t count, uint32_t name_len, uint64_t data_len,
			const char *rest)
{
	memcpy(out, &count, 4);
	memcpy(out + 4, &name_len, 4);
	memcpy(out + 8, &data_len, 8);
	memcpy(out + 16, rest, strlen(rest));
	return 16 + strlen(rest);
}

static void test_damaged_hand_overs(void **state)
{
	(void)state;
	static const struct {
		uint32_t count, name_len;
		uint64_t data_len;
		const char *rest;
	} rows[] = {
		{ 2, 1, 1, "nd" },                                /* one is missing */
		{ 1, 1, 2, "nd" },                                /* data cut off */
		{ 1, 1, UINT64_MAX, "nd" }, { 1, 4096, 1, "nd" }, /* name too long */
		{ 1, UINT32_MAX, 1, "nd" }, { 1, 3, 0, "nd" },    /* name cut off */
		{ UINT32_MAX, 1, 1, "nd" },
	};
	int pair[2];
	struct pn_handover got;
	uint8_t octets[64];
	pair_open(pair);
	size_t before = open_descriptors();
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		size_t len = octets_of(octets, rows[i].count, rows[i].name_len, rows[i].data_len,
				       rows[i].rest);
		send_octets(pair[0], octets, len, 'H', 3);
		assert_int_equal(pn_handover_recv(pair[1], &got), -EBADMSG);
		assert_null(got.blobs);
		assert_int_equal(open_descriptors(), before);
	}
	size_t len = octets_of(octets, 1, 1, 1, "nd");
	for (size_t cut = 0; cut < len; cut++) {
		send_octets(pair[0], octets, cut, 'H', 1);
		assert_int_equal(pn_handover_recv(pair[1], &got), -EBADMSG);
		assert_int_equal(open_descriptors(), before);
	}
	send_octets(pair[0], octets, len, 'X', 2);
	assert_int_equal(pn_handover_recv(pair[1], &got), -EBADMSG);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(send(pair[0], "H", 1, 0), 1);
	assert_int_equal(pn_handover_recv(pair[1], &got), -EBADMSG);
	send_octets(pair[0], octets, len, 'H', 0);
	assert_int_equal(pn_handover_recv(pair[1], &got), 0);
	assert_int_equal(got.fd_count, 0);
	pn_handover_clear(&got);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void test_too_many_blobs(void **state)
{
	(void)state;
	struct pn_handover h = { 0 };
	char name[16];
	for (size_t i = 0; i < PN_HANDOVER_BLOBS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "%zu", i);
		assert_int_equal(pn_handover_add(&h, name, NULL, 0), 0);
	}
	assert_int_equal(pn_handover_add(&h, "one more", NULL, 0), -E2BIG);
	pn_handover_clear(&h);
	assert_int_equal(h.blob_count, 0);
}

static void test_file_read(void **state)
{
	(void)state;
	struct pn_error err = { { 0 } };
	uint8_t *data = NULL;
	size_t len = 0;
	char path[] = "/tmp/postern-file-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "12345", 5), 5);
	(void)close(fd);
	assert_int_equal(pn_file_read(path, 5, &data, &len, &err), 0);
	assert_int_equal(len, 5);
	assert_string_equal((char *)data, "12345");
	free(data);
	assert_int_equal(pn_file_read(path, 4, &data, &len, &err), -EFBIG);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(pn_file_read("/tmp", 100, &data, &len, &err), -EFBIG);
	(void)unlink(path);
	assert_int_equal(pn_file_read(path, 5, &data, &len, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damaged_hand_overs),
		cmocka_unit_test(test_too_many_blobs),
		cmocka_unit_test(test_file_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
