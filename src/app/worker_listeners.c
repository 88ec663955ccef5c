/* SPDX-License-Identifier: ISC */
/*
 * worker_listeners.c - from handed-over descriptors to listeners. At a reload every listening socket comes again under
 * another number; its cookie says which ones we have, and these go on undisturbed.
 */
#include <string.h>
#include <sys/socket.h>

#include "worker.h"

int pn_worker_take_fd(struct pn_handover *h, size_t index)
{
	int fd = index < h->fd_count ? h->fds[index] : -1;
	if (fd >= 0)
		h->fds[index] = -1;
	return fd;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

static bool is_same(const struct pn_listener *l, const char *name, bool is_implicit_tls,
		    bool is_kernel_tls, const int *fds, size_t count)
{
	if (l->is_implicit_tls != is_implicit_tls || l->is_kernel_tls != is_kernel_tls || l->fd_count != count ||
	    strcmp(l->name, name) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		uint64_t cookie = cookie_of(fds[i]);
		if (cookie == 0 || cookie != cookie_of(l->fds[i]))
			return false;
	}
	return true;
}

/* With a hold for the set; takes the descriptors only when it makes a new one. */
static struct pn_listener *listener_of(const struct pn_config *c, const struct pn_config_listener *l,
				       int *fds, size_t count, const struct pn_listener_set *before)
{
	bool is_implicit_tls = l->tls == PN_CONFIG_TLS_IMPLICIT;
	bool is_kernel_tls = pn_app_ktls_of_listener(c, l);
	for (size_t i = 0; before && i < before->count; i++) {
		if (is_same(before->items[i], l->name, is_implicit_tls, is_kernel_tls, fds, count))
			return pn_listener_hold(before->items[i]);
	}
	struct pn_listener *made = pn_listener_new(l->name, is_implicit_tls, fds, count);
	if (made)
		made->is_kernel_tls = is_kernel_tls;
	for (size_t i = 0; made && i < count; i++)
		fds[i] = -1;
	return made;
}

struct pn_listener_set *pn_worker_listeners_new(const struct pn_config *c, uint32_t loop_count,
						struct pn_handover *h,
						const struct pn_listener_set *before,
						struct pn_error *err)
{
	size_t total = 0, n = 0;
	size_t fd = c->log.file[0] != '\0' ? 2 : 1; /* behind the control socket and the log */
	for (size_t i = 0; i < c->listener_count; i++)
		total += c->listeners[i].address_count;
	struct pn_listener_set *set = pn_listener_set_new(total);
	if (!set) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < c->listener_count; i++) {
		const struct pn_config_listener *l = &c->listeners[i];
		size_t copies = l->reuseport ? loop_count : 1;
		for (size_t a = 0; a < l->address_count; a++, fd += copies) {
			bool is_there = fd + copies <= h->fd_count;
			set->items[n] =
				is_there ? listener_of(c, l, &h->fds[fd], copies, before) : NULL;
			if (set->items[n++])
				continue;
			(void)pn_error_set(err, "%s",
					   is_there ? "out of memory"
						    : "the hand-over lacks descriptors");
			pn_listener_set_unref(set);
			return NULL;
		}
	}
	return set;
}
