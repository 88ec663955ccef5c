/* SPDX-License-Identifier: ISC */
/*
 * tls.h - TLS contexts (certificates, SNI, tickets, policy) and handshakes over caller-owned
 * buffers.
 *
 * TLS 1.2 and 1.3 only, suites and groups by RFC 9325, no renegotiation, no compression, no 0-RTT.
 * A handshake is fed octets and appends octets; only kernel records know a descriptor. Contexts are
 * immutable after creation except for ticket keys (internally synchronised) and may be shared by
 * all threads; a connection belongs to one thread.
 */
#ifndef POSTERN_TLS_TLS_H
#define POSTERN_TLS_TLS_H

#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/tls/record.h>

struct pn_tls_server;  /* what a listener offers: certificates, policy */
struct pn_tls_client;  /* how an upstream is verified */
struct pn_tls_tickets; /* ticket keys; outlives servers, so that reload and SNI keep resumption */
struct pn_tls_conn;    /* one handshake */

/* One certificate chain and its key, as PEM octets (borrowed during the call). The names that SNI
 * matches are its DNS-IDs. */
struct pn_tls_certificate_pem {
	struct pn_slice chain_pem;
	struct pn_slice key_pem;
	const char *chain_path; /* for error messages */
	const char *key_path;
};

struct pn_tls_server_settings {
	/* The first of each key type is the default for clients without (or with unknown) SNI. */
	const struct pn_tls_certificate_pem *certificates;
	size_t certificate_count;
	bool has_tls12; /* offer TLS 1.2 beside 1.3 */
	/* Unknown SNI: unrecognized_name instead of the default certificate (RFC 9325 3.7). */
	bool sni_strict;
	bool has_tickets;
	struct pn_tls_tickets *tickets; /* borrowed; must outlive the server and its connections */
};

/* What outlives the handshake. Plain data. */
struct pn_tls_facts {
	uint16_t version;    /* 0x0303 or 0x0304; 0 = no TLS */
	uint16_t suite_id;   /* IANA number */
	char suite[48];      /* IANA name, e.g. TLS_AES_128_GCM_SHA256 (RFC 8314 4.3) */
	char group[32];      /* e.g. x25519, secp256r1, or "" */
	char sni[256];       /* lower case, or "" */
	bool is_sni_unknown; /* server side: sni is a name that no certificate has (log it) */
	bool is_resumed;
	bool is_verified; /* client side: the peer's certificate matched the configured name */
	/* client side: how the server signed, e.g. ecdsa_secp256r1_sha256; "" when resumed */
	char signature[32];
	uint8_t exporter[32]; /* tls-exporter channel binding (RFC 9266), for 1.3 */
	bool has_exporter;
};

/* Ticket keys that rotate: the newest seals, older ones open until their life ends. Thread-safe.
 * lifetime_s is a key's life; a ticket lives half of it. NULL when out of memory. */
struct pn_tls_tickets *pn_tls_tickets_new(uint32_t lifetime_s);
void pn_tls_tickets_free(struct pn_tls_tickets *t);
/* Makes and wipes what is due. Each use does that as well; call it from a timer (an hour is fine)
 * so that old keys vanish while nobody connects. Any thread. */
void pn_tls_tickets_rotate(struct pn_tls_tickets *t);

/* Checks that each key belongs to its certificate, sizes (RFC 9325 4.5), and dates. NULL with err
 * naming file and remedy. */
struct pn_tls_server *pn_tls_server_new(const struct pn_tls_server_settings *settings,
					struct pn_error *err);
/* Contexts are reference-counted so that connections survive a reload. Any thread. */
struct pn_tls_server *pn_tls_server_ref(struct pn_tls_server *s);
void pn_tls_server_unref(struct pn_tls_server *s);

/* For status, metrics and the log at start. Strings are borrowed from the server. */
struct pn_tls_certificate_info {
	const char *path;
	const char *key_kind;   /* "ECDSA" or "RSA" */
	const char *first_name; /* or "" */
	size_t name_count;
	int64_t not_after_s; /* seconds since 1970 */
	const char *warning; /* expires soon, no names, order of the chain; or "" */
};
size_t pn_tls_server_certificate_count(const struct pn_tls_server *s);
void pn_tls_server_certificate_info(const struct pn_tls_server *s, size_t index,
				    struct pn_tls_certificate_info *ret);

