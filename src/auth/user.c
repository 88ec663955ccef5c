/* SPDX-License-Identifier: ISC */
/*
 * user.c - what a logged-in user is: its name, what it may send as, its end.
 *
 * Local parts are compared without regard to the case of ASCII letters: that is how providers deliver them, and
 * a client that writes Tim@ for tim@ must not be refused. A quoted local part is compared by its meaning (RFC
 * 5321 4.1.2). Domains match whole, never their subdomains, and in the form in which they are listed (no
 * conversion to A-labels).
 */
#include <stdlib.h>

#include <postern/base/secret.h>

#include "auth/user.h"

#define LOCAL_MAX 1024 /* more than any reverse-path that got through the command parser */

struct pn_slice pn_auth_user_name(const struct pn_auth_user *u)
{
	return u->name;
}

struct pn_auth_user *pn_user_ref(struct pn_auth_user *u)
{
	/* relaxed: whoever takes another reference already has one, or reads inside a table that holds one. */
	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	return u;
}

void pn_auth_user_unref(struct pn_auth_user *u)
{
	if (!u)
		return;
	/*
	 * acq_rel: release orders this holder's reads before the free, acquire pairs with the releases of all
	 * others.
	 */
	if (atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
		return;
	pn_wipe(u, u->size);
	free(u);
}

bool pn_user_name_eq(struct pn_slice a, struct pn_slice b)
{
	return pn_slice_eq_nocase(a, b);
}

/* Splits at the last '@': a quoted local part may contain others, a domain cannot. */
static bool split_address(struct pn_slice address, struct pn_slice *ret_local, struct pn_slice *ret_domain)
{
	const uint8_t *at = address.len != 0 ? memrchr(address.ptr, '@', address.len) : NULL;
	if (!at || at == address.ptr || at + 1 == address.ptr + address.len)
		return false;
	*ret_local = pn_slice(address.ptr, (size_t)(at - address.ptr));
	*ret_domain = pn_slice(at + 1, address.len - ret_local->len - 1);
	return true;
}

/*
 * Undoes quoting into `out`, or gives the slice itself back where there is none. False: quotes that make no
 * sense.
 */
static bool unquote(struct pn_slice *local, uint8_t out[LOCAL_MAX])
{
	size_t len = 0;

	if (local->ptr[0] != '"')
		return true;
	if (local->len < 2 || local->len > LOCAL_MAX || local->ptr[local->len - 1] != '"')
		return false;
	for (size_t i = 1; i + 1 < local->len; i++) {
		if (local->ptr[i] == '\\' && i + 2 < local->len)
			i++;
		out[len++] = local->ptr[i];
	}
	*local = pn_slice(out, len);
	return true;
}

static bool is_same_mailbox(struct pn_slice own, struct pn_slice local, struct pn_slice domain)
{
	struct pn_slice own_local, own_domain;
	uint8_t work[LOCAL_MAX];

	return split_address(own, &own_local, &own_domain) && unquote(&own_local, work) &&
	       pn_slice_eq_nocase(own_domain, domain) && pn_slice_eq_nocase(own_local, local);
}

bool pn_auth_user_may_send_as(const struct pn_auth_user *u, struct pn_slice reverse_path)
{
	struct pn_slice local, domain;
	uint8_t work[LOCAL_MAX];

	if (!split_address(reverse_path, &local, &domain) || !unquote(&local, work))
		return false;
	if (is_same_mailbox(u->name, local, domain))
		return true;
	for (size_t i = 0; i < u->address_count; i++) {
		if (is_same_mailbox(u->addresses[i], local, domain))
			return true;
	}
	for (size_t i = 0; i < u->domain_count; i++) {
		if (pn_slice_eq_nocase(u->domains[i], domain))
			return true;
	}
	return false;
}

/* Neither control characters nor what separates lists and fields. */
static bool has_only_address_octets(struct pn_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] <= 0x20 || s.ptr[i] == 0x7f || s.ptr[i] == ',' || s.ptr[i] == '*' || s.ptr[i] == '<' ||
		    s.ptr[i] == '>')
			return false;
	}
	return true;
}

bool pn_user_is_domain(struct pn_slice text)
{
	return text.len > 0 && text.len <= 255 && has_only_address_octets(text) && !memchr(text.ptr, '@', text.len) &&
	       text.ptr[0] != '.' && text.ptr[text.len - 1] != '.';
}

bool pn_user_is_address(struct pn_slice text)
{
	struct pn_slice local, domain;
	uint8_t work[LOCAL_MAX];

	return has_only_address_octets(text) && split_address(text, &local, &domain) && unquote(&local, work) &&
	       pn_user_is_domain(domain);
}
