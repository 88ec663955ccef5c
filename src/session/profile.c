/* SPDX-License-Identifier: ISC */
/* profile.c - the reference-counted settings that sessions of one configuration share. */
#include <stdlib.h>
#include <string.h>

#include <postern/session/session.h>

struct pn_session_profile *pn_session_profile_new(const struct pn_session_profile *values)
{
	struct pn_session_profile *p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	*p = *values;
	p->hostname = strdup(values->smtp.hostname);
	if (!p->hostname) {
		free(p);
		return NULL;
	}
	p->smtp.hostname = p->hostname;
	p->tls = pn_tls_server_ref(values->tls);
	atomic_init(&p->refs, 1);
	return p;
}

struct pn_session_profile *pn_session_profile_ref(struct pn_session_profile *p)
{
	/* relaxed: whoever passes the pointer on already holds a reference */
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void pn_session_profile_unref(struct pn_session_profile *p)
{
	/* acq_rel: the last one must see what all others did before they let go */
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	pn_tls_server_unref(p->tls);
	free(p->hostname);
	free(p);
}
