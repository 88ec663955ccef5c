/* SPDX-License-Identifier: ISC */
/*
 * handover.c - configuration, keys and descriptors on their way from the parent to the worker.
 *
 * One SEQPACKET message carries the descriptors (SCM_RIGHTS): first a sealed memory file with the
 * blobs, then the sockets. Layout of the
 * memory file: u32 count, then for each blob u32 name length, u64 data length, name, data (native
 * byte order: both ends are the same
 * program). The worker checks every length all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/buf.h>
#include <postern/base/secret.h>

#include "app.h"

#define FILE_MAX_BYTES  (4u * 1024u * 1024u)
#define TOTAL_MAX_BYTES (256u * 1024u * 1024u)
#define MARK            'H'

int pn_handover_add(struct pn_handover *h, const char *name, const uint8_t *data, size_t len)
{
	if (h->blob_count == 0 && !h->blobs) {
		h->blobs = calloc(PN_HANDOVER_BLOBS_MAX, sizeof(h->blobs[0]));
		if (!h->blobs)
			return -ENOMEM;
	}
	if (h->blob_count == PN_HANDOVER_BLOBS_MAX)
		return -E2BIG;
	struct pn_handover_blob *b = &h->blobs[h->blob_count];
	b->name = strdup(name);
	b->data = malloc(len + 1);
	if (!b->name || !b->data) {
		free(b->name);
		free(b->data);
		return -ENOMEM;
	}
	if (len > 0)
		memcpy(b->data, data, len);
	b->data[len] = '\0';
	b->len = len;
	h->blob_count++;
	return 0;
}

struct pn_slice pn_handover_get(const struct pn_handover *h, const char *name)
{
	for (size_t i = 0; i < h->blob_count; i++) {
		if (strcmp(h->blobs[i].name, name) == 0)
			return pn_slice(h->blobs[i].data, h->blobs[i].len);
	}
	return PN_SLICE_NULL;
}

const char *pn_app_ca_path(const struct pn_config_upstream *u)
{
	return u->ca_file[0] != '\0' ? u->ca_file : "/etc/ssl/certs/ca-certificates.crt";
}

static int collect_file(struct pn_handover *h, const char *path, const char *what,
			struct pn_error *err)
{
	uint8_t *data = NULL;
	size_t len = 0;
	if (path[0] == '\0' || pn_handover_get(h, path).ptr)
		return 0;
	struct pn_error inner = { 0 };
	if (pn_file_read(path, FILE_MAX_BYTES, &data, &len, &inner) != 0)
		return pn_error_set(err, "%s: %s", what, inner.text);
	int rc = pn_handover_add(h, path, data, len);
	pn_wipe(data, len);
	free(data);
	return rc == 0 ? 0 : pn_error_set(err, "%s: %s: %s", what, path, strerror(-rc));
}

int pn_handover_collect(struct pn_handover *h, const struct pn_config *c, struct pn_error *err)
{
	char *text = pn_config_canonical(c);
	int rc = text ? pn_handover_add(h, "config", (const uint8_t *)text, strlen(text)) : -ENOMEM;
	free(text);
	if (rc != 0)
		return pn_error_set(err, "handing over the configuration: %s", strerror(-rc));
	for (size_t i = 0; i < c->certificate_count; i++) {
		if (collect_file(h, c->certificates[i].chain_file, "certificate chain", err) != 0 ||
		    collect_file(h, c->certificates[i].key_file, "private key", err) != 0)
			return -1;
	}
	for (size_t i = 0; i < c->upstream_count; i++) {
		const struct pn_config_upstream *u = &c->upstreams[i];
		if (u->kind == PN_CONFIG_UPSTREAM_MAILDIR)
			continue;
		if (collect_file(h, u->auth_password_file, "upstream password", err) != 0)
			return -1;
		/* Without verification roots are of no use; with it their absence is an error. */
		if (u->tls != PN_CONFIG_UPSTREAM_TLS_NONE && u->verify &&
		    collect_file(h, pn_app_ca_path(u), "trusted roots (ca_file)", err) != 0)
			return -1;
	}
	return 0;
}

