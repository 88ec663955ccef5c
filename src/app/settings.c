/* SPDX-License-Identifier: ISC */
/* settings.c - from the configuration to the settings struct of each module. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/secret.h>

#include "app.h"

static size_t cpus_allowed(int *cpus, size_t max)
{
	cpu_set_t set;
	size_t n = 0;
	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 0;
	for (int i = 0; i < CPU_SETSIZE && n < max; i++) {
		if (CPU_ISSET((size_t)i, &set))
			cpus[n++] = i;
	}
	return n;
}

uint32_t pn_app_loop_count(const struct pn_config *c)
{
	int cpus[CPU_SETSIZE];
	if (c->loops != 0)
		return c->loops;
	size_t n = cpus_allowed(cpus, PN_ARRAY_SIZE(cpus));
	return n > 0 ? (uint32_t)n : 1;
}

static uint32_t worker_count(const struct pn_config *c)
{
	int cpus[CPU_SETSIZE];
	if (c->relay_workers != 0)
		return c->relay_workers;
	size_t n = cpus_allowed(cpus, PN_ARRAY_SIZE(cpus)) / 2;
	return n > 0 ? (uint32_t)n : 1;
}

/* Loops take the CPUs from the front, relay workers from the back, so that they meet last. -1 = not
 * pinned. */
static int place_threads(struct pn_app_settings *s, const struct pn_config *c)
{
	int cpus[CPU_SETSIZE];
	size_t n = cpus_allowed(cpus, PN_ARRAY_SIZE(cpus));
	s->loop_count = pn_app_loop_count(c);
	s->relay.worker_count = worker_count(c);
	s->loop_cpus = calloc(s->loop_count, sizeof(int));
	s->relay_cpus = calloc(s->relay.worker_count, sizeof(int));
	if (!s->loop_cpus || !s->relay_cpus)
		return -ENOMEM;
	bool is_pinned = c->cpu_pinning && n > 0;
	for (uint32_t i = 0; i < s->loop_count; i++)
		s->loop_cpus[i] = is_pinned ? cpus[i % n] : -1;
	for (uint32_t i = 0; i < s->relay.worker_count; i++)
		s->relay_cpus[i] = is_pinned ? cpus[n - 1 - i % n] : -1;
	s->relay.cpus = s->relay_cpus;
	return 0;
}

void pn_app_profile_values(const struct pn_config *c, struct pn_session_profile *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->smtp = (struct pn_smtp_server_settings){
		.hostname = c->hostname,
		.limits = { .command_line_max_bytes = c->limits.command_line_max_bytes,
			    .auth_line_max_bytes = c->limits.auth_line_max_bytes,
			    .text_line_max_bytes = c->limits.text_line_max_bytes,
			    .recipients_max = c->limits.recipients_max,
			    .message_size_max_bytes = c->limits.size_max_bytes,
			    .header_size_max_bytes = c->limits.header_size_max_bytes,
			    .received_max = c->limits.received_max,
			    .bad_commands_max = c->limits.bad_commands_max,
			    .auth_failures_max = c->auth.failures_max,
			    .transaction_memory_max_bytes =
				    c->limits.transaction_memory_max_bytes },
		.line_policy = c->line_endings == PN_CONFIG_LINES_NORMALIZE ? PN_LINE_NORMALIZE
									    : PN_LINE_REJECT,
		.has_smtputf8 = c->extensions.smtputf8,
		.has_chunking = c->extensions.chunking,
		.has_dsn = c->extensions.dsn,
		.auth_mechanisms = "",
	};
	ret->has_client_address = c->received_client_address;
	ret->node = (uint16_t)c->node;
	ret->sessions_max = c->limits.sessions_max;
	ret->handshakes_max = c->limits.handshakes_max;
	ret->sessions_per_source_max = c->limits.sessions_per_source_max;
	ret->connections_per_source_per_minute_max =
		c->limits.connections_per_source_per_minute_max;
	ret->output_buffer_max_bytes = c->limits.output_buffer_max_bytes;
	ret->commits_max = c->limits.commits_per_session_max;
	ret->handshake_timeout_ms = c->tls.handshake_timeout_s * 1000u;
	ret->idle_timeout_ms = c->limits.idle_timeout_s * 1000u;
	ret->data_timeout_ms = c->limits.data_timeout_s * 1000u;
	ret->session_timeout_ms = c->limits.session_timeout_s * 1000u;
	ret->auth_failure_delay_ms = c->auth.failure_delay_ms;
	ret->auth_failure_delay_max_ms = c->auth.failure_delay_max_ms;
}

