/* SPDX-License-Identifier: ISC */
/* gcm.c - see gcm.h. */
#include "tls/gcm.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <openssl/aead.h>
#include <openssl/mem.h>

#include <postern/base/secret.h>

#if defined(PN_HAVE_IPSEC_MB)

#include <intel-ipsec-mb.h>

_Static_assert(sizeof(struct gcm_key_data) <= PN_GCM_KEY_SIZE, "room for a key of libipsec-mb");

#define NEEDED (IMB_CPUFLAGS_AVX512 | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ)

/* Of one length of key. */
struct functions {
	aes_gcm_pre_t pre;
	aes_gcm_enc_dec_t dec;
	aes_gcm_init_t init;
	aes_gcm_enc_dec_update_t enc_update;
	aes_gcm_enc_dec_finalize_t enc_finalize;
};

static struct functions aes128, aes256;
static bool is_usable;
static char name[48];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct functions *functions_of(size_t key_len)
{
	return key_len == 16 ? &aes128 : &aes256;
}

static const struct gcm_key_data *data_of(const struct pn_gcm_key *key)
{
	return (const struct gcm_key_data *)(const void *)key->octets;
}

void pn_gcm_key_make(struct pn_gcm_key *key, const uint8_t *from, size_t key_len)
{
	PN_ASSERT(key_len == 16 || key_len == 32);
	key->key_len = key_len;
	functions_of(key_len)->pre(from, (struct gcm_key_data *)(void *)key->octets);
}

bool pn_gcm_open(const struct pn_gcm_key *key, uint8_t *to, const uint8_t *sealed, size_t len,
		 const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad)
{
	uint8_t tag[PN_GCM_TAG_LEN], sent[PN_GCM_TAG_LEN];
	struct gcm_context_data work;

	if (len < PN_GCM_TAG_LEN)
		return false;
	len -= PN_GCM_TAG_LEN;
	/* The library does nothing for NULL, and says nothing. */
	PN_ASSERT(to && (ad.ptr || ad.len == 0));
	memcpy(sent, sealed + len, sizeof(sent));
	functions_of(key->key_len)
		->dec(data_of(key), &work, to, sealed, len, nonce, ad.ptr, ad.len, tag,
		      sizeof(tag));
	pn_wipe(&work, sizeof(work));
	if (CRYPTO_memcmp(tag, sent, sizeof(tag)) == 0)
		return true;
	/* Nobody may see what was not authentic, nor the tag that would have been right. */
	pn_wipe(to, len);
	pn_wipe(tag, sizeof(tag));
	return false;
}

void pn_gcm_seal(const struct pn_gcm_key *key, uint8_t *to, struct pn_slice plain,
		 struct pn_slice extra, const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad)
{
	const struct functions *f = functions_of(key->key_len);
	struct gcm_context_data work;

	f->init(data_of(key), &work, nonce, ad.ptr, ad.len);
	if (plain.len > 0)
		f->enc_update(data_of(key), &work, to, plain.ptr, plain.len);
	if (extra.len > 0)
		f->enc_update(data_of(key), &work, to + plain.len, extra.ptr, extra.len);
	f->enc_finalize(data_of(key), &work, to + plain.len + extra.len, PN_GCM_TAG_LEN);
	/* A block of the key stream is in it. */
	pn_wipe(&work, sizeof(work));
}

/* ---- once ---- */

#define TRIED_LEN 1500

