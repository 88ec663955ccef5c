/* SPDX-License-Identifier: ISC */
/*
 * cli.c - `postern user add|passwd|list|remove`.
 *
 * The password is asked for before the lock is taken, so that nobody waits for somebody's typing. A new line is
 * run through the reader's own parser before it is written. Neither passwords nor hashes are ever printed.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>
#include <postern/base/secret.h>

#include "auth/cli.h"
#include "auth/saslprep.h"
#include "auth/user_file.h"

enum { EXIT_USAGE = 64 };

struct request {
	const char *command;
	const char *file;
	const char *raw_name;
	const char *addresses; /* NULL: not given; "": none */
	const char *domains;
	bool has_password_stdin;
	char name[PN_SASL_NAME_MAX + 1]; /* prepared */
	size_t name_len;
};

static void print_usage(FILE *out)
{
	fputs("Usage: postern user add NAME [--addresses A,B] [--domains D,E] [--password-stdin]\n"
	      "       postern user passwd NAME [--addresses A,B] [--domains D,E] [--password-stdin]\n"
	      "       postern user remove NAME\n"
	      "       postern user list\n"
	      "NAME is what the user logs in with, and may send as when it is an address.\n"
	      "  --addresses A,B    addresses that the user may send as besides\n"
	      "  --domains D,E      domains whose every address the user may send as\n"
	      "  --password-stdin   read the password from standard input instead of asking\n"
	      "  -c FILE            take the user file that this configuration names\n"
	      "  -f FILE            the user file\n"
	      "A running gateway sees the change by itself (auth.reload_check_s), or after postern reload.\n"
	      "Exit codes: 0 done, 1 failed, 64 wrong usage, 78 the configuration of -c cannot be read\n",
	      out);
}

static int usage(const char *problem)
{
	fprintf(stderr, "postern user: %s\n", problem);
	print_usage(stderr);
	return EXIT_USAGE;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	}
	return argc > 0 && strcmp(argv[0], "help") == 0;
}

static int fail(const struct pn_error *err)
{
	fprintf(stderr, "postern user: %s\n", err->text);
	return EXIT_FAILURE;
}

static bool parse_options(struct request *q, int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "addresses", required_argument, NULL, 'a' },
		{ "domains", required_argument, NULL, 'd' },
		{ "password-stdin", no_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0; /* glibc: start anew, whatever the caller parsed before */
	opterr = 0;
	while ((c = getopt_long(argc, argv, "f:", options, NULL)) != -1) {
		if (c == 'f')
			q->file = optarg;
		else if (c == 'a')
			q->addresses = optarg;
		else if (c == 'd')
			q->domains = optarg;
		else if (c == 'p')
			q->has_password_stdin = true;
		else
			return false;
	}
	if (optind < argc)
		q->raw_name = argv[optind++];
	return optind == argc;
}

/* Names that could not be written into the file, or not be found in it again. */
static int check_name(struct request *q, struct pn_error *err)
{
	size_t raw_len = strlen(q->raw_name);
	ptrdiff_t len = raw_len <= PN_SASL_NAME_MAX
	                    ? pn_saslprep_stored(q->name, PN_SASL_NAME_MAX, pn_slice(q->raw_name, raw_len))
	                    : -EINVAL;
	if (len <= 0)
		return pn_error_set(err,
		                    "the name is empty, longer than %d octets, not UTF-8, or has characters that "
		                    "SASLprep (RFC 4013) "
		                    "prohibits",
		                    PN_SASL_NAME_MAX);
	q->name[len] = '\0';
	q->name_len = (size_t)len;
	if (strpbrk(q->name, ": \t") || q->name[0] == '#')
		return pn_error_set(err, "a name has no colon and no blank, and does not start with '#'");
	if (strchr(q->name, '@') && !pn_user_is_address(pn_slice(q->name, q->name_len)))
		return pn_error_set(err, "a name with '@' is an address such as tim@example.org");
	return 0;
}

