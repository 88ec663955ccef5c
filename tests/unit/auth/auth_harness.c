/* SPDX-License-Identifier: ISC */
/* auth_harness.c - see auth_harness.h. */
#include <crypt.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/user.h"
#include "auth_harness.h"

void harness_loop_init(struct pn_loop *loop)
{
	pn_mpsc_init(&loop->tasks);
	sem_init(&loop->posted, 0, 0);
}

void harness_loop_deinit(struct pn_loop *loop)
{
	sem_destroy(&loop->posted);
}

/* Takes the place of the real one (src/net), whose object is then not linked. */
void pn_loop_post(struct pn_loop *loop, struct pn_task *task)
{
	if (pn_mpsc_push(&loop->tasks, &task->node))
		sem_post(&loop->posted);
}

void harness_loop_run_one(struct pn_loop *loop)
{
	while (sem_wait(&loop->posted) != 0)
		PN_ASSERT(errno == EINTR);
	struct pn_mpsc_node *node = pn_mpsc_take_all(&loop->tasks);
	while (node) {
		struct pn_task *task = pn_container_of(node, struct pn_task, node);
		node = node->next;
		task->fn(loop, task);
	}
}

void harness_loop_run(struct pn_loop *loop, const bool *is_done)
{
	while (!*is_done)
		harness_loop_run_one(loop);
}

void harness_file_init(struct harness_file *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/postern-auth-XXXXXX");
	PN_ASSERT(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/users", f->dir);
}

void harness_file_deinit(struct harness_file *f)
{
	unlink(f->path);
	PN_ASSERT(rmdir(f->dir) == 0);
}

void harness_file_write(const struct harness_file *f, const char *text)
{
	char temp[128];

	snprintf(temp, sizeof(temp), "%s.new", f->path);
	FILE *out = fopen(temp, "w");
	PN_ASSERT(out && fputs(text, out) >= 0 && fclose(out) == 0);
	PN_ASSERT(rename(temp, f->path) == 0);
}

static void on_result(void *ctx, enum pn_auth_result result, struct pn_slice data, struct pn_auth_user *user)
{
	struct harness_client *c = ctx;

	PN_ASSERT(data.len < sizeof(c->data));
	PN_ASSERT((user != NULL) == (result == PN_AUTH_OK));
	c->is_called = true;
	c->calls++;
	c->result = result;
	c->user = user;
	c->data_len = data.len;
	if (data.len != 0)
		memcpy(c->data, data.ptr, data.len);
	c->data[data.len] = '\0';
}

void harness_start(struct harness_client *c, struct pn_auth *auth, struct pn_loop *loop, const char *mechanism,
                   const void *initial, size_t len)
{
	*c = (struct harness_client){ .ex = NULL };
	c->ex = pn_auth_exchange_start(auth, loop, pn_slice_str(mechanism), initial != NULL, pn_slice(initial, len),
	                               on_result, c);
	PN_ASSERT(c->ex);
}

void harness_respond(struct harness_client *c, const void *response, size_t len)
{
	c->is_called = false;
	pn_auth_exchange_respond(c->ex, pn_slice(response, len));
}

enum pn_auth_result harness_wait(struct harness_client *c, struct pn_loop *loop)
{
	harness_loop_run(loop, &c->is_called);
	return c->result;
}

void harness_end(struct harness_client *c)
{
	pn_auth_exchange_free(c->ex);
	c->ex = NULL;
	pn_auth_user_unref(c->user);
	c->user = NULL;
}

enum pn_auth_result harness_plain(struct pn_auth *auth, struct pn_loop *loop, const char *name, const char *password)
{
	struct harness_client c;
	char message[600];
	int len = snprintf(message, sizeof(message), "%c%s%c%s", 0, name, 0, password);

	harness_start(&c, auth, loop, "PLAIN", message, (size_t)len);
	enum pn_auth_result result = harness_wait(&c, loop);
	harness_end(&c);
	return result;
}

struct wanted {
	const char *name;
	uint64_t value;
	unsigned found;
};

static void look_at_block(const struct pn_counter_block *block, void *ctx)
{
	struct wanted *w = ctx;

	if (strcmp(block->scope, "auth") != 0)
		return;
	for (size_t i = 0; i < block->count; i++) {
		if (strcmp(block->names[i], w->name) == 0) {
			w->value = pn_counter_get(&block->values[i]);
			w->found++;
		}
	}
}

uint64_t harness_counter(const char *name)
{
	struct wanted w = { .name = name };

	pn_counters_for_each(look_at_block, &w);
	PN_ASSERT(w.found == 1);
	return w.value;
}

const char *harness_hash(const char *setting, const char *password)
{
	static struct crypt_data data;
	const char *hash = crypt_rn(password, setting, &data, (int)sizeof(data));

	PN_ASSERT(hash);
	return hash;
}

void harness_scram_text(char out[512], const char *password, uint32_t iterations)
{
	struct pn_sasl_scram_key key = { .iterations = iterations, .salt_len = 16, .salt = "0123456789abcdef" };

	PN_ASSERT(pn_scram_derive(&key, pn_slice_str(password)));
	strcpy(out, "{SCRAM-SHA-256}");
	pn_scheme_format_scram(out + strlen(out), &key);
}
