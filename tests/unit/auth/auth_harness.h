/* SPDX-License-Identifier: ISC */
/*
 * auth_harness.h - a stand-in for the event loop, a user file in a temporary directory, and the client's side
 * of an exchange.
 */
#ifndef PN_TESTS_AUTH_HARNESS_H
#define PN_TESTS_AUTH_HARNESS_H

#include <semaphore.h>

#include <postern/auth/auth.h>
#include <postern/base/mpsc.h>

/* What pn_loop_post() of the harness posts to. */
struct pn_loop {
	struct pn_mpsc tasks;
	sem_t posted;
};
void harness_loop_init(struct pn_loop *loop);
void harness_loop_deinit(struct pn_loop *loop);
/* Runs posted tasks until *is_done; waits for them. */
void harness_loop_run(struct pn_loop *loop, const bool *is_done);
/* Waits for one post and runs what is there. */
void harness_loop_run_one(struct pn_loop *loop);

/* A temporary directory with a user file. */
struct harness_file {
	char dir[64];
	char path[96];
};
void harness_file_init(struct harness_file *f);
void harness_file_deinit(struct harness_file *f);
/* Replaces the file by one with this text, by rename. */
void harness_file_write(const struct harness_file *f, const char *text);

/* What the callback was told last. */
struct harness_client {
	struct pn_auth_exchange *ex;
	bool is_called;
	unsigned calls;
	enum pn_auth_result result;
	struct pn_auth_user *user;
	char data[512];
	size_t data_len;
};
void harness_start(struct harness_client *c, struct pn_auth *auth, struct pn_loop *loop, const char *mechanism,
                   const void *initial, size_t len); /* initial = NULL: none */
void harness_respond(struct harness_client *c, const void *response, size_t len);
/* Runs the loop until the callback has come. */
enum pn_auth_result harness_wait(struct harness_client *c, struct pn_loop *loop);
/* Frees the exchange and the user. */
void harness_end(struct harness_client *c);
/* A whole AUTH PLAIN. */
enum pn_auth_result harness_plain(struct pn_auth *auth, struct pn_loop *loop, const char *name, const char *password);

uint64_t harness_counter(const char *name); /* of the only block of scope "auth" */

#define TIM_PASSWORD "tanstaaftanstaaf"
/* Cheap hashes of TIM_PASSWORD, and a SCRAM key of it, as a user file has them. */
#define TIM_SHA512 "$6$rounds=1000$saltstring$"
const char *harness_hash(const char *setting, const char *password); /* static memory, one thread */
void harness_scram_text(char out[512], const char *password, uint32_t iterations);

#endif
