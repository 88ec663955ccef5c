/* SPDX-License-Identifier: ISC */
/* sections.c - what listeners, certificates and upstreams need to make sense: by themselves, and together. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config_internal.h"

static const struct pn_config_place begin = { 0, 1 };

/* Where the i-th item of a list stands; where the list, or its section, stands without one. */
static struct pn_config_place item_place(const struct pn_config_build *b, size_t instance, const char *name, size_t i)
{
	const struct pn_config_statement *st = pn_config_statement_of(b, instance, name);

	if (st != NULL && i < st->word_count)
		return st->words[i].place;
	return pn_config_place_of(b, instance, name);
}

static bool is_sound(const struct pn_config_build *b, size_t instance, const char *name)
{
	const struct pn_config_statement *st = pn_config_statement_of(b, instance, name);
	return st == NULL || !st->is_wrong;
}

/* ---- listeners ---- */

struct bound {
	struct pn_config_address address;
	const struct pn_config_listener *listener;
	struct pn_config_place place;
};

/* Would the kernel refuse the second of them? A wildcard takes the port on all addresses. */
static bool is_conflict(const struct pn_config_address *a, const struct pn_config_address *b)
{
	bool is_wild_a = strcmp(a->host, "0.0.0.0") == 0, is_wild_b = strcmp(b->host, "0.0.0.0") == 0;

	if (a->port != b->port)
		return false;
	if (a->is_dual_stack || b->is_dual_stack)
		return true;
	if (a->is_ipv6 != b->is_ipv6)
		return false;
	return (!a->is_ipv6 && (is_wild_a || is_wild_b)) || strcmp(a->host, b->host) == 0;
}

static void bound_check(struct pn_config_build *b, const struct bound *all, size_t count)
{
	const struct bound *last = &all[count - 1];

	for (size_t i = 0; i + 1 < count; i++) {
		if (!is_conflict(&all[i].address, &last->address))
			continue;
		pn_config_mistake(b, last->place,
				  "listener \"%s\": port %u of this address is taken by listener \"%s\" (%s:%u); "
				  "give them different ports or addresses",
				  last->listener->name, last->address.port, all[i].listener->name,
				  b->files[all[i].place.file], (unsigned)all[i].place.line);
		return;
	}
	/* RFC 8314 3.3, 7.3: 465 is implicit TLS. 587 begins in the clear. */
	if (last->address.port == 465 && last->listener->tls == PN_CONFIG_TLS_STARTTLS)
		pn_config_warning(b, last->place,
				  "clients expect TLS from the first octet on port 465; tls = implicit is usual");
	if (last->address.port == 587 && last->listener->tls == PN_CONFIG_TLS_IMPLICIT)
		pn_config_warning(b, last->place, "clients expect STARTTLS on port 587; tls = starttls is usual");
}

static void listeners_check(struct pn_config_build *b, const struct pn_config *c)
{
	size_t total = 0, count = 0;

	for (size_t i = 0; i < c->listener_count; i++)
		total += c->listeners[i].address_count;
	struct bound *all = calloc(total + 1, sizeof(*all));
	if (all == NULL) {
		pn_config_memory_out(b);
		return;
	}
	for (size_t i = 0; i < c->listener_count; i++) {
		const struct pn_config_listener *l = &c->listeners[i];
		size_t instance = pn_config_instance_of(b, PN_SECTION_LISTENER, i);
		for (size_t a = 0; a < l->address_count; a++) {
			struct bound *one = &all[count++];
			bool is_address = pn_config_address_parse(l->addresses[a], &one->address);
			PN_ASSERT(is_address);
			one->listener = l;
			one->place = item_place(b, instance, "addresses", a);
			bound_check(b, all, count);
		}
	}
	free(all);
}

/* ---- one upstream ---- */

/* The keys of the other kinds have no meaning; said once for each that is set. */
static void kind_check(struct pn_config_build *b, size_t at, const struct pn_config_upstream *u)
{
	bool is_maildir = u->kind == PN_CONFIG_UPSTREAM_MAILDIR;

	if (is_maildir && *u->maildir == '\0' && is_sound(b, at, "maildir"))
		pn_config_mistake(
			b, pn_config_place_of(b, at, "kind"),
			"upstream \"%s\" has kind = maildir but no path; write maildir = \"/path/to/Maildir\"",
			u->name);
	if (!is_maildir && *u->maildir != '\0')
		pn_config_mistake(b, pn_config_place_of(b, at, "maildir"),
				  "upstream \"%s\": maildir is for kind = maildir; take it out or change the kind",
				  u->name);
	if (is_maildir && u->host_count > 0)
		pn_config_mistake(b, pn_config_place_of(b, at, "hosts"),
		                  "upstream \"%s\": a Maildir has no hosts; take them out or change the kind", u->name);
	if (!is_maildir && u->host_count == 0 && is_sound(b, at, "hosts"))
		pn_config_mistake(b, pn_config_place_of(b, at, "hosts"),
		                  "upstream \"%s\" has no hosts; write hosts = { \"mx.example.org:25\" }", u->name);
	if (is_maildir && u->tls != PN_CONFIG_UPSTREAM_TLS_NONE)
		pn_config_mistake(b, pn_config_place_of(b, at, "tls"),
		                  "upstream \"%s\": a Maildir has no TLS; write tls = none or take it out", u->name);
	if (is_maildir && *u->auth_user != '\0')
		pn_config_mistake(b, pn_config_place_of(b, at, "auth_user"),
		                  "upstream \"%s\": a Maildir has no login; take auth_user out", u->name);
}

