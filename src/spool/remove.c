/* SPDX-License-Identifier: ISC */
/*
 * remove.c - unlinking of segments, journals and large files, on the helper thread: one directory fsync for all
 * that wait. README.md "Removal".
 */
#include <errno.h>
#include <string.h>

#include <postern/base/log.h>

#include "spool/internal.h"

static void removal_run(struct pn_spool *spool, struct pn_job *job)
{
	struct pn_removal *r = pn_container_of(job, struct pn_removal, job);
	pn_list_push_back(&spool->helper.removals, &r->node);
}

void pn_removal_init(struct pn_removal *r, enum pn_file_kind kind, uint64_t id)
{
	r->job = (struct pn_job){ .run = removal_run };
	pn_list_init(&r->node);
	r->kind = kind;
	r->id = id;
}

struct kind_sites {
	const char *unlink, *fsync;
};

static struct kind_sites sites_of(enum pn_file_kind kind)
{
	switch (kind) {
	case PN_FILE_SEGMENT:
		return (struct kind_sites){ "spool.segment.unlink", "spool.segments.fsync" };
	case PN_FILE_LARGE:
		return (struct kind_sites){ "spool.file.unlink", "spool.files.fsync" };
	case PN_FILE_JOURNAL:
		break;
	}
	return (struct kind_sites){ "spool.journal.unlink", "spool.journals.fsync" };
}

static void unlink_one(struct pn_spool *spool, struct pn_removal *r)
{
	char name[PN_FILE_NAME_SIZE];
	pn_file_name(name, r->kind, r->id);
	int err = pn_io_unlink(sites_of(r->kind).unlink, pn_file_dir(spool, r->kind), name);
	r->result = err == -ENOENT ? 0 : err;
	if (r->result < 0) {
		pn_spool_count(spool, PN_SPOOL_C_removal_failures);
		pn_logf(PN_LOG_WARN, "spool", "cannot unlink %s: %s; tried again", name,
			strerror(-err));
	}
}

static void take_over(struct pn_list *to, struct pn_list *from)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(from)) != NULL)
		pn_list_push_back(to, node);
}

void pn_removals_flush(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	bool is_touched[PN_FILE_JOURNAL + 1] = { false };
	int synced[PN_FILE_JOURNAL + 1] = { 0 };
	struct pn_list todo;
	struct pn_list *node;

	pn_list_init(&todo);
	take_over(&todo, &h->removals);
	PN_LIST_FOR_EACH(it, &todo) {
		struct pn_removal *r = pn_container_of(it, struct pn_removal, node);
		unlink_one(spool, r);
		is_touched[r->kind] |= r->result == 0;
	}
	for (int k = PN_FILE_SEGMENT; k <= PN_FILE_JOURNAL; k++) {
		enum pn_file_kind kind = (enum pn_file_kind)k;
		if (is_touched[k])
			synced[k] =
				pn_io_sync(sites_of(kind).fsync, pn_file_dir(spool, kind), false);
		if (synced[k] < 0) {
			pn_spool_count(spool, PN_SPOOL_C_removal_failures);
			pn_logf(PN_LOG_WARN, "spool",
				"cannot sync a directory after unlinking: %s; what the files "
				"held stays until the next start",
				strerror(-synced[k]));
		}
	}
	while ((node = pn_list_pop_front(&todo)) != NULL) {
		struct pn_removal *r = pn_container_of(node, struct pn_removal, node);
		if (r->result < 0) {
			pn_list_push_back(&h->retries, node);
		} else if (synced[r->kind] < 0) {
			pn_list_push_back(&h->stuck, node);
		} else {
			pn_spool_count(spool, PN_SPOOL_C_removals);
			r->finish(spool, r);
		}
	}
}

void pn_removals_retry(struct pn_spool *spool)
{
	take_over(&spool->helper.removals, &spool->helper.retries);
	if (!pn_list_is_empty(&spool->helper.removals))
		pn_removals_flush(spool);
}

void pn_removals_drop(struct pn_spool *spool)
{
	struct pn_helper *h = &spool->helper;
	struct pn_list *node;
	take_over(&h->removals, &h->retries);
	take_over(&h->removals, &h->stuck);
	while ((node = pn_list_pop_front(&h->removals)) != NULL) {
		struct pn_removal *r = pn_container_of(node, struct pn_removal, node);
		r->drop(r);
	}
}