enum pn_tls_key_wish { PN_TLS_WANT_ANY_KEY, PN_TLS_WANT_ECDSA, PN_TLS_WANT_RSA };

struct pn_tls_client_settings {
	struct pn_slice ca_pem; /* trusted roots; empty: no verification possible */
	const char *ca_path;    /* for messages */
	/* Fail the handshake when the certificate does not match `name` (RFC 7817). */
	bool is_verify_required;
	/* Narrower than the policy (for measurements); zeroed: all that the policy has. */
	uint16_t version;              /* 0x0303 or 0x0304 alone */
	enum pn_tls_key_wish key_wish; /* signature algorithms of this kind of key alone */
	const char *groups;            /* "x25519:secp256r1:secp384r1", most wanted first */
	/* Tickets kept for pn_tls_conn_resume(), the oldest go first; 0: none. With it the client
	 * and its connections belong to one thread, and all of them reach the same server. */
	uint32_t sessions_max;
};
struct pn_tls_client *pn_tls_client_new(const struct pn_tls_client_settings *settings,
					struct pn_error *err);
/* Whether pn_tls_client_new(settings) would make another just like c. Any thread. */
bool pn_tls_client_is_for(const struct pn_tls_client *c, const struct pn_tls_client_settings *settings);
struct pn_tls_client *pn_tls_client_ref(struct pn_tls_client *c);
void pn_tls_client_unref(struct pn_tls_client *c);

/* Tickets kept now. */
size_t pn_tls_client_session_count(const struct pn_tls_client *c);

/* A server-side or client-side handshake; NULL when out of memory. `name` is the configured host
 * name (A-labels; SNI and reference identity), or an address literal (then matched against
 * iPAddress SANs, no SNI sent). Another name fails the handshake. A conn keeps its own reference to
 * s or c. */
struct pn_tls_conn *pn_tls_conn_new_server(struct pn_tls_server *s);
struct pn_tls_conn *pn_tls_conn_new_client(struct pn_tls_client *c, const char *name);
/* Before the first pn_tls_handshake(): offers the oldest ticket that an earlier connection of this
 * client got. One of TLS 1.3 is used once (RFC 8446 C.4), except the last one that is left; one of
 * TLS 1.2 again and again. False: there is none. Facts say whether the server took it. */
bool pn_tls_conn_resume(struct pn_tls_conn *conn);
/*
 * Names the connected socket under the handshake: where `is_kernel_wanted` and the kernel can, the
 * record that pn_tls_conn_finish() gives will want a quiet point and move to the kernel's records
 * then (ktls.h). Before the first octet of the handshake; the descriptor must outlive the record's
 * use.
 */
void pn_tls_conn_set_socket(struct pn_tls_conn *conn, int fd, bool is_kernel_wanted);
/* For measurements: the record that pn_tls_conn_finish() gives will be BoringSSL's own. */
void pn_tls_conn_keep_library(struct pn_tls_conn *conn);
/* Takes conn; NULL is fine. Also right after pn_tls_conn_finish (which leaves it hollow). */
void pn_tls_conn_free(struct pn_tls_conn *conn);

/*
 * Goes on with the handshake. Reads from *in exactly what the handshake needs and advances it:
 * whatever is left in *in after OK are records that belong to the record layer. Appends to out
 * (also the alert when FAILED). WANT: needs more input. */
enum pn_record_status pn_tls_handshake(struct pn_tls_conn *conn, struct pn_slice *in,
				       struct pn_buf *out) PN_MUST_CHECK;
/* After FAILED: a short reason for the log, e.g. "NO_SHARED_CIPHER", "certificate name mismatch".
 * Borrowed from conn. */
const char *pn_tls_conn_error(const struct pn_tls_conn *conn);
/* After OK: fills facts and gives the record layer that carries on. The caller then frees conn.
 * NULL when out of memory. */
struct pn_record *pn_tls_conn_finish(struct pn_tls_conn *conn, struct pn_tls_facts *ret_facts);

/* "BoringSSL ..." for --version. */
const char *pn_tls_library_version(void);
/* Who seals and opens our records of AES-GCM: "libipsec-mb ..." where the CPU has what that needs, else "BoringSSL".
 * Static. Any thread; the first call takes some milliseconds (pn_tls_server_new() makes it, too). */
const char *pn_tls_gcm_library(void);

#endif