static void login_check(struct pn_config_build *b, size_t at, const struct pn_config_upstream *u)
{
	bool has_user = *u->auth_user != '\0', has_password = *u->auth_password_file != '\0';

	if (!is_sound(b, at, "auth_user") || !is_sound(b, at, "auth_password_file"))
		return;
	if (has_user && !has_password)
		pn_config_mistake(
			b, pn_config_place_of(b, at, "auth_user"),
			"upstream \"%s\": auth_user without auth_password_file; name the file with the password",
			u->name);
	if (!has_user && has_password)
		pn_config_mistake(b, pn_config_place_of(b, at, "auth_password_file"),
				  "upstream \"%s\": auth_password_file without auth_user; write the user's name",
				  u->name);
	if (has_user && u->kind != PN_CONFIG_UPSTREAM_MAILDIR && u->tls == PN_CONFIG_UPSTREAM_TLS_NONE &&
	    !u->auth_without_tls)
		pn_config_mistake(b, pn_config_place_of(b, at, "auth_user"),
		                  "upstream \"%s\": the password would go over an open line (tls = none); use TLS, "
		                  "or write auth_without_tls = yes", u->name);
}

static void hosts_check(struct pn_config_build *b, size_t at, const struct pn_config_upstream *u)
{
	struct pn_config_host host;

	for (size_t i = 0; i < u->host_count; i++) {
		bool is_host = pn_config_host_parse(u->hosts[i], &host);
		PN_ASSERT(is_host);
		/* RFC 2033 5 */
		if (u->kind == PN_CONFIG_UPSTREAM_LMTP && host.port == 25)
			pn_config_mistake(
				b, item_place(b, at, "hosts", i),
				"upstream \"%s\": LMTP must not use port 25; write the LMTP port, 24 is usual",
				u->name);
		for (size_t j = 0; j < i; j++) {
			if (strcasecmp(u->hosts[i], u->hosts[j]) == 0)
				pn_config_mistake(
					b, item_place(b, at, "hosts", i),
					"upstream \"%s\": %s is named twice; use weight=N for a larger share",
					u->name, u->hosts[i]);
		}
	}
}

/* ---- routes ---- */

struct route {
	const char *domain;
	size_t upstream, item;
};

static int route_compare(const void *a, const void *b)
{
	const struct route *x = a, *y = b;
	int by_name = strcasecmp(x->domain, y->domain);

	if (by_name != 0)
		return by_name;
	if (x->upstream != y->upstream)
		return x->upstream < y->upstream ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

static void domains_check(struct pn_config_build *b, const struct pn_config *c)
{
	size_t total = 0, count = 0;

	for (size_t i = 0; i < c->upstream_count; i++)
		total += c->upstreams[i].domain_count;
	struct route *all = calloc(total + 1, sizeof(*all));
	if (all == NULL) {
		pn_config_memory_out(b);
		return;
	}
	for (size_t i = 0; i < c->upstream_count; i++) {
		for (size_t d = 0; d < c->upstreams[i].domain_count; d++)
			all[count++] = (struct route){ c->upstreams[i].domains[d], i, d };
	}
	qsort(all, count, sizeof(*all), route_compare);
	for (size_t i = 1; i < count; i++) {
		if (strcasecmp(all[i - 1].domain, all[i].domain) != 0)
			continue;
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, all[i].upstream);
		char shown[PN_CONFIG_SHOWN_BYTES];
		pn_config_mistake(b, item_place(b, at, "domains", all[i].item),
		                  "the domain %s goes to upstream \"%s\" already; name it once",
		                  pn_config_shown(all[i].domain, shown, sizeof(shown)),
		                  c->upstreams[all[i - 1].upstream].name);
	}
	free(all);
}

/* Exactly one upstream takes what the others do not. */
static void default_check(struct pn_config_build *b, const struct pn_config *c)
{
	size_t first = SIZE_MAX;
	bool is_known = true;

	for (size_t i = 0; i < c->upstream_count; i++) {
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, i);
		if (!is_sound(b, at, "domains")) {
			is_known = false;
			continue;
		}
		if (c->upstreams[i].domain_count > 0)
			continue;
		if (first != SIZE_MAX)
			pn_config_mistake(b, b->instances[at].place,
					  "upstream \"%s\" has no domains, and neither has \"%s\"; only one can "
					  "take all the rest: "
					  "write domains = { ... }",
					  c->upstreams[i].name, c->upstreams[first].name);
		else
			first = i;
	}
	if (first == SIZE_MAX && is_known && c->upstream_count > 0 && !b->is_syntax_broken) {
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, 0);
		pn_config_mistake(b, b->instances[at].place,
		                  "no upstream takes the mail for all other domains; leave domains out in one of them");
	}
}

void pn_config_sections_check(struct pn_config_build *b)
{
	const struct pn_config *c = b->config;

	if (c->listener_count == 0 && !b->is_syntax_broken)
		pn_config_mistake(
			b, begin,
			"there is no listener; write listener \"submissions\" { addresses = { \"[::]:465\" } }");
	if (c->certificate_count == 0 && !b->is_syntax_broken)
		pn_config_mistake(
			b, begin,
			"there is no certificate; write certificate \"main\" { chain_file = \"/path/chain.pem\" "
			"key_file = \"/path/key.pem\" }");
	if (c->upstream_count == 0 && !b->is_syntax_broken)
		pn_config_mistake(
			b, begin,
			"there is no upstream; write upstream \"mta\" { hosts = { \"mx.example.org:25\" } }");
	listeners_check(b, c);
	for (size_t i = 0; i < c->upstream_count; i++) {
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, i);
		if (is_sound(b, at, "kind"))
			kind_check(b, at, &c->upstreams[i]);
		login_check(b, at, &c->upstreams[i]);
		hosts_check(b, at, &c->upstreams[i]);
	}
	domains_check(b, c);
	default_check(b, c);
}