static void auth_values(struct pn_app_settings *s, const struct pn_config *c)
{
	s->auth = (struct pn_auth_settings){
		.user_file = c->auth.user_file,
		.helper_threads = c->auth.helper_threads,
		.helper_queue_max = c->auth.helper_queue_max,
		.cache_entries_max = c->auth.cache_entries_max,
		.cache_lifetime_s = c->auth.cache_lifetime_s,
		.has_plain = c->auth.plain,
		.has_login = c->auth.login,
		.scram = c->auth.scram == PN_CONFIG_SCRAM_ON    ? PN_SCRAM_ON
			 : c->auth.scram == PN_CONFIG_SCRAM_OFF ? PN_SCRAM_OFF
								: PN_SCRAM_AUTO,
		.reload_check_s = c->auth.reload_check_s,
	};
}

static void spool_values(struct pn_app_settings *s, const struct pn_config *c)
{
	s->spool = (struct pn_spool_settings){
		.path = c->spool.path,
		.inline_max_bytes = c->spool.inline_max_bytes,
		.segment_size_bytes = c->spool.segment_size_bytes,
		.memory_max_bytes = c->spool.memory_max_bytes,
		.free_space_min_bytes = c->spool.free_space_min_bytes,
		.queue_messages_max = c->spool.queue_messages_max,
		.outcome_sync_ms = c->spool.outcome_sync_ms,
		.node = (uint16_t)c->node,
	};
}

static enum pn_upstream_tls upstream_tls(enum pn_config_upstream_tls tls)
{
	switch (tls) {
	case PN_CONFIG_UPSTREAM_TLS_NONE:
		return PN_UPSTREAM_TLS_NONE;
	case PN_CONFIG_UPSTREAM_TLS_OPPORTUNISTIC:
		return PN_UPSTREAM_TLS_OPPORTUNISTIC;
	case PN_CONFIG_UPSTREAM_TLS_STARTTLS:
		return PN_UPSTREAM_TLS_STARTTLS;
	case PN_CONFIG_UPSTREAM_TLS_IMPLICIT:
		return PN_UPSTREAM_TLS_IMPLICIT;
	}
	return PN_UPSTREAM_TLS_NONE;
}

static struct pn_tls_client *tls_client_of(const struct pn_app_settings *s,
					   const struct pn_tls_client_settings *wanted)
{
	for (size_t i = 0; s && i < s->relay.upstream_count; i++) {
		struct pn_tls_client *c = s->upstreams[i].tls_client;
		if (c && pn_tls_client_is_for(c, wanted))
			return pn_tls_client_ref(c);
	}
	return NULL;
}

/* Upstreams with the same roots share one. */
static struct pn_tls_client *upstream_tls_client(const struct pn_app_settings *s,
						 const struct pn_app_settings *before,
						 const struct pn_config_upstream *u,
						 const struct pn_handover *h, struct pn_error *err)
{
	struct pn_tls_client_settings t = { .ca_pem = pn_handover_get(h, pn_app_ca_path(u)),
					    .ca_path = pn_app_ca_path(u),
					    .is_verify_required = u->verify };
	struct pn_tls_client *c = tls_client_of(before, &t);
	if (!c)
		c = tls_client_of(s, &t);
	return c ? c : pn_tls_client_new(&t, err);
}

/* The first line of the password file. */
static char *password_line(struct pn_slice file)
{
	size_t len = 0;
	while (len < file.len && file.ptr[len] != '\n' && file.ptr[len] != '\r' &&
	       file.ptr[len] != '\0')
		len++;
	return strndup((const char *)file.ptr, len);
}

