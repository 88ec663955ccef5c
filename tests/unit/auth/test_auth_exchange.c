/* SPDX-License-Identifier: ISC */
/*
 * test_auth_exchange.c - AUTH from the first message to the answer: all mechanisms against a real user file,
 * the cache, a full queue, exchanges freed at every moment, reloads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <postern/base/codec.h>
#include <postern/base/log.h>
#include <postern/tls/crypto.h>

#include "auth/user.h"
#include "auth_harness.h"

struct fixture {
	struct harness_file file;
	struct pn_loop loop;
	struct pn_auth *auth;
	struct pn_auth_settings settings;
};

static struct fixture fx;

/* tim: crypt and SCRAM; scram: SCRAM only; plain: crypt only; out: disabled. */
static void write_users(bool has_plain_user)
{
	char text[4096], scram[512];
	size_t len;

	harness_scram_text(scram, TIM_PASSWORD, 4096);
	len = (size_t)snprintf(text, sizeof(text),
	                       "#postern-scram-seed:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	                       "tim@example.org:{CRYPT}%s::::::postern_scram=%s postern_domains=example.net\n",
	                       harness_hash(TIM_SHA512, TIM_PASSWORD), scram);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "scram@example.org:%s\n", scram);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "out@example.org:!%s::::::postern_scram=%s\n",
	                        harness_hash(TIM_SHA512, TIM_PASSWORD), scram);
	if (has_plain_user)
		snprintf(text + len, sizeof(text) - len, "plain@example.org:%s\n",
		         harness_hash("$5$rounds=1000$salt$", TIM_PASSWORD));
	harness_file_write(&fx.file, text);
}

static int make_fixture(void **state)
{
	const struct pn_log_settings quiet = { .level_min = PN_LOG_ERROR };
	(void)state;
	pn_log_configure(&quiet);
	harness_file_init(&fx.file);
	harness_loop_init(&fx.loop);
	fx.settings = (struct pn_auth_settings){
		.user_file = fx.file.path,
		.helper_threads = 2,
		.helper_queue_max = 8,
		.cache_entries_max = 16,
		.cache_lifetime_s = 3600,
		.has_plain = true,
		.has_login = true,
	};
	write_users(false);
	return 0;
}

static void start_auth(void)
{
	struct pn_error err = { "" };

	fx.auth = pn_auth_new(&fx.settings, &err);
	if (!fx.auth)
		fail_msg("%s", err.text);
}

static int drop_fixture(void **state)
{
	(void)state;
	pn_auth_free(fx.auth);
	fx.auth = NULL;
	harness_loop_deinit(&fx.loop);
	harness_file_deinit(&fx.file);
	return 0;
}

static void assert_plain(const char *name, const char *password, enum pn_auth_result expected)
{
	enum pn_auth_result result = harness_plain(fx.auth, &fx.loop, name, password);
	if (result != expected)
		fail_msg("%s: %d, expected %d", name, (int)result, (int)expected);
}

static void test_plain(void **state)
{
	(void)state;
	write_users(true);
	start_auth();
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_plain("Tim@Example.Org", TIM_PASSWORD, PN_AUTH_OK);
	assert_plain("scram@example.org", TIM_PASSWORD, PN_AUTH_OK); /* PLAIN against a SCRAM key */
	assert_plain("plain@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_plain("tim@example.org", "tanstaaf", PN_AUTH_BAD);
	assert_plain("scram@example.org", "tanstaaf", PN_AUTH_BAD);
	assert_plain("plain@example.org", "tanstaaf", PN_AUTH_BAD);
	assert_plain("out@example.org", TIM_PASSWORD, PN_AUTH_BAD);
	assert_plain("nobody@example.org", TIM_PASSWORD, PN_AUTH_BAD);
	assert_plain("tim@example.org", "pass\001word", PN_AUTH_BAD);
	assert_int_equal(harness_counter("ok"), 4);
	assert_int_equal(harness_counter("bad"), 6);
	assert_int_equal(harness_counter("exchanges"), 10);
	assert_int_equal(harness_counter("users"), 4);
	/*
	 * All but the one that could not be prepared: unknown and disabled users are hashed like others; tim's
	 * second was cached.
	 */
	assert_int_equal(harness_counter("hashes"), 8);
}

static void test_user_that_comes_back(void **state)
{
	static const char message[] = "\0TIM@example.org\0" TIM_PASSWORD;
	struct harness_client c;
	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "PLAIN", message, sizeof(message) - 1);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_OK);
	struct pn_slice name = pn_auth_user_name(c.user);
	assert_int_equal(name.len, strlen("tim@example.org"));
	assert_memory_equal(name.ptr, "tim@example.org", name.len);
	assert_true(pn_auth_user_may_send_as(c.user, PN_SLICE_LIT("any@example.net")));
	assert_false(pn_auth_user_may_send_as(c.user, PN_SLICE_LIT("any@example.org")));
	assert_int_equal(c.calls, 1);
	harness_end(&c);
}

