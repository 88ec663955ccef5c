/* SPDX-License-Identifier: ISC */
/* users.c - see users.h. */
#include "users.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/secret.h>

#define LINE_MAX_BYTES 1024

static int add(struct pn_bench_users *u, const char *name, const char *password)
{
	struct pn_bench_user *list = reallocarray(u->list, u->count + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	u->list = list;
	list[u->count] =
		(struct pn_bench_user){ .name = strdup(name), .password = strdup(password) };
	u->count++;
	return list[u->count - 1].name && list[u->count - 1].password ? 0 : -ENOMEM;
}

static FILE *open_file(const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f)
		fprintf(stderr, "postern-bench: %s: %s\n", path, strerror(errno));
	return f;
}

int pn_bench_users_one(struct pn_bench_users *u, const char *name, const char *password_path)
{
	char line[LINE_MAX_BYTES] = "";
	FILE *f = open_file(password_path);
	int r = -EINVAL;

	if (!f)
		return r;
	if (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = '\0';
		r = strlen(name) <= PN_BENCH_USER_NAME_MAX ? add(u, name, line) : -EINVAL;
	}
	if (r < 0)
		fprintf(stderr, "postern-bench: cannot read a password from %s\n", password_path);
	(void)fclose(f);
	pn_wipe(line, sizeof(line));
	return r;
}

int pn_bench_users_read(struct pn_bench_users *u, const char *path)
{
	char line[LINE_MAX_BYTES];
	FILE *f = open_file(path);
	unsigned number = 0;
	int r = f ? 0 : -EINVAL;

	while (r == 0 && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');
		number++;
		line[strcspn(line, "\r\n")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		if (!colon || colon == line || !colon[1] || colon - line > PN_BENCH_USER_NAME_MAX) {
			fprintf(stderr, "postern-bench: %s:%u: not user:password\n", path, number);
			r = -EINVAL;
			break;
		}
		*colon = '\0';
		r = add(u, line, colon + 1);
	}
	if (f)
		(void)fclose(f);
	pn_wipe(line, sizeof(line));
	if (r == 0 && u->count == 0) {
		fprintf(stderr, "postern-bench: %s: no users in it\n", path);
		r = -EINVAL;
	}
	return r;
}

void pn_bench_users_deinit(struct pn_bench_users *u)
{
	for (size_t i = 0; i < u->count; i++) {
		free(u->list[i].name);
		free(u->list[i].password);
	}
	free(u->list);
	memset(u, 0, sizeof(*u));
}

struct pn_bench_user *pn_bench_users_take(struct pn_bench_users *u)
{
	return u->count > 0 ? &u->list[u->next++ % u->count] : NULL;
}

bool pn_bench_auth_parse(const char *text, enum pn_smtp_client_auth *ret)
{
	static const struct {
		const char *name;
		enum pn_smtp_client_auth auth;
	} table[] = {
		{ "any", PN_CLIENT_AUTH_ANY },
		{ "plain", PN_CLIENT_AUTH_PLAIN },
		{ "login", PN_CLIENT_AUTH_LOGIN },
		{ "scram-sha-256", PN_CLIENT_AUTH_SASL },
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(table); i++) {
		if (strcmp(text, table[i].name) == 0) {
			*ret = table[i].auth;
			return true;
		}
	}
	return false;
}
