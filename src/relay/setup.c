/* SPDX-License-Identifier: ISC */
/* setup.c - see setup.h: defaults, checks, copies, and what two setups have in common. */
#include "setup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/secret.h>

#define SETUP_ARENA_CHUNK_BYTES 4096u
#define SETUP_ARENA_MAX_BYTES (64u << 20)

/* ---- defaults and checks ---- */

static void or_default(uint32_t *value, uint32_t other)
{
	if (*value == 0)
		*value = other;
}

static void settings_defaults(struct pn_relay_settings *s)
{
	or_default(&s->worker_count, 1);
	or_default(&s->queue_ring_entries, 4096);
	or_default(&s->jobs_max, 128);
	or_default(&s->retry_first_s, 60);
	or_default(&s->retry_max_s, 3600);
	or_default(&s->retry_factor_percent, 200);
	or_default(&s->host_retry_first_s, 5);
	or_default(&s->host_retry_max_s, 300);
	or_default(&s->lifetime_s, 432000);
	or_default(&s->report_full_max_bytes, 1u << 20);
	if (s->jobs_max < 2 * s->upstream_count)
		s->jobs_max = 2 * (uint32_t)s->upstream_count;
}

static void upstream_defaults(struct pn_upstream_settings *u, const struct pn_relay_settings *s)
{
	if (u->port == 0)
		u->port = u->kind == PN_UPSTREAM_LMTP ? 24 : u->tls == PN_UPSTREAM_TLS_IMPLICIT ? 465 : 25;
	if (!u->helo_name)
		u->helo_name = s->hostname;
	or_default(&u->connections_max, 20);
	or_default(&u->messages_per_connection_max, 100);
	or_default(&u->pipeline_messages_max, 8);
	or_default(&u->recipients_per_transaction_max, 1000);
	or_default(&u->idle_timeout_s, 30);
	or_default(&u->connect_timeout_s, 30);
	or_default(&u->tls_timeout_s, 60);
	or_default(&u->greeting_timeout_s, 300);
	or_default(&u->command_timeout_s, 300);
	or_default(&u->data_start_timeout_s, 120);
	or_default(&u->data_block_timeout_s, 180);
	or_default(&u->data_end_timeout_s, 600);
	or_default(&u->transaction_timeout_s, 7200);
}

static int upstream_check(const struct pn_upstream_settings *u, struct pn_error *err)
{
	const char *what = NULL;
	if (u->kind == PN_UPSTREAM_MAILDIR) {
		if (!u->maildir_path || !*u->maildir_path)
			what = "a Maildir needs a path";
	} else if (u->host_count == 0 || u->host_count > PN_RELAY_HOSTS_MAX) {
		what = "needs 1 to 16 hosts";
	} else if (u->tls != PN_UPSTREAM_TLS_NONE && !u->tls_client) {
		what = "TLS needs a client context";
	} else if (u->auth_user && !u->auth_password) {
		what = "a user needs a password";
	} else if (u->auth_user && !u->auth_without_tls && u->tls == PN_UPSTREAM_TLS_NONE) {
		what = "a password is only sent inside TLS";
	}
	if (!what)
		return 0;
	pn_error_set(err, "upstream %s: %s", u->name, what);
	return -EINVAL;
}

static int settings_check(const struct pn_relay_settings *s, struct pn_error *err)
{
	const char *what = NULL;
	if (s->worker_count == 0 || s->worker_count > PN_RELAY_WORKERS_MAX)
		what = "1 to 64 relay workers";
	else if (s->upstream_count == 0 || s->upstream_count > PN_RELAY_UPSTREAMS_MAX)
		what = "1 to 256 upstreams";
	else if (s->retry_jitter_percent > 90)
		what = "retry jitter of 0 to 90 percent";
	else if (s->retry_factor_percent < 100)
		what = "retry factor of at least 100 percent";
	else if (!s->hostname || !s->postmaster)
		what = "hostname and postmaster";
	if (!what)
		return 0;
	pn_error_set(err, "relay: needs %s", what);
	return -EINVAL;
}

/* ---- likeness ---- */

static bool text_is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool hosts_are_same(const struct pn_upstream_settings *a, const struct pn_upstream_settings *b)
{
	if (a->host_count != b->host_count)
		return false;
	for (size_t i = 0; i < a->host_count; i++) {
		if (!text_is_same(a->hosts[i].host, b->hosts[i].host) || a->hosts[i].port != b->hosts[i].port ||
		    a->hosts[i].weight != b->hosts[i].weight)
			return false;
	}
	return true;
}