static void test_plain_in_two_steps_and_authzid(void **state)
{
	static const char foreign[] = "bob\0tim@example.org\0" TIM_PASSWORD,
			  own[] = "tim@example.org\0tim@example.org\0" TIM_PASSWORD;
	struct harness_client c;
	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "PLAIN", NULL, 0);
	assert_true(c.is_called);
	assert_int_equal(c.result, PN_AUTH_CHALLENGE);
	assert_int_equal(c.data_len, 0);
	harness_respond(&c, own, sizeof(own) - 1);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_OK);
	harness_end(&c);

	harness_start(&c, fx.auth, &fx.loop, "PLAIN", foreign, sizeof(foreign) - 1);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_BAD);
	harness_end(&c);
}

static void test_login(void **state)
{
	struct harness_client c;
	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "LOGIN", NULL, 0);
	assert_int_equal(c.result, PN_AUTH_CHALLENGE);
	assert_string_equal(c.data, "Username:");
	harness_respond(&c, "tim@example.org", 15);
	assert_int_equal(c.result, PN_AUTH_CHALLENGE);
	assert_string_equal(c.data, "Password:");
	harness_respond(&c, TIM_PASSWORD, strlen(TIM_PASSWORD));
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_OK);
	harness_end(&c);
}

static void test_malformed_and_unsupported(void **state)
{
	static const char *const unknown[] = { "CRAM-MD5", "SCRAM-SHA-256-PLUS", "", "EXTERNAL" };
	struct harness_client c;
	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "PLAIN", "tim", 3);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_MALFORMED);
	harness_end(&c);
	harness_start(&c, fx.auth, &fx.loop, "SCRAM-SHA-256", "n,,n=tim", 8);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_MALFORMED);
	assert_string_equal(c.data, "e=other-error");
	harness_end(&c);
	for (size_t i = 0; i < PN_ARRAY_SIZE(unknown); i++) {
		harness_start(&c, fx.auth, &fx.loop, unknown[i], NULL, 0);
		assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_UNSUPPORTED);
		harness_end(&c);
	}
	assert_int_equal(harness_counter("malformed"), 2);
	assert_int_equal(harness_counter("unsupported"), PN_ARRAY_SIZE(unknown));
	assert_int_equal(harness_counter("hashes"), 0);
}

