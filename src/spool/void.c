/* SPDX-License-Identifier: ISC */
/* void.c - see void.h. The note is an empty file whose name says segment and offset. */
#include "spool/void.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>
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

/* The last resort: no length is believed durable, but a start of the process alone finds it. */
static int cut(const struct pn_spool_file *f, uint64_t from)
{
	int res = ftruncate(f->fd, (off_t)from) < 0 ? -errno : 0;
	return pn_fault_result("spool.segment.cut", res);
}

static void retry_later(struct pn_spool *spool, uint64_t id, uint64_t from)
{
	struct void_retry *retry = calloc(1, sizeof(*retry));
	if (!retry)
		return;
	retry->id = id;
	retry->from = from;
	pn_list_push_back(&spool->helper.void_retries, &retry->node);
}

int pn_void_note(struct pn_spool *spool, const struct pn_spool_file *f, uint64_t from)
{
	int err = make_note(spool, f->id, from);
	int slot_err = err < 0 ? pn_void_slot_take(spool, f->id, from) : 0;
	if (slot_err == 0) {
		pn_spool_count(spool, PN_SPOOL_C_voids);
		return 0;
	}
	int cut_err = cut(f, from);
	pn_spool_count(spool, PN_SPOOL_C_void_failures);
	pn_logf(PN_LOG_ERROR, "spool",
		"cannot note that records of segment %016llx from %llu on are void (%s; slot: %s; "
		"cut: %s); "
		"after a crash of the machine some that were answered with 451 may be delivered",
		(unsigned long long)f->id, (unsigned long long)from, strerror(-err),
		strerror(-slot_err), cut_err < 0 ? strerror(-cut_err) : "done");
	retry_later(spool, f->id, from);
	return err;
}

void pn_void_retries_run(struct pn_spool *spool)
{
	PN_LIST_FOR_EACH_SAFE(it, next, &spool->helper.void_retries)
	{
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
