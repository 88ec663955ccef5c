/* SPDX-License-Identifier: ISC */
/*
 * aead.c - opening and sealing TLS 1.3 records, and nothing of a record layer around it: AES-GCM as the gateway does
 * it on this CPU (tls/gcm.h), and all with BoringSSL's EVP_AEAD, in place.
 *
 * Several records are sealed, then opened; only one of both is under the clock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/aead.h>

#include "limit.h"
#include "measure.h"
#include "tls/gcm.h"

#define RECORDS     16u
#define TAG_SIZE    16u
#define NONCE_SIZE  12u
#define HEADER_SIZE 5u

enum kind {
	KIND_AES128,
	KIND_AES256,
	KIND_AES128_SEAL,
	KIND_BORINGSSL_AES128,
	KIND_BORINGSSL_AES256,
	KIND_BORINGSSL_AES128_SEAL,
	KIND_CHACHA
};

struct record {
	uint8_t nonce[NONCE_SIZE];
	uint8_t header[HEADER_SIZE]; /* the additional data of RFC 8446 5.2 */
	uint8_t *data;
	size_t len;
};

struct world {
	EVP_AEAD_CTX ctx;
	struct pn_gcm_key gcm; /* is_gcm */
	bool is_gcm;
	uint64_t sequence;
	struct record records[RECORDS];
	uint8_t *memory;
	uint8_t *plain; /* what pn_gcm_seal() reads */
};

static const EVP_AEAD *aead_of(unsigned kind)
{
	if (kind == KIND_CHACHA)
		return EVP_aead_chacha20_poly1305();
	return kind == KIND_AES256 || kind == KIND_BORINGSSL_AES256 ? EVP_aead_aes_256_gcm()
								    : EVP_aead_aes_128_gcm();
}

static bool seal(struct world *w, struct record *r, size_t size)
{
	size_t whole = size + TAG_SIZE;

	memcpy(r->nonce, &w->sequence, sizeof(w->sequence));
	w->sequence++;
	memcpy(r->header, "\x17\x03\x03", 3);
	r->header[3] = (uint8_t)(whole >> 8);
	r->header[4] = (uint8_t)whole;
	r->len = whole;
	if (w->is_gcm) {
		pn_gcm_seal(&w->gcm, r->data, pn_slice(w->plain, size), PN_SLICE_NULL, r->nonce,
			    pn_slice(r->header, HEADER_SIZE));
		return true;
	}
	return EVP_AEAD_CTX_seal(&w->ctx, r->data, &r->len, whole, r->nonce, NONCE_SIZE, r->data,
				 size, r->header, HEADER_SIZE) == 1;
}

static bool open_record(struct world *w, struct record *r)
{
	if (w->is_gcm)
		return pn_gcm_open(&w->gcm, r->data, r->data, r->len, r->nonce,
				   pn_slice(r->header, HEADER_SIZE));
	return EVP_AEAD_CTX_open(&w->ctx, r->data, &r->len, r->len, r->nonce, NONCE_SIZE, r->data,
				 r->len, r->header, HEADER_SIZE) == 1;
}

static bool round_of(struct world *w, const struct pn_bench_limit_row *row, uint64_t *cpu_ns)
{
	uint64_t seal_ns = pn_bench_thread_cpu_ns();
	bool is_seal = row->kind == KIND_AES128_SEAL || row->kind == KIND_BORINGSSL_AES128_SEAL;
	bool ok = true;

	for (size_t i = 0; i < RECORDS; i++)
		ok = ok && seal(w, &w->records[i], (size_t)row->size_bytes);
	uint64_t open_ns = pn_bench_thread_cpu_ns();
	for (size_t i = 0; i < RECORDS; i++)
		ok = ok && open_record(w, &w->records[i]);
	*cpu_ns += is_seal ? open_ns - seal_ns : pn_bench_thread_cpu_ns() - open_ns;
	return ok;
}