/* The value of an attribute in "r=..,s=..,i=..". */
static void attribute(const char *message, char name, char out[256])
{
	const char *at = message;

	while (at && !(at[0] == name && at[1] == '=')) {
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	assert_non_null(at);
	snprintf(out, 256, "%.*s", (int)strcspn(at + 2, ","), at + 2);
}

/*
 * The client's half; returns what the server said to the proof. `salt_out` gets the server-first message's s=.
 */
static enum pn_auth_result scram(const char *name, const char *password, char salt_out[256])
{
	char bare[300], first[320], nonce[256], iterations[256], without_proof[512], auth_message[1600], proof[64],
	    final[700];
	struct pn_sasl_scram_key key = { 0 };
	struct harness_client c;

	snprintf(bare, sizeof(bare), "n=%s,r=rOprNGfwEbeRWgbNEkqO", name);
	snprintf(first, sizeof(first), "y,,%s", bare);
	harness_start(&c, fx.auth, &fx.loop, "SCRAM-SHA-256", first, strlen(first));
	assert_int_equal(c.result, PN_AUTH_CHALLENGE);
	attribute(c.data, 'r', nonce);
	attribute(c.data, 's', salt_out);
	attribute(c.data, 'i', iterations);
	assert_memory_equal(nonce, "rOprNGfwEbeRWgbNEkqO", 20);
	key.iterations = (uint32_t)atoi(iterations);
	key.salt_len = (uint8_t)pn_base64_decode(key.salt, pn_slice_str(salt_out));
	snprintf(without_proof, sizeof(without_proof), "c=eSws,r=%s", nonce);
	snprintf(auth_message, sizeof(auth_message), "%s,%s,%s", bare, c.data, without_proof);

	uint8_t salted[32], client_key[32], signature[32];
	assert_int_equal(
	    pn_pbkdf2_sha256(salted, pn_slice_str(password), pn_slice(key.salt, key.salt_len), key.iterations), 0);
	pn_hmac_sha256(client_key, pn_slice(salted, 32), PN_SLICE_LIT("Client Key"));
	pn_sha256(key.stored_key, pn_slice(client_key, 32));
	pn_hmac_sha256(signature, pn_slice(key.stored_key, 32), pn_slice_str(auth_message));
	for (size_t i = 0; i < 32; i++)
		client_key[i] ^= signature[i];
	proof[pn_base64_encode(proof, pn_slice(client_key, 32))] = '\0';
	snprintf(final, sizeof(final), "%s,p=%s", without_proof, proof);
	harness_respond(&c, final, strlen(final));
	if (c.result == PN_AUTH_CHALLENGE) {
		assert_memory_equal(c.data, "v=", 2);
		harness_respond(&c, NULL, 0);
	} else {
		assert_string_equal(c.data, "e=invalid-proof");
	}
	enum pn_auth_result result = c.result;
	harness_end(&c);
	return result;
}

static void test_scram(void **state)
{
	char salt[256], again[256];
	(void)state;
	start_auth();
	assert_string_equal(pn_auth_mechanisms(fx.auth), "SCRAM-SHA-256 PLAIN LOGIN");
	assert_int_equal(scram("tim@example.org", TIM_PASSWORD, salt), PN_AUTH_OK);
	assert_int_equal(scram("TIM@example.org", TIM_PASSWORD, salt), PN_AUTH_OK);
	assert_int_equal(scram("scram@example.org", TIM_PASSWORD, salt), PN_AUTH_OK);
	assert_int_equal(scram("tim@example.org", "wrong", salt), PN_AUTH_BAD);
	assert_int_equal(scram("out@example.org", TIM_PASSWORD, salt), PN_AUTH_BAD);
	assert_int_equal(scram("nobody@example.org", TIM_PASSWORD, salt), PN_AUTH_BAD);
	assert_int_equal(scram("nobody@example.org", TIM_PASSWORD, again), PN_AUTH_BAD);
	assert_string_equal(salt, again);
	assert_int_equal(strlen(salt), 24); /* as long as real ones */
	/* No helper had anything to do. */
	assert_int_equal(harness_counter("hashes"), 0);

	/* The same salt after a restart. */
	pn_auth_free(fx.auth);
	start_auth();
	assert_int_equal(scram("nobody@example.org", TIM_PASSWORD, again), PN_AUTH_BAD);
	assert_string_equal(salt, again);
}

static void test_what_is_offered(void **state)
{
	static const struct { bool plain, login; int scram; bool all_have_keys; const char *offered; } cases[] = {
		{ true, true, PN_SCRAM_AUTO, true, "SCRAM-SHA-256 PLAIN LOGIN" },
		{ true, true, PN_SCRAM_AUTO, false, "PLAIN LOGIN" },
		{ true, true, PN_SCRAM_ON, false, "SCRAM-SHA-256 PLAIN LOGIN" },
		{ true, true, PN_SCRAM_OFF, true, "PLAIN LOGIN" },
		{ true, false, PN_SCRAM_AUTO, true, "SCRAM-SHA-256 PLAIN" },
		{ false, true, PN_SCRAM_AUTO, true, "SCRAM-SHA-256 LOGIN" },
		{ false, false, PN_SCRAM_AUTO, true, "SCRAM-SHA-256" },
		{ false, false, PN_SCRAM_AUTO, false, "" },
		{ true, false, PN_SCRAM_OFF, true, "PLAIN" },
		{ false, true, PN_SCRAM_OFF, true, "LOGIN" },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct harness_client c;

		write_users(!cases[i].all_have_keys);
		fx.settings.has_plain = cases[i].plain;
		fx.settings.has_login = cases[i].login;
		fx.settings.scram = cases[i].scram == PN_SCRAM_ON    ? PN_SCRAM_ON
		                    : cases[i].scram == PN_SCRAM_OFF ? PN_SCRAM_OFF
		                                                     : PN_SCRAM_AUTO;
		start_auth();
		assert_string_equal(pn_auth_mechanisms(fx.auth), cases[i].offered);
		/* What is not offered is not taken. */
		static const char *const all[] = { "SCRAM-SHA-256", "PLAIN", "LOGIN" };
		for (size_t k = 0; k < PN_ARRAY_SIZE(all); k++) {
			bool is_offered = strstr(cases[i].offered, all[k]) != NULL;
			harness_start(&c, fx.auth, &fx.loop, all[k], NULL, 0);
			assert_int_equal(c.result, is_offered ? PN_AUTH_CHALLENGE : PN_AUTH_UNSUPPORTED);
			harness_end(&c);
		}
		pn_auth_free(fx.auth);
		fx.auth = NULL;
	}
	/* Nobody there: SCRAM would help nobody. */
	harness_file_write(&fx.file, "# nobody yet\n");
	fx.settings.has_login = false;
	fx.settings.scram = PN_SCRAM_AUTO;
	start_auth();
	assert_string_equal(pn_auth_mechanisms(fx.auth), "");
	/* A user without key under SCRAM_ON is like an unknown one. */
	pn_auth_free(fx.auth);
	write_users(true);
	fx.settings.scram = PN_SCRAM_ON;
	start_auth();
	char salt[256];
	assert_int_equal(scram("plain@example.org", TIM_PASSWORD, salt), PN_AUTH_BAD);
}

static void test_cache_saves_hashing(void **state)
{
	(void)state;
	start_auth();
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_int_equal(harness_counter("hashes"), 1);
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_int_equal(harness_counter("hashes"), 1);
	assert_int_equal(harness_counter("cache_hits"), 2);
	/* Wrong ones are never remembered. */
	assert_plain("tim@example.org", "wrong", PN_AUTH_BAD);
	assert_plain("tim@example.org", "wrong", PN_AUTH_BAD);
	assert_plain("nobody@example.org", TIM_PASSWORD, PN_AUTH_BAD);
	assert_plain("nobody@example.org", TIM_PASSWORD, PN_AUTH_BAD);
	assert_int_equal(harness_counter("hashes"), 5);
	assert_int_equal(harness_counter("cache_hits"), 2);

	/* Without a cache every one is hashed. */
	pn_auth_free(fx.auth);
	fx.settings.cache_entries_max = 0;
	start_auth();
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_int_equal(harness_counter("hashes"), 2);
}

static void reload_must_work(void)
{
	struct pn_error err = { "" };
	if (pn_auth_reload(fx.auth, &err) != 0)
		fail_msg("%s", err.text);
}

static void test_reload(void **state)
{
	char text[1024];
	struct pn_error err;
	struct harness_client c;
	static const char message[] = "\0tim@example.org\0" TIM_PASSWORD;

	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "PLAIN", message, sizeof(message) - 1);
	assert_int_equal(harness_wait(&c, &fx.loop), PN_AUTH_OK);

	/* The same password under another salt: the cached credential does not count any more. */
	snprintf(text, sizeof(text), "tim@example.org:%s\n", harness_hash("$6$rounds=1000$othersalt$", TIM_PASSWORD));
	harness_file_write(&fx.file, text);
	reload_must_work();
	assert_string_equal(pn_auth_mechanisms(fx.auth), "PLAIN LOGIN");
	assert_int_equal(harness_counter("users"), 1);
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_OK);
	assert_int_equal(harness_counter("hashes"), 2);

	/* Another password. */
	snprintf(text, sizeof(text), "tim@example.org:%s\n", harness_hash("$6$rounds=1000$othersalt$", "new"));
	harness_file_write(&fx.file, text);
	reload_must_work();
	assert_plain("tim@example.org", TIM_PASSWORD, PN_AUTH_BAD);
	assert_plain("tim@example.org", "new", PN_AUTH_OK);

	/* A bad file changes nothing, and says where it is bad. */
	harness_file_write(&fx.file, "tim@example.org:*\nbob\n");
	assert_true(pn_auth_reload(fx.auth, &err) < 0);
	assert_non_null(strstr(err.text, "/users:2: no password field"));
	assert_true(pn_auth_reload(fx.auth, NULL) < 0);
	assert_plain("tim@example.org", "new", PN_AUTH_OK);
	assert_int_equal(harness_counter("reloads"), 2);
	assert_int_equal(harness_counter("reload_failures"), 2);

	/* Who logged in before is still who it was. */
	assert_true(pn_auth_user_may_send_as(c.user, PN_SLICE_LIT("any@example.net")));
	harness_end(&c);
}