/* A blank inside would end the field and begin another. Empty: the field goes. */
static int check_list(const char *option, const char *list, bool (*is_item)(struct pn_slice), struct pn_error *err)
{
	size_t count;

	if (!list || *list == '\0' || pn_user_is_list(pn_slice_str(list), is_item, &count))
		return 0;
	return pn_error_set(err, "%s takes a list such as %s", option,
	                    is_item == pn_user_is_address ? "a@example.org,b@example.org"
	                                                  : "example.org,example.net");
}

static void put_field(FILE *out, bool *is_first, const char *key, const char *value)
{
	if (!value || *value == '\0')
		return;
	fprintf(out, "%s%s%s", *is_first ? "" : " ", key, value);
	*is_first = false;
}

/* The old extra fields but for those that are set anew. */
static void put_kept_fields(FILE *out, bool *is_first, const struct request *q, struct pn_slice extra)
{
	while (extra.len != 0) {
		const uint8_t *blank = memchr(extra.ptr, ' ', extra.len);
		struct pn_slice field = blank ? pn_slice(extra.ptr, (size_t)(blank - extra.ptr)) : extra;
		pn_slice_advance(&extra, field.len + (blank ? 1 : 0));
		if (pn_slice_starts_nocase(field, PN_SLICE_LIT("postern_scram=")) ||
		    (q->addresses && pn_slice_starts_nocase(field, PN_SLICE_LIT("postern_addresses="))) ||
		    (q->domains && pn_slice_starts_nocase(field, PN_SLICE_LIT("postern_domains="))))
			continue;
		fprintf(out, "%s%.*s", *is_first ? "" : " ", (int)field.len, (const char *)field.ptr);
		*is_first = false;
	}
}

/*
 * Writes the line of the user with LF. `old` is NULL for a new one. The caller frees and wipes. NULL with err.
 */
static char *make_line(const struct request *q, const struct pn_user_fields *old,
                       const struct pn_cli_secrets *secrets, struct pn_error *err)
{
	char *line = NULL;
	size_t len = 0;
	bool is_first = true;
	FILE *out = open_memstream(&line, &len);

	if (!out) {
		pn_error_set(err, "out of memory");
		return NULL;
	}
	if (old)
		fwrite(old->name.ptr, 1, old->name.len, out);
	else
		fputs(q->name, out);
	fprintf(out, ":%s:", secrets->hash);
	unsigned middle_fields = old && old->count > 2 ? old->count - 2 : 0;
	if (old && old->middle.len != 0)
		fwrite(old->middle.ptr, 1, old->middle.len, out);
	/* uid, gid, gecos, home and shell, whether they are there or not, and the colon before extra. */
	for (unsigned i = middle_fields > 5 ? 5 : middle_fields; i < 5; i++)
		fputs(i == 0 ? "" : ":", out);
	fputs(":", out);
	if (old)
		put_kept_fields(out, &is_first, q, old->extra);
	put_field(out, &is_first, "postern_scram=", secrets->scram);
	put_field(out, &is_first, "postern_addresses=", q->addresses);
	put_field(out, &is_first, "postern_domains=", q->domains);
	fputs("\n", out);
	if (fclose(out) != 0) {
		free(line);
		pn_error_set(err, "out of memory");
		return NULL;
	}
	struct pn_auth_user *u = len - 1 <= PN_USER_LINE_MAX ? pn_user_parse_line(pn_slice(line, len - 1), 1, err)
	                                                     : NULL;
	if (!u) {
		if (len - 1 > PN_USER_LINE_MAX)
			pn_error_set(err, "the lists are too long for one line of %d octets; use --domains",
			             PN_USER_LINE_MAX);
		pn_wipe(line, len);
		free(line);
		return NULL;
	}
	pn_auth_user_unref(u);
	return line;
}

