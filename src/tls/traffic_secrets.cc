// SPDX-License-Identifier: ISC
// traffic_secrets.cc - BoringSSL gives traffic secrets to C++ only: this hands them to C.
#include <openssl/ssl.h>

extern "C" bool pn_tls_traffic_secrets(const SSL *ssl, const uint8_t **receive,
					const uint8_t **send, size_t *len);

bool pn_tls_traffic_secrets(const SSL *ssl, const uint8_t **receive, const uint8_t **send,
			     size_t *len)
{
	bssl::Span<const uint8_t> read_secret;
	bssl::Span<const uint8_t> write_secret;

	if (!bssl::SSL_get_traffic_secrets(ssl, &read_secret, &write_secret) ||
	    read_secret.size() != write_secret.size())
		return false;
	*receive = read_secret.data();
	*send = write_secret.data();
	*len = read_secret.size();
	return true;
}