static void wait_for_counter(const char *name, uint64_t value)
{
	for (int i = 0; i < 3000 && harness_counter(name) != value; i++)
		usleep(10000);
	assert_int_equal(harness_counter(name), value);
}

static void test_file_is_watched(void **state)
{
	(void)state;
	fx.settings.reload_check_s = 1;
	start_auth();
	assert_int_equal(harness_counter("users"), 3);
	harness_file_write(&fx.file, "only:*\n");
	wait_for_counter("reloads", 1);
	assert_int_equal(harness_counter("users"), 1);

	/* A bad version, or none, changes nothing and is looked at once. */
	harness_file_write(&fx.file, "only:*\nmistake\n");
	wait_for_counter("reload_failures", 1);
	usleep(2500000);
	assert_int_equal(harness_counter("reload_failures"), 1);
	assert_int_equal(unlink(fx.file.path), 0);
	wait_for_counter("reload_failures", 2);
	usleep(1500000);
	assert_int_equal(harness_counter("reload_failures"), 2);
	assert_int_equal(harness_counter("users"), 1);
	write_users(true);
	wait_for_counter("reloads", 2);
	assert_int_equal(harness_counter("users"), 4);
}

static void test_bad_start(void **state)
{
	struct pn_error err = { "" };

	(void)state;
	harness_file_write(&fx.file, "tim:{PLAIN}secret\n");
	assert_null(pn_auth_new(&fx.settings, &err));
	assert_non_null(strstr(err.text, "/users:1: the password scheme {PLAIN} is not supported"));
	assert_null(strstr(err.text, "secret"));
	fx.settings.user_file = "/tmp/postern-no-such-dir/users";
	assert_null(pn_auth_new(&fx.settings, &err));
	assert_non_null(strstr(err.text, "cannot open the user file"));
	assert_int_equal(pn_auth_check_file(fx.settings.user_file, NULL), 1);
	assert_int_equal(pn_auth_check_file(fx.file.path, NULL), 1);
	write_users(true);
	assert_int_equal(pn_auth_check_file(fx.file.path, NULL), 0);
	pn_auth_free(NULL);
}