static int write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_blobs(int fd, const struct pn_handover *h)
{
	uint32_t count = (uint32_t)h->blob_count;
	int rc = write_all(fd, &count, sizeof(count));
	for (size_t i = 0; i < h->blob_count && rc == 0; i++) {
		uint32_t name_len = (uint32_t)strlen(h->blobs[i].name);
		uint64_t data_len = h->blobs[i].len;
		if ((rc = write_all(fd, &name_len, sizeof(name_len))) == 0 &&
		    (rc = write_all(fd, &data_len, sizeof(data_len))) == 0 &&
		    (rc = write_all(fd, h->blobs[i].name, name_len)) == 0)
			rc = write_all(fd, h->blobs[i].data, h->blobs[i].len);
	}
	return rc;
}

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE((PN_HANDOVER_FDS_MAX + 1) * sizeof(int))];
};

static int send_descriptors(int sock, const int *fds, size_t count)
{
	char mark = MARK;
	struct iovec iov = { .iov_base = &mark, .iov_len = 1 };
	union control control;
	memset(&control, 0, sizeof(control));
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int pn_handover_send(int sock, const struct pn_handover *h)
{
	int fds[PN_HANDOVER_FDS_MAX + 1];
	int fd = memfd_create("postern-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	int rc = write_blobs(fd, h);
	if (rc == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		rc = -errno;
	if (rc == 0) {
		fds[0] = fd;
		memcpy(fds + 1, h->fds, h->fd_count * sizeof(int));
		rc = send_descriptors(sock, fds, h->fd_count + 1);
	}
	(void)close(fd);
	return rc;
}

static bool take(const uint8_t **p, const uint8_t *end, void *out, size_t len)
{
	if ((size_t)(end - *p) < len)
		return false;
	memcpy(out, *p, len);
	*p += len;
	return true;
}

static int parse_blobs(struct pn_handover *h, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;
	uint32_t count = 0;
	if (!take(&p, end, &count, sizeof(count)))
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t name_len = 0;
		uint64_t data_len = 0;
		char name[4096];
		if (!take(&p, end, &name_len, sizeof(name_len)) ||
		    !take(&p, end, &data_len, sizeof(data_len)) || name_len >= sizeof(name) ||
		    !take(&p, end, name, name_len) || data_len > (uint64_t)(end - p))
			return -EBADMSG;
		name[name_len] = '\0';
		int rc = pn_handover_add(h, name, p, (size_t)data_len);
		if (rc != 0)
			return rc;
		p += data_len;
	}
	return 0;
}

static int read_blobs(struct pn_handover *h, int fd)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size <= 0 || (uint64_t)st.st_size > TOTAL_MAX_BYTES)
		return -EBADMSG;
	size_t len = (size_t)st.st_size;
	void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	int rc = parse_blobs(h, map, len);
	(void)munmap(map, len);
	return rc;
}

int pn_handover_recv(int sock, struct pn_handover *ret)
{
	char mark = 0;
	struct iovec iov = { .iov_base = &mark, .iov_len = 1 };
	union control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;
	memset(ret, 0, sizeof(*ret));
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ENOTCONN;
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	int fds[PN_HANDOVER_FDS_MAX + 1];
	size_t count =
		pn_min_size((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int), PN_ARRAY_SIZE(fds));
	memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	bool is_whole = mark == MARK && count > 0 && !(msg.msg_flags & MSG_CTRUNC);
	int rc = is_whole ? read_blobs(ret, fds[0]) : -EBADMSG;
	if (rc != 0) {
		/* Nobody else knows these descriptors. */
		for (size_t i = 0; i < count; i++)
			(void)close(fds[i]);
		pn_handover_clear(ret);
		return rc;
	}
	(void)close(fds[0]);
	memcpy(ret->fds, fds + 1, (count - 1) * sizeof(int));
	ret->fd_count = count - 1;
	return 0;
}

void pn_handover_clear(struct pn_handover *h)
{
	for (size_t i = 0; i < h->blob_count; i++) {
		pn_wipe(h->blobs[i].data, h->blobs[i].len);
		free(h->blobs[i].data);
		free(h->blobs[i].name);
	}
	free(h->blobs);
	memset(h, 0, sizeof(*h));
}
