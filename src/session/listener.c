/* SPDX-License-Identifier: ISC */
/*
 * listener.c - listeners and sets of them, shared by all loops. Two counts: the socket is closed when nobody accepts
 * on it any more, the rest goes when the last session that came from it has ended.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/session/session.h>

struct pn_listener *pn_listener_new(const char *name, bool is_implicit_tls, const int *fds,
				    size_t fd_count)
{
	struct pn_listener *l = calloc(1, sizeof(*l) + fd_count * sizeof(l->fds[0]));
	char *copy = strdup(name);
	if (!l || !copy) {
		free(l);
		free(copy);
		return NULL;
	}
	atomic_init(&l->refs, 1);
	atomic_init(&l->holds, 1);
	l->name = copy;
	l->is_implicit_tls = is_implicit_tls;
	l->fd_count = fd_count;
	memcpy(l->fds, fds, fd_count * sizeof(l->fds[0]));
	return l;
}

struct pn_listener *pn_listener_ref(struct pn_listener *l)
{
	/* relaxed: whoever passes the pointer on already holds a reference */
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void pn_listener_unref(struct pn_listener *l)
{
	/* acq_rel: the last one must see what all others did before they let go */
	if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(l->name);
	free(l);
}

struct pn_listener *pn_listener_hold(struct pn_listener *l)
{
	/* relaxed: as in pn_listener_ref */
	atomic_fetch_add_explicit(&l->holds, 1, memory_order_relaxed);
	return pn_listener_ref(l);
}

void pn_listener_release(struct pn_listener *l)
{
	if (!l)
		return;
	/* acq_rel: the last one closes what the others accepted on */
	if (atomic_fetch_sub_explicit(&l->holds, 1, memory_order_acq_rel) == 1) {
		for (size_t i = 0; i < l->fd_count; i++)
			(void)close(l->fds[i]);
	}
	pn_listener_unref(l);
}

struct pn_listener_set *pn_listener_set_new(size_t count)
{
	struct pn_listener_set *set =
		calloc(1, sizeof(*set) + count * sizeof(struct pn_listener *));
	if (!set)
		return NULL;
	atomic_init(&set->refs, 1);
	set->count = count;
	return set;
}

struct pn_listener_set *pn_listener_set_ref(struct pn_listener_set *set)
{
	/* relaxed: as in pn_listener_ref */
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

void pn_listener_set_unref(struct pn_listener_set *set)
{
	/* acq_rel: as in pn_listener_unref */
	if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < set->count; i++)
		pn_listener_release(set->items[i]);
	free(set);
}