/* One slow hash for the one helper, so that the rest stays in the queue. */
static void start_slow(uint32_t queue_max)
{
	char text[1024];

	fx.settings.helper_threads = 1;
	fx.settings.helper_queue_max = queue_max;
	fx.settings.cache_entries_max = 0;
	snprintf(text, sizeof(text), "slow:%s\n", harness_hash("$6$rounds=300000$salt$", "p"));
	harness_file_write(&fx.file, text);
	start_auth();
}

static void test_full_queue_is_a_temporary_failure(void **state)
{
	struct harness_client c[12];
	unsigned refused = 0, right = 0;

	(void)state;
	start_slow(3); /* four jobs: one at the helper, three waiting */
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		harness_start(&c[i], fx.auth, &fx.loop, "PLAIN", "\0slow\0p", 7);
	/* No result has been run on this loop, so every job is still taken. */
	assert_int_equal(pn_auth_inflight(fx.auth), 4);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++) {
		enum pn_auth_result result = harness_wait(&c[i], &fx.loop);
		refused += result == PN_AUTH_TEMPFAIL;
		right += result == PN_AUTH_OK;
		assert_int_equal(c[i].calls, 1);
		harness_end(&c[i]);
	}
	assert_int_equal(right, 4);
	assert_int_equal(refused, 8);
	assert_int_equal(harness_counter("queue_full"), 8);
	assert_int_equal(harness_counter("tempfail"), 8);
	/* There is room again. */
	assert_plain("slow", "p", PN_AUTH_OK);
}

