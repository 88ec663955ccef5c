/* SPDX-License-Identifier: ISC */
/* void.c - see void.h. The note is an empty file whose name says segment and offset. */
#include "spool/void.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/log.h>

struct void_retry {
	struct pn_list node;
	uint64_t id, from;
};

static int make_note(struct pn_spool *spool, uint64_t id, uint64_t from)
{
	char name[PN_FILE_NAME_SIZE];
	pn_void_name(name, id, from);
	int fd = pn_io_open("spool.void.create", spool->segments_fd, name, O_WRONLY | O_CREAT);
	if (fd < 0)
		return fd;
	close(fd);
	return pn_io_sync("spool.segments.fsync", spool->segments_fd, false);
}

int pn_void_note(struct pn_spool *spool, uint64_t id, uint64_t from)
{
	int err = make_note(spool, id, from);
	if (err == 0) {
		pn_spool_count(spool, PN_SPOOL_C_voids);
		return 0;
	}
	pn_spool_count(spool, PN_SPOOL_C_void_failures);
	pn_logf(PN_LOG_ERROR, "spool",
		"cannot note that records of a failed batch are void: %s; after a restart some "
		"that "
		"were answered with 451 may be delivered",
		strerror(-err));
	struct void_retry *retry = calloc(1, sizeof(*retry));
	if (retry) {
		retry->id = id;
		retry->from = from;
		pn_list_push_back(&spool->helper.void_retries, &retry->node);
	}
	return err;
}

void pn_void_retries_run(struct pn_spool *spool)
{
	PN_LIST_FOR_EACH_SAFE(it, next, &spool->helper.void_retries) {
		struct void_retry *retry = pn_container_of(it, struct void_retry, node);
		if (make_note(spool, retry->id, retry->from) < 0)
			return;
		pn_spool_count(spool, PN_SPOOL_C_voids);
		pn_list_remove(it);
		free(retry);
	}
}

void pn_void_retries_drop(struct pn_spool *spool)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(&spool->helper.void_retries)) != NULL)
		free(pn_container_of(node, struct void_retry, node));
}