static bool world_init(struct world *w, const struct pn_bench_limit_row *row)
{
	static const uint8_t key[32] = "a key for measuring, of 32 bytes";
	const EVP_AEAD *aead = aead_of(row->kind);
	size_t stride = (size_t)row->size_bytes + TAG_SIZE + PN_CACHE_LINE;

	w->is_gcm = row->kind <= KIND_AES128_SEAL && pn_gcm_is_usable();
	if (w->is_gcm)
		pn_gcm_key_make(&w->gcm, key, EVP_AEAD_key_length(aead));
	w->memory = malloc(stride * RECORDS);
	w->plain = calloc(1, (size_t)row->size_bytes);
	if (!w->memory || !w->plain ||
	    !EVP_AEAD_CTX_init(&w->ctx, aead, key, EVP_AEAD_key_length(aead), TAG_SIZE, NULL))
		return false;
	memset(w->memory, 'm', stride * RECORDS);
	for (size_t i = 0; i < RECORDS; i++)
		w->records[i].data = w->memory + i * stride;
	return true;
}

static int measure(const struct pn_bench_limit_place *place, const struct pn_bench_limit_row *row,
		   uint64_t operations, struct pn_bench_limit_sample *ret, struct pn_error *err)
{
	struct world w = { 0 };
	uint64_t cpu_ns = 0;
	uint64_t done = 0;
	bool ok;

	(void)place;
	EVP_AEAD_CTX_zero(&w.ctx);
	ok = world_init(&w, row);
	while (ok && done < operations) {
		ok = round_of(&w, row, &cpu_ns);
		done += RECORDS;
	}
	EVP_AEAD_CTX_cleanup(&w.ctx);
	free(w.memory);
	free(w.plain);
	if (!ok) {
		(void)pn_error_set(err, "%s: cannot seal or open", row->name);
		return -EIO;
	}
	ret->cpu_us = (double)cpu_ns / 1000 / (double)done;
	return 0;
}

#define KIB 1024u
const struct pn_bench_limit_row pn_bench_limit_aead[] = {
	{ "open_aes128_4k", "AES-128-GCM, open 4 KiB", measure, KIND_AES128, 4 * KIB, 20000, NULL },
	{ "open_aes128_16k", "AES-128-GCM, open 16 KiB", measure, KIND_AES128, 16 * KIB, 6000,
	  NULL },
	{ "open_aes256_16k", "AES-256-GCM, open 16 KiB", measure, KIND_AES256, 16 * KIB, 6000,
	  NULL },
	{ "seal_aes128_4k", "AES-128-GCM, seal 4 KiB", measure, KIND_AES128_SEAL, 4 * KIB, 20000,
	  NULL },
	{ "seal_aes128_16k", "AES-128-GCM, seal 16 KiB", measure, KIND_AES128_SEAL, 16 * KIB, 6000,
	  NULL },
	{ "open_boringssl_4k", "the same with BoringSSL, open 4 KiB", measure,
	  KIND_BORINGSSL_AES128, 4 * KIB, 20000, NULL },
	{ "open_boringssl_16k", "open 16 KiB", measure, KIND_BORINGSSL_AES128, 16 * KIB, 6000,
	  NULL },
	{ "open_boringssl_aes256_16k", "AES-256-GCM, open 16 KiB", measure, KIND_BORINGSSL_AES256,
	  16 * KIB, 6000, NULL },
	{ "seal_boringssl_4k", "AES-128-GCM, seal 4 KiB", measure, KIND_BORINGSSL_AES128_SEAL,
	  4 * KIB, 20000, NULL },
	{ "seal_boringssl_16k", "AES-128-GCM, seal 16 KiB", measure, KIND_BORINGSSL_AES128_SEAL,
	  16 * KIB, 6000, NULL },
	{ "open_chacha_4k", "ChaCha20-Poly1305, open 4 KiB", measure, KIND_CHACHA, 4 * KIB, 20000,
	  NULL },
	{ "open_chacha_16k", "ChaCha20-Poly1305, open 16 KiB", measure, KIND_CHACHA, 16 * KIB, 6000,
	  NULL },
	{ 0 },
};