static void wait_until_quiet(void)
{
	for (int i = 0; i < 6000 && pn_auth_inflight(fx.auth) > 0; i++)
		usleep(10000);
	assert_int_equal(pn_auth_inflight(fx.auth), 0);
}

/*
 * Freed while it waits, while it is worked on, and when its result lies on the loop: the callback never comes.
 */
static void test_exchange_freed_in_flight(void **state)
{
	struct harness_client c[4], last;

	(void)state;
	start_slow(8);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		harness_start(&c[i], fx.auth, &fx.loop, "PLAIN", "\0slow\0p", 7);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++) {
		harness_end(&c[i]);
		assert_false(c[i].is_called);
	}
	harness_start(&last, fx.auth, &fx.loop, "PLAIN", "\0slow\0p", 7);
	assert_int_equal(harness_wait(&last, &fx.loop), PN_AUTH_OK);
	harness_end(&last);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		assert_int_equal(c[i].calls, 0);
	wait_until_quiet();
	assert_int_equal(harness_counter("cancelled"), 4);
	/* The helper skipped what it had not begun. */
	assert_in_range(harness_counter("hashes"), 1, 2);

	harness_start(&c[0], fx.auth, &fx.loop, "PLAIN", "\0slow\0p", 7);
	for (int i = 0; i < 6000 && sem_trywait(&fx.loop.posted) != 0; i++)
		usleep(10000);
	sem_post(&fx.loop.posted);
	assert_int_equal(pn_auth_inflight(fx.auth), 1); /* the result lies there */
	harness_end(&c[0]);
	harness_loop_run_one(&fx.loop);
	assert_int_equal(c[0].calls, 0);
	wait_until_quiet();
}

/* The end comes with results lying on a loop that never runs again, and with work detached. */
static void test_free_with_work_left(void **state)
{
	struct harness_client c[6];

	(void)state;
	start_slow(8);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		harness_start(&c[i], fx.auth, &fx.loop, "PLAIN", "\0slow\0p", 7);
	for (size_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		harness_end(&c[i]);
	pn_auth_free(fx.auth);
	fx.auth = NULL;
	assert_int_equal(c[5].calls, 0);
}

static void test_exchange_freed_between_messages(void **state)
{
	struct harness_client c;

	(void)state;
	start_auth();
	harness_start(&c, fx.auth, &fx.loop, "LOGIN", NULL, 0);
	harness_respond(&c, "tim@example.org", 15);
	harness_end(&c);
	harness_start(&c, fx.auth, &fx.loop, "SCRAM-SHA-256", "n,,n=tim@example.org,r=abc", 26);
	assert_int_equal(c.result, PN_AUTH_CHALLENGE);
	harness_end(&c);
	pn_auth_exchange_free(NULL);
	assert_int_equal(harness_counter("cancelled"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_fixture, drop_fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_plain),
		T(test_user_that_comes_back),
		T(test_plain_in_two_steps_and_authzid),
		T(test_login),
		T(test_malformed_and_unsupported),
		T(test_scram),
		T(test_what_is_offered),
		T(test_cache_saves_hashing),
		T(test_reload),
		T(test_file_is_watched),
		T(test_bad_start),
		T(test_full_queue_is_a_temporary_failure),
		T(test_exchange_freed_in_flight),
		T(test_free_with_work_left),
		T(test_exchange_freed_between_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