static int upstream_hosts(struct pn_app_settings *s, const struct pn_config_upstream *u,
			  struct pn_upstream_settings *out, struct pn_error *err)
{
	out->hosts = &s->hosts[s->host_count];
	out->host_count = u->host_count;
	for (size_t i = 0; i < u->host_count; i++) {
		struct pn_config_host host;
		if (!pn_config_host_parse(u->hosts[i], &host))
			return pn_error_set(err,
					    "upstream \"%s\": \"%s\" is not a host like "
					    "mx.example.org:25 or [2001:db8::1]:25",
					    u->name, u->hosts[i]);
		char *name = strdup(host.host);
		if (!name)
			return pn_error_set(err, "out of memory");
		s->host_names[s->host_count] = name;
		s->hosts[s->host_count++] = (struct pn_upstream_host){ .host = name,
								       .port = host.port,
								       .weight = host.weight };
	}
	return 0;
}

static int upstream_values(struct pn_app_settings *s, const struct pn_config_upstream *u,
			   bool is_kernel_tls, const struct pn_handover *h,
			   const struct pn_app_settings *before,
			   struct pn_upstream_settings *out, char **password, struct pn_error *err)
{
	*out = (struct pn_upstream_settings){
		.name = u->name,
		.kind = u->kind == PN_CONFIG_UPSTREAM_MAILDIR ? PN_UPSTREAM_MAILDIR
			: u->kind == PN_CONFIG_UPSTREAM_LMTP  ? PN_UPSTREAM_LMTP
							      : PN_UPSTREAM_SMTP,
		.domains = (const char *const *)u->domains,
		.domain_count = u->domain_count,
		.tls = upstream_tls(u->tls),
		.is_kernel_tls = is_kernel_tls,
		.is_verify_required = u->verify,
		.verify_name = u->verify_name[0] != '\0' ? u->verify_name : NULL,
		.auth_user = u->auth_user[0] != '\0' ? u->auth_user : NULL,
		.auth_without_tls = u->auth_without_tls,
		.helo_name = u->helo_name[0] != '\0' ? u->helo_name : NULL,
		.is_chunking_used = u->chunking,
		.connections_max = u->connections_max,
		.messages_per_connection_max = u->messages_per_connection_max,
		.pipeline_messages_max = u->pipeline_messages_max,
		.recipients_per_transaction_max = u->recipients_per_transaction_max,
		.idle_timeout_s = u->idle_timeout_s,
		.connect_timeout_s = u->connect_timeout_s,
		.command_timeout_s = u->command_timeout_s,
		.greeting_timeout_s = u->command_timeout_s,
		/* Shorter by default (RFC 5321 4.5.3.2.4 for DATA), and never longer than what was
		 * asked for. */
		.data_start_timeout_s = u->command_timeout_s < 120 ? u->command_timeout_s : 120,
		.tls_timeout_s = u->command_timeout_s < 60 ? u->command_timeout_s : 60,
		.data_block_timeout_s = u->data_timeout_s,
		.data_end_timeout_s = u->final_reply_timeout_s,
		.transaction_timeout_s = u->transaction_timeout_s,
		.maildir_path = u->maildir,
	};
	if (out->kind == PN_UPSTREAM_MAILDIR)
		return 0;
	if (out->auth_user) {
		*password = password_line(pn_handover_get(h, u->auth_password_file));
		out->auth_password = *password;
		if (!*password)
			return pn_error_set(err, "out of memory");
	}
	if (out->tls != PN_UPSTREAM_TLS_NONE) {
		out->tls_client = upstream_tls_client(s, before, u, h, err);
		if (!out->tls_client)
			return -1;
	}
	return upstream_hosts(s, u, out, err);
}

