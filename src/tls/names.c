/* SPDX-License-Identifier: ISC */
/* names.c - see names.h. Names that are no host names (spaces, NUL, a "*" elsewhere) are skipped,
 * never matched. */
#include "tls/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/obj.h>
#include <openssl/x509v3.h>

static bool name_octet_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool pn_tls_name_normalize(char out[PN_TLS_NAME_SIZE], const char *in, size_t len)
{
	size_t label = 0;

	if (len > 0 && in[len - 1] == '.')
		len--;
	if (len == 0 || len >= PN_TLS_NAME_SIZE)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = in[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (name_octet_ok(c) || (c == '*' && i == 0 && len > 2 && in[1] == '.')) {
			label++;
		} else {
			return false;
		}
		out[i] = c;
	}
	out[len] = '\0';
	return label > 0;
}

static int names_add(struct pn_tls_names *names, const char *data, int len)
{
	char normal[PN_TLS_NAME_SIZE];
	char **grown;

	if (len <= 0 || names->count >= PN_TLS_NAMES_MAX ||
	    !pn_tls_name_normalize(normal, data, (size_t)len))
		return 0;
	grown = realloc(names->list, (names->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	names->list = grown;
	names->list[names->count] = strdup(normal);
	if (!names->list[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

/* RFC 6125 6.4.4: which kinds of names forbid a look at the CN. */
static bool name_is_service_id(const GENERAL_NAME *name)
{
	char oid[32];

	if (name->type == GEN_DNS || name->type == GEN_URI)
		return true;
	if (name->type != GEN_OTHERNAME)
		return false;
	/* id-on-dnsSRV, RFC 4985 2 */
	return OBJ_obj2txt(oid, sizeof(oid), name->d.otherName->type_id, 1) > 0 &&
	       strcmp(oid, "1.3.6.1.5.5.7.8.7") == 0;
}

/* Sets *has_ids when a kind of name is there that forbids the CN. */
static int names_read_san(X509 *x, struct pn_tls_names *names, bool *has_ids)
{
	GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int err = 0;

	*has_ids = false;
	for (size_t i = 0; san && i < sk_GENERAL_NAME_num(san) && err == 0; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(san, i);

		if (name_is_service_id(name))
			*has_ids = true;
		if (name->type == GEN_DNS)
			err = names_add(names, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
					ASN1_STRING_length(name->d.dNSName));
	}
	GENERAL_NAMES_free(san);
	return err;
}

/* The last, that is the most specific, CN of the subject. */
static int names_read_cn(X509 *x, struct pn_tls_names *names)
{
	X509_NAME *subject = X509_get_subject_name(x);
	unsigned char *utf8 = NULL;
	int at = -1;
	int last = -1;
	int len;
	int err;

	while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
		last = at;
	if (last < 0)
		return 0;
	len = ASN1_STRING_to_UTF8(&utf8,
				  X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
	if (len < 0)
		return 0;
	err = names_add(names, (const char *)utf8, len);
	OPENSSL_free(utf8);
	return err;
}

int pn_tls_names_read(X509 *x, bool may_use_cn, struct pn_tls_names *ret)
{
	bool has_ids;
	int err;

	*ret = (struct pn_tls_names){ NULL, 0 };
	err = names_read_san(x, ret, &has_ids);
	if (err == 0 && may_use_cn && !has_ids)
		err = names_read_cn(x, ret);
	if (err != 0)
		pn_tls_names_free(ret);
	ERR_clear_error();
	return err;
}

void pn_tls_names_free(struct pn_tls_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
	*names = (struct pn_tls_names){ NULL, 0 };
}

/* RFC 7817 3: "*" stands for exactly one whole left-most label. Below a single label ("*.com") it
 * stands for nothing. */
static bool name_matches(const char *pattern, const char *host)
{
	const char *dot;

	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	dot = strchr(host, '.');
	return dot && dot != host && strchr(dot + 1, '.') && strcmp(pattern + 1, dot) == 0;
}

bool pn_tls_names_match(const struct pn_tls_names *names, const char *host)
{
	for (size_t i = 0; i < names->count; i++)
		if (name_matches(names->list[i], host))
			return true;
	return false;
}

bool pn_tls_names_match_ip(X509 *x, const uint8_t *ip, size_t ip_len)
{
	GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool is_match = false;

	for (size_t i = 0; san && i < sk_GENERAL_NAME_num(san) && !is_match; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(san, i);

		if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == (int)ip_len)
			is_match =
				memcmp(ASN1_STRING_get0_data(name->d.iPAddress), ip, ip_len) == 0;
	}
	GENERAL_NAMES_free(san);
	ERR_clear_error();
	return is_match;
}
