/* SPDX-License-Identifier: ISC */
/*
 * config.h - the configuration as plain data, and the reading of postern.conf.
 *
 * Parsed whole, checked whole: every mistake is reported as "file:line: what is wrong; what would
 * be
 * right", and nothing is used from a file with mistakes. Strings belong to the pn_config and are
 * never
 * NULL: not set is "". Set-up code only: one thread at a time in the whole process (libConfuse's
 * scanner
 * has static state), blocking.
 *
 * What is filled in when the file does not say it: hostname (the machine's full name), postmaster
 * ("postmaster@" hostname), a listener's systemd_name (its own name), tls of a Maildir upstream
 * (none).
 * Where two keys depend on each other and one is not set, the default of that one follows the other
 * (handshakes_max never over sessions_max, for example).
 */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include <stdio.h>

#include <postern/base/common.h>

#define PN_CONFIG_LISTENERS_MAX 64
#define PN_CONFIG_CERTIFICATES_MAX 1024
#define PN_CONFIG_UPSTREAMS_MAX 256

enum pn_config_tls_mode { PN_CONFIG_TLS_IMPLICIT, PN_CONFIG_TLS_STARTTLS }; /* listener */
enum pn_config_upstream_kind { PN_CONFIG_UPSTREAM_SMTP, PN_CONFIG_UPSTREAM_LMTP, PN_CONFIG_UPSTREAM_MAILDIR };
enum pn_config_upstream_tls {
	PN_CONFIG_UPSTREAM_TLS_NONE,
	PN_CONFIG_UPSTREAM_TLS_OPPORTUNISTIC,
	PN_CONFIG_UPSTREAM_TLS_STARTTLS, /* required */
	PN_CONFIG_UPSTREAM_TLS_IMPLICIT,
};
enum pn_config_line_endings { PN_CONFIG_LINES_REJECT, PN_CONFIG_LINES_NORMALIZE };
enum pn_config_ktls { PN_CONFIG_KTLS_AUTO, PN_CONFIG_KTLS_ON, PN_CONFIG_KTLS_OFF };
enum pn_config_listener_ktls {
	PN_CONFIG_LISTENER_KTLS_INHERIT,
	PN_CONFIG_LISTENER_KTLS_AUTO,
	PN_CONFIG_LISTENER_KTLS_ON,
	PN_CONFIG_LISTENER_KTLS_OFF,
};
enum pn_config_scram { PN_CONFIG_SCRAM_AUTO, PN_CONFIG_SCRAM_ON, PN_CONFIG_SCRAM_OFF };
enum pn_config_log_format { PN_CONFIG_LOG_LOGFMT, PN_CONFIG_LOG_JSON };
enum pn_config_log_level { PN_CONFIG_LOG_DEBUG, PN_CONFIG_LOG_INFO, PN_CONFIG_LOG_WARN, PN_CONFIG_LOG_ERROR };

struct pn_config_listener {
	char *name;                    /* section title */
	char **addresses;              /* "[::]:465", "192.0.2.1:587", "*:465" = dual stack */
	size_t address_count;
	enum pn_config_tls_mode tls;
	enum pn_config_listener_ktls ktls;
	bool reuseport;
	uint32_t backlog;
	char *systemd_name;            /* FileDescriptorName= of a socket from systemd; default: the name */
};

struct pn_config_certificate {
	char *name;
	char *chain_file;
	char *key_file;
};

struct pn_config_upstream {
	char *name;
	enum pn_config_upstream_kind kind;
	char **hosts;                  /* "mx1.example.org:25", "[2001:db8::1]:587 weight=2" (pn_config_host_parse) */
	size_t host_count;
	enum pn_config_upstream_tls tls;
	bool verify;
	char *verify_name;             /* "" = the host dialled */
	char *ca_file;                 /* "" = the system's roots */
	char *auth_user;               /* "" = none */
	char *auth_password_file;      /* first line is the password; kept out of the config */
	bool auth_without_tls;
	char *helo_name;               /* "" = hostname */
	char **domains;                /* recipient domains that go here (".example.org": all below); none = default */
	size_t domain_count;
	char *maildir;                 /* kind = maildir */
	bool chunking;
	uint32_t connections_max;      /* of all relay workers together */
	uint32_t messages_per_connection_max;
	uint32_t pipeline_messages_max; /* sent before the first is answered */
	uint32_t recipients_per_transaction_max;
	uint32_t idle_timeout_s;
	uint32_t connect_timeout_s;
	uint32_t command_timeout_s;
	uint32_t data_timeout_s;       /* progress while sending the body */
	uint32_t final_reply_timeout_s;
	uint32_t transaction_timeout_s; /* all of it */
};

struct pn_config {
	/* top level */
	char *hostname;
	char *postmaster;
	char *run_user;                /* "" = stay who we are (not root) */
	char *run_group;
	uint32_t loops;                /* 0 = one for each CPU */
	uint32_t relay_workers;        /* 0 = half the CPUs, at least 1 */
	bool cpu_pinning;
	bool received_client_address;
	char *control_socket;
	uint32_t node;                 /* of message ids */

	struct pn_config_listener *listeners;
	size_t listener_count;
	struct pn_config_certificate *certificates;
	size_t certificate_count;
	struct pn_config_upstream *upstreams;
	size_t upstream_count;