/* The line that keeps made-up salts the same over restarts; empty when the file has one. */
static void make_seed_line(const struct pn_user_edit *e, char *out, size_t size)
{
	uint8_t seed[PN_SCRAM_SEED_LEN];
	char text[PN_BASE64_ENCODED_SIZE(PN_SCRAM_SEED_LEN) + 1];

	out[0] = '\0';
	if (pn_user_edit_has_seed(e))
		return;
	pn_random_bytes(seed, sizeof(seed));
	text[pn_base64_encode(text, pn_slice(seed, sizeof(seed)))] = '\0';
	snprintf(out, size, "%s%s\n", PN_SCRAM_SEED_PREFIX, text);
	pn_wipe(seed, sizeof(seed));
}

static int add_locked(struct pn_user_edit *e, const struct request *q, const struct pn_cli_secrets *secrets,
                      struct pn_error *err)
{
	struct pn_slice found;
	char front[160] = "";
	int result = -1;

	if (pn_user_edit_find(e, pn_slice(q->name, q->name_len), &found))
		return pn_error_set(err, "%s exists already in %s; 'postern user passwd' changes the password",
		                    q->name, e->path);
	char *line = make_line(q, NULL, secrets, err);
	if (!line)
		return -1;
	if (e->is_new)
		snprintf(front, sizeof(front),
		         "# Users of Postern: user:{SCHEME}hash:uid:gid:gecos:home:shell:extra\n");
	else if (e->len > 0 && e->text[e->len - 1] != '\n')
		snprintf(front, sizeof(front), "\n");
	make_seed_line(e, front + strlen(front), sizeof(front) - strlen(front));
	result = pn_user_edit_commit(e, e->len, e->len, front, line, err);
	pn_wipe(line, strlen(line));
	free(line);
	return result;
}

static int passwd_locked(struct pn_user_edit *e, const struct request *q, const struct pn_cli_secrets *secrets,
                         struct pn_error *err)
{
	struct pn_slice found;
	struct pn_user_fields old;
	char seed[96];

	if (!pn_user_edit_find(e, pn_slice(q->name, q->name_len), &found) || !pn_user_split_line(found, &old))
		return pn_error_set(err, "there is no user %s in %s; 'postern user add' makes one", q->name, e->path);
	char *line = make_line(q, &old, secrets, err);
	if (!line)
		return -1;
	size_t from = (size_t)((const char *)found.ptr - e->text);
	size_t to = pn_min_size(from + found.len + 1, e->len);
	/*
	 * The tail goes behind the last line, which this commit has ended with LF only if it is the line
	 * replaced.
	 */
	bool is_open_end = to < e->len && e->text[e->len - 1] != '\n';
	char tail[sizeof(seed) + 1] = "";
	make_seed_line(e, seed, sizeof(seed));
	if (seed[0] != '\0')
		snprintf(tail, sizeof(tail), "%s%s", is_open_end ? "\n" : "", seed);
	int result = pn_user_edit_commit(e, from, to, line, tail, err);
	pn_wipe(line, strlen(line));
	free(line);
	return result;
}

static int set_password(const struct request *q, bool is_add, struct pn_error *err)
{
	char password[PN_CLI_PASSWORD_SIZE];
	struct pn_cli_secrets secrets;
	struct pn_user_edit e;

	int result = pn_cli_read_password(q->has_password_stdin, password, err);
	if (result == 0)
		result = pn_cli_make_secrets(password, &secrets, err);
	pn_wipe(password, sizeof(password));
	if (result == 0) {
		result = pn_user_edit_open(&e, q->file, is_add, err);
		if (result == 0)
			result = is_add ? add_locked(&e, q, &secrets, err) : passwd_locked(&e, q, &secrets, err);
		pn_user_edit_close(&e);
	}
	pn_wipe(&secrets, sizeof(secrets));
	return result;
}

static int remove_user(const struct request *q, struct pn_error *err)
{
	struct pn_user_edit e;
	struct pn_slice found;
	int result = pn_user_edit_open(&e, q->file, false, err);

	if (result == 0 && !pn_user_edit_find(&e, pn_slice(q->name, q->name_len), &found))
		result = pn_error_set(err, "there is no user %s in %s", q->name, e.path);
	else if (result == 0) {
		size_t from = (size_t)((const char *)found.ptr - e.text);
		result = pn_user_edit_commit(&e, from, pn_min_size(from + found.len + 1, e.len), "", "", err);
	}
	pn_user_edit_close(&e);
	return result;
}