static bool numbers_are_same(const struct pn_upstream_settings *a, const struct pn_upstream_settings *b)
{
	return a->kind == b->kind && a->port == b->port && a->tls == b->tls && a->tls_client == b->tls_client &&
	       a->is_verify_required == b->is_verify_required && a->auth_without_tls == b->auth_without_tls &&
	       a->is_chunking_used == b->is_chunking_used && a->connections_max == b->connections_max &&
	       a->messages_per_connection_max == b->messages_per_connection_max &&
	       a->pipeline_messages_max == b->pipeline_messages_max &&
	       a->recipients_per_transaction_max == b->recipients_per_transaction_max &&
	       a->idle_timeout_s == b->idle_timeout_s && a->connect_timeout_s == b->connect_timeout_s &&
	       a->tls_timeout_s == b->tls_timeout_s && a->greeting_timeout_s == b->greeting_timeout_s &&
	       a->command_timeout_s == b->command_timeout_s && a->data_start_timeout_s == b->data_start_timeout_s &&
	       a->data_block_timeout_s == b->data_block_timeout_s && a->data_end_timeout_s == b->data_end_timeout_s &&
	       a->transaction_timeout_s == b->transaction_timeout_s;
}

static bool upstream_is_same(const struct pn_upstream_settings *a, const struct pn_upstream_settings *b)
{
	return numbers_are_same(a, b) && hosts_are_same(a, b) && text_is_same(a->name, b->name) &&
	       text_is_same(a->verify_name, b->verify_name) && text_is_same(a->auth_user, b->auth_user) &&
	       text_is_same(a->auth_password, b->auth_password) && text_is_same(a->helo_name, b->helo_name) &&
	       text_is_same(a->maildir_path, b->maildir_path);
}

bool pn_setup_routes_differ(const struct pn_setup *a, const struct pn_setup *b)
{
	if (a->settings.upstream_count != b->settings.upstream_count)
		return true;
	for (size_t i = 0; i < a->settings.upstream_count; i++) {
		const struct pn_upstream_settings *x = &a->listed[i], *y = &b->listed[i];
		if (!text_is_same(x->name, y->name) || x->domain_count != y->domain_count)
			return true;
		for (size_t d = 0; d < x->domain_count; d++) {
			if (!text_is_same(x->domains[d], y->domains[d]))
				return true;
		}
	}
	return false;
}

/* ---- copies ---- */

/* NULL stays NULL. False: no memory. */
static bool copy_text(struct pn_arena *arena, const char **text)
{
	struct pn_slice copy;
	if (!*text)
		return true;
	if (pn_arena_dup(arena, pn_slice_str(*text), &copy) < 0)
		return false;
	*text = (const char *)copy.ptr;
	return true;
}

static bool copy_hosts(struct pn_arena *arena, struct pn_upstream_settings *s)
{
	struct pn_upstream_host *hosts = pn_arena_alloc(arena, (s->host_count + 1) * sizeof(*hosts));
	if (!hosts)
		return false;
	for (size_t i = 0; i < s->host_count; i++) {
		hosts[i] = s->hosts[i];
		if (!copy_text(arena, &hosts[i].host))
			return false;
	}
	s->hosts = hosts;
	return true;
}

static bool copy_domains(struct pn_arena *arena, struct pn_upstream_settings *s)
{
	const char **domains = pn_arena_alloc(arena, (s->domain_count + 1) * sizeof(char *));
	if (!domains)
		return false;
	for (size_t i = 0; i < s->domain_count; i++) {
		domains[i] = s->domains[i];
		if (!copy_text(arena, &domains[i]))
			return false;
	}
	s->domains = domains;
	return true;
}

/* Serial numbers go round; one that comes again costs an old entry an early attempt at most. Made by one thread. */
static uint16_t next_serial(void)
{
	static uint16_t last;
	last = last == UINT16_MAX ? 1 : (uint16_t)(last + 1);
	return last;
}

struct pn_upstream *pn_upstream_ref(struct pn_upstream *u)
{
	/* relaxed: the caller has a reference already */
	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	return u;
}