	struct {
		bool tls12;
		bool sni_strict;
		enum pn_config_ktls ktls;
		bool tickets;
		uint32_t ticket_key_lifetime_s;
		uint32_t handshake_timeout_s;
	} tls;
	struct {
		char *user_file;
		bool plain, login;
		enum pn_config_scram scram;
		uint32_t helper_threads;
		uint32_t helper_queue_max;
		uint32_t cache_entries_max;
		uint32_t cache_lifetime_s;
		uint32_t failures_max;
		uint32_t failure_delay_ms;     /* before the first refused reply; doubles with each failure */
		uint32_t failure_delay_max_ms;
		uint32_t reload_check_s;
	} auth;
	struct {
		char *path;
		uint32_t inline_max_bytes;
		uint64_t segment_size_bytes;
		uint64_t memory_max_bytes;
		uint64_t free_space_min_bytes;
		uint64_t queue_messages_max;
		uint32_t outcome_sync_ms;
	} spool;
	struct {
		uint32_t first_s;
		uint32_t max_s;
		uint32_t factor_percent;       /* 200 = doubles */
		uint32_t jitter_percent;
		uint32_t lifetime_s;
		uint32_t delay_notice_s;       /* 0 = none */
		uint32_t host_first_s;         /* a host that failed is left alone */
		uint32_t host_max_s;
		uint32_t report_full_max_bytes;
	} retry;
	struct {
		uint32_t sessions_max;
		uint32_t handshakes_max;
		uint32_t sessions_per_source_max;
		uint32_t connections_per_source_per_minute_max;
		uint32_t sources_max;          /* table of per-source counts */
		uint64_t size_max_bytes;
		uint32_t header_size_max_bytes;
		uint32_t text_line_max_bytes;
		uint32_t command_line_max_bytes;
		uint32_t auth_line_max_bytes;
		uint32_t recipients_max;
		uint32_t received_max;
		uint32_t bad_commands_max;
		uint32_t transaction_memory_max_bytes;
		uint32_t output_buffer_max_bytes;  /* of one session */
		uint32_t commits_per_session_max;  /* messages on their way to disk */
		uint32_t idle_timeout_s;       /* between commands */
		uint32_t data_timeout_s;       /* without a content octet */
		uint32_t session_timeout_s;    /* a whole session without authentication */
		uint32_t drain_timeout_s;
		uint32_t open_files_max;       /* 0 = raise to the hard limit */
		uint32_t queue_ring_entries;
		uint32_t relay_jobs_max;       /* of one relay worker */
	} limits;
	enum pn_config_line_endings line_endings;
	struct {
		bool smtputf8, chunking, dsn;
	} extensions;
	struct {
		enum pn_config_log_format format;
		enum pn_config_log_level level;
		char *file;                    /* "" = stderr */
		uint32_t ring_slots;
	} log;
	struct {
		char **disable;                /* feature names */
		size_t disable_count;
		uint32_t sq_entries;
		uint32_t cq_entries;
		uint32_t buffer_count;
		uint32_t buffer_size_bytes;
	} io_uring;
};

/*
 * Parses and checks `path` with what it includes. Every mistake goes to `report` (may be NULL) as
 * one line
 * "file:line: ...". NULL when there was any. Lines "file:line: warning: ..." may come with a
 * config that is
 * fine otherwise. `check_files`: also look whether named files exist and can be read (postern
 * check, and
 * the parent at start).
 */
struct pn_config *pn_config_load(const char *path, bool check_files, FILE *report);
/*
 * The same from text (a handed-over canonical form, tests, fuzzing), without include(); touches no
 * file.
 * `name` stands in messages.
 */
struct pn_config *pn_config_parse(const char *text, const char *name, FILE *report);
/*
 * Writes a config as text that pn_config_parse reads back to the same values (includes resolved).
 * Caller
 * frees. NULL: no memory.
 */
char *pn_config_canonical(const struct pn_config *c);
void pn_config_free(struct pn_config *c);
/*
 * For a reload: gives the keys of `c` that only a restart can change the values that they have in
 * `running`, and calls `changed` for each of them that was different ("spool.path", "listener
 * \"submission\": reuseport"). Sections with a title are compared by it; one that is new keeps its
 * values. 0 or -ENOMEM (c is then of no use).
 */
int pn_config_keep(struct pn_config *c, const struct pn_config *running,
		   void (*changed)(const char *label, void *ctx), void *ctx);

/* A listener's address, taken apart: numeric, without brackets. "*:465" and "[::]:465" are "::",
 * dual stack. */
struct pn_config_address {
	char host[64];
	uint16_t port;
	bool is_ipv6;
	bool is_dual_stack; /* IPV6_V6ONLY = 0 */
};
/*
 * An upstream's host, taken apart: "name", "name:port", "192.0.2.1:25", "[2001:db8::1]:25", each
 * with "
 * weight=N" behind it or not.
 */
struct pn_config_host {
	char host[256]; /* name or address without brackets */
	uint16_t port;  /* 0: not given, the default of kind and tls */
	uint32_t weight; /* [1] share of new connections, at most 1000; 0: a spare */
	bool is_address;
};
/* Both: false when `text` is none. Those of a pn_config always are. */
bool pn_config_address_parse(const char *text, struct pn_config_address *ret);
bool pn_config_host_parse(const char *text, struct pn_config_host *ret);

/* One key of the table, for documentation tests. */
struct pn_config_key {
	const char *section; /* "" = top level */
	const char *name;
	const char *type;         /* "bool", "integer", "size", "string", "list", "enum" */
	const char *default_text; /* as in the file, strings without quotes; "" = empty, or must be set */
	const char *range_text;   /* "1..3600", "logfmt|json", "absolute path", ... */
	const char *unit;         /* "seconds", "bytes", ... or "" */
	const char *help;         /* one line */
	bool is_required;
};
const struct pn_config_key *pn_config_keys(size_t *ret_count);
/* Whether a reload leaves it as it is. */
bool pn_config_key_needs_restart(const struct pn_config_key *key);

#endif