static int by_line(const void *a, const void *b)
{
	const struct pn_auth_user *x = *(struct pn_auth_user *const *)a, *y = *(struct pn_auth_user *const *)b;
	return x->line < y->line ? -1 : x->line > y->line;
}

static void print_list(const char *key, const struct pn_slice *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s%.*s", i == 0 ? key : ",", (int)items[i].len, (const char *)items[i].ptr);
}

/* NAME schemes=... addresses=... domains=..., tabs between; what is empty is left out. */
static void print_user(const struct pn_auth_user *u)
{
	const char *schemes = u->kind == PN_PASSWORD_CRYPT ? pn_scheme_crypt_name(u->stored) : "";

	printf("%.*s\t", (int)u->name.len, (const char *)u->name.ptr);
	if (u->kind == PN_PASSWORD_NONE)
		fputs("disabled", stdout);
	else
		printf("schemes=%s%s%s", schemes, *schemes && u->has_scram ? "," : "",
		       u->has_scram ? "scram-sha-256" : "");
	print_list("\taddresses=", u->addresses, u->address_count);
	print_list("\tdomains=", u->domains, u->domain_count);
	putchar('\n');
}

static int list_users(const struct request *q)
{
	struct pn_user_mistakes mistakes = { .path = q->file, .stream = stderr };
	struct pn_file_stamp stamp;
	struct pn_user_table *t = pn_user_file_read(q->file, true, &mistakes, &stamp);
	struct pn_auth_user **sorted = t ? calloc(t->count + 1, sizeof(struct pn_auth_user *)) : NULL;
	size_t count = 0;

	for (size_t i = 0; sorted && i <= t->mask; i++) {
		if (t->slots[i])
			sorted[count++] = t->slots[i];
	}
	if (sorted)
		qsort(sorted, count, sizeof(struct pn_auth_user *), by_line);
	for (size_t i = 0; i < count; i++)
		print_user(sorted[i]);
	bool is_good = sorted && mistakes.count == 0 && fflush(stdout) == 0;
	free(sorted);
	pn_user_table_free(t);
	return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_named(struct request *q, struct pn_error *err)
{
	if (check_name(q, err) != 0 || check_list("--addresses", q->addresses, pn_user_is_address, err) != 0 ||
	    check_list("--domains", q->domains, pn_user_is_domain, err) != 0)
		return -1;
	if (strcmp(q->command, "remove") == 0)
		return remove_user(q, err);
	return set_password(q, strcmp(q->command, "add") == 0, err);
}

int pn_auth_cli(int argc, char **argv, const char *default_user_file)
{
	struct request q = { .file = default_user_file };
	struct pn_error err;

	if (wants_help(argc, argv)) {
		print_usage(stdout);
		return EXIT_SUCCESS;
	}
	if (argc < 1)
		return usage("what to do?");
	q.command = argv[0];
	bool is_list = strcmp(q.command, "list") == 0, is_remove = strcmp(q.command, "remove") == 0;
	if (!is_list && !is_remove && strcmp(q.command, "add") != 0 && strcmp(q.command, "passwd") != 0)
		return usage("there are add, passwd, list and remove");
	if (!parse_options(&q, argc, argv))
		return usage("unknown option, or too many names");
	if ((is_list || is_remove) && (q.addresses || q.domains || q.has_password_stdin))
		return usage("only -f goes with list and remove");
	if (!q.file || *q.file == '\0')
		return usage("no user file; name one with -f");
	if (is_list != (q.raw_name == NULL))
		return usage(is_list ? "list takes no name" : "which user?");
	if (is_list)
		return list_users(&q);
	return run_named(&q, &err) == 0 ? EXIT_SUCCESS : fail(&err);
}