void pn_upstream_unref(struct pn_upstream *u)
{
	/* acq_rel: what other threads did with it is over before the last one frees it; pairs with itself */
	if (!u || atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
		return;
	pn_tls_client_unref(u->settings.tls_client);
	pn_maildir_unref(u->maildir);
	if (u->settings.auth_password)
		pn_wipe((char *)(uintptr_t)u->settings.auth_password, strlen(u->settings.auth_password));
	pn_arena_reset(&u->arena);
	free(u);
}

static struct pn_upstream *upstream_copy(const struct pn_upstream_settings *settings)
{
	struct pn_upstream *u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	atomic_init(&u->refs, 1);
	u->serial = next_serial();
	pn_arena_init(&u->arena, SETUP_ARENA_CHUNK_BYTES, SETUP_ARENA_MAX_BYTES);
	struct pn_upstream_settings *s = &u->settings;
	*s = *settings;
	s->auth_password = NULL; /* not ours to wipe until it is copied */
	s->domains = NULL;
	s->domain_count = 0;
	if (s->tls_client)
		(void)pn_tls_client_ref(s->tls_client);
	const char *password = settings->auth_password;
	if (copy_text(&u->arena, &s->name) && copy_text(&u->arena, &s->verify_name) &&
	    copy_text(&u->arena, &s->auth_user) && copy_text(&u->arena, &s->helo_name) &&
	    copy_text(&u->arena, &s->maildir_path) && copy_hosts(&u->arena, s) && copy_text(&u->arena, &password)) {
		s->auth_password = password;
		return u;
	}
	pn_upstream_unref(u);
	return NULL;
}

/* The Maildir of this path that `old` has open, or a new one. */
static int upstream_open_maildir(struct pn_upstream *u, const struct pn_setup *old, struct pn_error *err)
{
	for (size_t i = 0; old && i < old->settings.upstream_count; i++) {
		struct pn_upstream *other = old->upstreams[i];
		if (other->maildir && text_is_same(other->settings.maildir_path, u->settings.maildir_path)) {
			u->maildir = pn_maildir_ref(other->maildir);
			return 0;
		}
	}
	u->maildir = pn_maildir_new(&u->settings, err);
	return u->maildir ? 0 : -EIO;
}

static int setup_add(struct pn_setup *setup, size_t index, const struct pn_upstream_settings *given,
                     const struct pn_setup *old, struct pn_error *err)
{
	struct pn_upstream_settings *s = &setup->listed[index];
	*s = *given;
	upstream_defaults(s, &setup->settings);
	int rc = upstream_check(s, err);
	for (size_t i = 0; rc == 0 && old && i < old->settings.upstream_count; i++) {
		if (upstream_is_same(&old->upstreams[i]->settings, s))
			setup->upstreams[index] = pn_upstream_ref(old->upstreams[i]);
	}
	if (rc == 0 && !setup->upstreams[index]) {
		struct pn_upstream *u = setup->upstreams[index] = upstream_copy(s);
		if (!u)
			return -ENOMEM;
		if (u->settings.kind == PN_UPSTREAM_MAILDIR)
			rc = upstream_open_maildir(u, old, err);
	}
	if (rc < 0)
		return rc;
	struct pn_upstream_settings own = setup->upstreams[index]->settings;
	own.domains = s->domains;
	own.domain_count = s->domain_count;
	*s = own;
	return copy_domains(&setup->arena, s) ? 0 : -ENOMEM;
}

static int setup_fill(struct pn_setup *setup, const struct pn_relay_settings *settings, const struct pn_setup *old,
                      struct pn_error *err)
{
	struct pn_relay_settings *s = &setup->settings;
	size_t count = settings->upstream_count;
	*s = *settings;
	settings_defaults(s);
	int rc = settings_check(s, err);
	if (rc < 0)
		return rc;
	setup->listed = pn_arena_zalloc(&setup->arena, count * sizeof(*setup->listed));
	setup->upstreams = pn_arena_zalloc(&setup->arena, count * sizeof(struct pn_upstream *));
	if (!setup->listed || !setup->upstreams || !copy_text(&setup->arena, &s->hostname) ||
	    !copy_text(&setup->arena, &s->postmaster))
		return -ENOMEM;
	s->upstreams = setup->listed;
	for (size_t i = 0; i < count; i++) {
		rc = setup_add(setup, i, &settings->upstreams[i], old, err);
		if (rc < 0)
			return rc;
	}
	setup->retry = (struct pn_backoff){
		.first_ms = (uint64_t)s->retry_first_s * 1000,
		.max_ms = (uint64_t)s->retry_max_s * 1000,
		.factor_percent = s->retry_factor_percent,
		.jitter_percent = s->retry_jitter_percent,
	};
	return pn_route_init(&setup->route, setup->listed, count, err);
}

int pn_setup_new(const struct pn_relay_settings *settings, const struct pn_setup *old, struct pn_setup **ret,
                 struct pn_error *err)
{
	struct pn_setup *setup = calloc(1, sizeof(*setup));
	int rc = -ENOMEM;
	if (setup) {
		pn_arena_init(&setup->arena, SETUP_ARENA_CHUNK_BYTES, SETUP_ARENA_MAX_BYTES);
		rc = setup_fill(setup, settings, old, err);
	}
	if (rc == -ENOMEM)
		pn_error_set(err, "relay: out of memory");
	if (rc < 0) {
		pn_setup_free(setup);
		return rc;
	}
	*ret = setup;
	return 0;
}

void pn_setup_free(struct pn_setup *setup)
{
	if (!setup)
		return;
	for (size_t i = 0; setup->upstreams && i < setup->settings.upstream_count; i++)
		pn_upstream_unref(setup->upstreams[i]);
	pn_route_deinit(&setup->route);
	pn_arena_reset(&setup->arena);
	free(setup);
}