/* Seals with the library, opens with BoringSSL and the library, and sees that a changed octet is refused. */
static bool agrees(const EVP_AEAD *aead)
{
	static const uint8_t nonce[PN_GCM_NONCE_LEN] = "postern gcm";
	const struct pn_slice ad = pn_slice(nonce, 5);
	uint8_t plain[TRIED_LEN], sealed[TRIED_LEN + PN_GCM_TAG_LEN], opened[TRIED_LEN];
	uint8_t from[32];
	struct pn_gcm_key key;
	EVP_AEAD_CTX ctx;
	size_t len = 0;
	bool ok;

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7 + (i >> 8));
	memcpy(from, plain + 100, sizeof(from));
	if (!EVP_AEAD_CTX_init(&ctx, aead, from, EVP_AEAD_key_length(aead), PN_GCM_TAG_LEN, NULL))
		return false;
	pn_gcm_key_make(&key, from, EVP_AEAD_key_length(aead));
	pn_gcm_seal(&key, sealed, pn_slice(plain, TRIED_LEN - 1),
		    pn_slice(plain + TRIED_LEN - 1, 1), nonce, ad);
	ok = EVP_AEAD_CTX_open(&ctx, opened, &len, sizeof(opened), nonce, PN_GCM_NONCE_LEN, sealed,
			       sizeof(sealed), ad.ptr, ad.len) == 1 &&
	     len == TRIED_LEN && memcmp(opened, plain, TRIED_LEN) == 0;
	memset(opened, 0, sizeof(opened));
	ok = ok && pn_gcm_open(&key, opened, sealed, sizeof(sealed), nonce, ad) &&
	     memcmp(opened, plain, TRIED_LEN) == 0;
	sealed[TRIED_LEN / 2] ^= 1;
	ok = ok && !pn_gcm_open(&key, opened, sealed, sizeof(sealed), nonce, ad);
	EVP_AEAD_CTX_cleanup(&ctx);
	return ok;
}

/* The library asks the CPU alone, which may know more than the kernel saves (XCR0): SIGILL at the start. The library
 * looks for VAES, a word that clang 14 does not know here. */
static bool has_cpu(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("vpclmulqdq");
}

/* What a key needs differs between versions, and the library's name does not say so. */
static bool has_version(void)
{
	return imb_get_version() >> 8 == IMB_VERSION_NUM >> 8;
}

static void look(void)
{
	IMB_MGR *mgr = has_cpu() && has_version() ? alloc_mb_mgr(0) : NULL;
	IMB_ARCH arch = IMB_ARCH_NONE;

	if (!mgr)
		return;
	init_mb_mgr_auto(mgr, &arch);
	if (arch == IMB_ARCH_AVX512 && (mgr->features & NEEDED) == NEEDED &&
	    (mgr->features & IMB_FEATURE_SELF_TEST_PASS)) {
		/* GCM keeps nothing in the manager: its functions are all that is needed of it. */
		aes128 = (struct functions){ mgr->gcm128_pre, mgr->gcm128_dec, mgr->gcm128_init,
					     mgr->gcm128_enc_update, mgr->gcm128_enc_finalize };
		aes256 = (struct functions){ mgr->gcm256_pre, mgr->gcm256_dec, mgr->gcm256_init,
					     mgr->gcm256_enc_update, mgr->gcm256_enc_finalize };
		is_usable = agrees(EVP_aead_aes_128_gcm()) && agrees(EVP_aead_aes_256_gcm());
		(void)snprintf(name, sizeof(name), "libipsec-mb %s", imb_get_version_str());
	}
	free_mb_mgr(mgr);
}

bool pn_gcm_is_usable(void)
{
	(void)pthread_once(&once, look);
	return is_usable;
}

const char *pn_gcm_name(void)
{
	return pn_gcm_is_usable() ? name : NULL;
}

#else

bool pn_gcm_is_usable(void)
{
	return false;
}

const char *pn_gcm_name(void)
{
	return NULL;
}

void pn_gcm_key_make(struct pn_gcm_key *key, const uint8_t *from, size_t key_len)
{
	(void)key, (void)from, (void)key_len;
	PN_ASSERT(false);
}

bool pn_gcm_open(const struct pn_gcm_key *key, uint8_t *to, const uint8_t *sealed, size_t len,
		 const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad)
{
	(void)key, (void)to, (void)sealed, (void)len, (void)nonce, (void)ad;
	PN_ASSERT(false);
	return false;
}

void pn_gcm_seal(const struct pn_gcm_key *key, uint8_t *to, struct pn_slice plain,
		 struct pn_slice extra, const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad)
{
	(void)key, (void)to, (void)plain, (void)extra, (void)nonce, (void)ad;
	PN_ASSERT(false);
}

#endif
