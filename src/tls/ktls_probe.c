/* SPDX-License-Identifier: ISC */
/*
 * ktls_probe.c - what the running kernel offers, found by doing it over loopback: for each version
 * and cipher one side sends a record, the other opens it.
 *
 * Version numbers say nothing (distributions leave the module out, or backport).
 */
#include "tls/ktls.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/digest.h>

static const char *const cipher_names[PN_KTLS_CIPHER_COUNT] = {
	[PN_KTLS_AES_128_GCM] = "aes-128-gcm",
	[PN_KTLS_AES_256_GCM] = "aes-256-gcm",
	[PN_KTLS_CHACHA20_POLY1305] = "chacha20-poly1305",
};

static struct pn_ktls_support found;
static bool is_found;

/* Two ends of a connection. */
struct pair {
	int a;
	int b;
};

const char *pn_ktls_cipher_name(enum pn_ktls_cipher cipher)
{
	return cipher_names[cipher];
}

static void pair_close(struct pair *p)
{
	if (p->a >= 0)
		close(p->a);
	if (p->b >= 0)
		close(p->b);
	p->a = p->b = -1;
}

static int pair_connect(struct pair *p, int listener)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct timeval patience = { .tv_sec = 1 };
	socklen_t len = sizeof(to);

	if (bind(listener, (struct sockaddr *)&to, len) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&to, &len) != 0)
		return -errno;
	p->a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->a < 0 || connect(p->a, (struct sockaddr *)&to, len) != 0)
		return -errno;
	p->b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (p->b < 0 || setsockopt(p->b, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		return -errno;
	return 0;
}

/* Both with the upper layer protocol. 0 or -errno. */
static int pair_open(struct pair *p)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int result = listener < 0 ? -errno : 0;

	p->a = p->b = -1;
	if (result == 0)
		result = pair_connect(p, listener);
	if (listener >= 0)
		close(listener);
	if (result == 0)
		result = pn_ktls_socket_install(p->a);
	if (result == 0)
		result = pn_ktls_socket_install(p->b);
	if (result != 0)
		pair_close(p);
	return result;
}

static bool pair_carries(const struct pair *p)
{
	static const char text[] = "a record";
	char got[sizeof(text)];

	return send(p->a, text, sizeof(text), MSG_NOSIGNAL) == (ssize_t)sizeof(text) &&
	       recv(p->b, got, sizeof(got), MSG_WAITALL) == (ssize_t)sizeof(got) &&
	       memcmp(got, text, sizeof(text)) == 0;
}

static bool pair_rekeys(const struct pair *p, const struct pn_tls_suite *suite,
			struct pn_tls_secret *secret)
{
	return pn_tls_secret_update(suite, secret) == 0 &&
	       pn_ktls_socket_set(p->a, TLS_TX, suite, secret) == 0 &&
	       pn_ktls_socket_set(p->b, TLS_RX, suite, secret) == 0 && pair_carries(p);
}

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static bool has_no_pad(const struct pair *p)
{
	const unsigned one = 1;

	return pn_ktls_kernel->setsockopt(p->b, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &one, sizeof(one)) ==
	       0;
}

static void try_cipher(bool is_tls13, enum pn_ktls_cipher cipher)
{
	struct pn_ktls_ability *ability = &found.ciphers[is_tls13][cipher];
	const struct pn_tls_suite suite = {
		.version = is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION,
		.cipher = cipher,
		.digest = cipher == PN_KTLS_AES_256_GCM ? EVP_sha384() : EVP_sha256(),
	};
	struct pn_tls_secret secret = { .sequence = 0 }; /* known to all: it protects nothing */
	struct pair p;

	if (pair_open(&p) != 0)
		return;
	ability->can_send = pn_ktls_socket_set(p.a, TLS_TX, &suite, &secret) == 0;
	ability->can_receive = pn_ktls_socket_set(p.b, TLS_RX, &suite, &secret) == 0;
	/* What says yes and then does not work is not there. */
	if (ability->can_send && ability->can_receive && !pair_carries(&p))
		ability->can_send = ability->can_receive = false;
	if (is_tls13 && ability->can_send && ability->can_receive) {
		found.has_no_pad = found.has_no_pad || has_no_pad(&p);
		found.has_rekey = found.has_rekey || pair_rekeys(&p, &suite, &secret);
	}
	pair_close(&p);
}

const struct pn_ktls_support *pn_ktls_probe(void)
{
	struct pair p;

	if (is_found)
		return &found;
	is_found = true;
	found = (struct pn_ktls_support){ .error = -pair_open(&p) };
	if (found.error != 0)
		return &found;
	pair_close(&p);
	for (unsigned i = 0; i < PN_KTLS_VERSION_COUNT * PN_KTLS_CIPHER_COUNT; i++)
		try_cipher(i >= PN_KTLS_CIPHER_COUNT,
			   (enum pn_ktls_cipher)(i % PN_KTLS_CIPHER_COUNT));
	return &found;
}

void pn_ktls_probe_set(const struct pn_ktls_support *support)
{
	is_found = support != NULL;
	if (support)
		found = *support;
}

struct pn_ktls_ability pn_ktls_suite_ability(const struct pn_tls_suite *suite)
{
	return pn_ktls_probe()->ciphers[suite->version == TLS1_3_VERSION][suite->cipher];
}

bool pn_ktls_is_usable(const struct pn_ktls_support *s)
{
	bool is_usable = false;

	for (unsigned v = 0; v < PN_KTLS_VERSION_COUNT; v++) {
		for (unsigned c = 0; c < PN_KTLS_CIPHER_COUNT; c++)
			is_usable = is_usable ||
				    (s->ciphers[v][c].can_send && s->ciphers[v][c].can_receive);
	}
	return s->error == 0 && is_usable;
}

static void append(char *ret, size_t size, const char *text)
{
	size_t len = strlen(ret);

	(void)snprintf(ret + len, size - len, "%s%s", len > 0 ? " " : "", text);
}

static void describe_version(const struct pn_ktls_ability *abilities, const char *name, char *ret,
			     size_t size)
{
	append(ret, size, name);
	for (unsigned c = 0; c < PN_KTLS_CIPHER_COUNT; c++) {
		char text[64];
		const char *what = abilities[c].can_send && abilities[c].can_receive ? ""
				   : abilities[c].can_send                           ? "(send only)"
				   : abilities[c].can_receive ? "(receive only)"
							      : "(no)";
		(void)snprintf(text, sizeof(text), "%s%s", cipher_names[c], what);
		append(ret, size, text);
	}
}

void pn_ktls_describe(const struct pn_ktls_support *s, char *ret, size_t size)
{
	ret[0] = '\0';
	if (s->error == ENOENT) {
		(void)snprintf(
			ret, size,
			"not available: the kernel has no tls module loaded (modprobe tls; a "
			"kernel without CONFIG_TLS has none)");
		return;
	}
	if (s->error != 0) {
		(void)snprintf(ret, size, "not available: %s", strerrordesc_np(s->error));
		return;
	}
	describe_version(s->ciphers[1], "TLSv1.3", ret, size);
	describe_version(s->ciphers[0], "TLSv1.2", ret, size);
	append(ret, size, s->has_no_pad ? "no-pad" : "no-no-pad");
	append(ret, size, s->has_rekey ? "rekey" : "no-rekey");
}