static int relay_values(struct pn_app_settings *s, const struct pn_config *c,
			const struct pn_handover *h, const struct pn_app_settings *before,
			struct pn_error *err)
{
	size_t hosts = 1;
	for (size_t i = 0; i < c->upstream_count; i++)
		hosts += c->upstreams[i].host_count;
	s->upstreams = calloc(c->upstream_count + 1, sizeof(s->upstreams[0]));
	s->passwords = calloc(c->upstream_count + 1, sizeof(s->passwords[0]));
	s->hosts = calloc(hosts, sizeof(s->hosts[0]));
	s->host_names = calloc(hosts, sizeof(s->host_names[0]));
	if (!s->upstreams || !s->passwords || !s->hosts || !s->host_names)
		return pn_error_set(err, "out of memory");
	s->relay.upstreams = s->upstreams;
	for (size_t i = 0; i < c->upstream_count; i++) {
		s->relay.upstream_count = i + 1;
		if (upstream_values(s, &c->upstreams[i], pn_app_ktls_of_upstreams(c), h, before,
				    &s->upstreams[i], &s->passwords[i], err) != 0)
			return -1;
	}
	s->relay.hostname = c->hostname;
	s->relay.postmaster = c->postmaster;
	s->relay.features_disabled = s->features_disabled;
	s->relay.queue_ring_entries = c->limits.queue_ring_entries;
	s->relay.retry_first_s = c->retry.first_s;
	s->relay.retry_max_s = c->retry.max_s;
	s->relay.retry_factor_percent = c->retry.factor_percent;
	s->relay.retry_jitter_percent = c->retry.jitter_percent;
	s->relay.lifetime_s = c->retry.lifetime_s;
	s->relay.delay_notice_after_s = c->retry.delay_notice_s;
	s->relay.host_retry_first_s = c->retry.host_first_s;
	s->relay.host_retry_max_s = c->retry.host_max_s;
	s->relay.report_full_max_bytes = c->retry.report_full_max_bytes;
	s->relay.jobs_max = c->limits.relay_jobs_max;
	return 0;
}

static int features_values(struct pn_app_settings *s, const struct pn_config *c,
			   struct pn_error *err)
{
	for (size_t i = 0; i < c->io_uring.disable_count; i++) {
		uint32_t mask = 0;
		if (pn_net_features_parse(c->io_uring.disable[i], &mask, err) != 0)
			return -1;
		s->features_disabled |= mask;
	}
	return 0;
}

int pn_app_settings_make(struct pn_app_settings *s, const struct pn_config *c,
			 const struct pn_handover *h, const struct pn_app_settings *before,
			 struct pn_error *err)
{
	memset(s, 0, sizeof(*s));
	if (features_values(s, c, err) != 0)
		return -1;
	if (place_threads(s, c) != 0)
		return pn_error_set(err, "out of memory");
	pn_app_profile_values(c, &s->profile);
	auth_values(s, c);
	spool_values(s, c);
	return relay_values(s, c, h, before, err);
}

void pn_app_settings_clear(struct pn_app_settings *s)
{
	for (size_t i = 0; i < s->relay.upstream_count; i++) {
		pn_tls_client_unref(s->upstreams[i].tls_client);
		if (s->passwords[i]) {
			pn_wipe(s->passwords[i], strlen(s->passwords[i]));
			free(s->passwords[i]);
		}
	}
	for (size_t i = 0; i < s->host_count; i++)
		free(s->host_names[i]);
	free(s->host_names);
	free(s->hosts);
	free(s->passwords);
	free(s->upstreams);
	free(s->loop_cpus);
	free(s->relay_cpus);
	memset(s, 0, sizeof(*s));
}

struct pn_tls_server *pn_app_tls_server(const struct pn_config *c, const struct pn_handover *h,
					struct pn_tls_tickets *tickets, struct pn_error *err)
{
	struct pn_tls_certificate_pem *pems = calloc(c->certificate_count + 1, sizeof(*pems));
	if (!pems) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < c->certificate_count; i++) {
		const struct pn_config_certificate *cert = &c->certificates[i];
		pems[i] = (struct pn_tls_certificate_pem){
			.chain_pem = pn_handover_get(h, cert->chain_file),
			.key_pem = pn_handover_get(h, cert->key_file),
			.chain_path = cert->chain_file,
			.key_path = cert->key_file
		};
	}
	struct pn_tls_server_settings t = { .certificates = pems,
					    .certificate_count = c->certificate_count,
					    .has_tls12 = c->tls.tls12,
					    .sni_strict = c->tls.sni_strict,
					    .has_tickets = c->tls.tickets,
					    .tickets = tickets };
	struct pn_tls_server *server = pn_tls_server_new(&t, err);
	free(pems);
	return server;
}
