/* SPDX-License-Identifier: ISC */
/* cli.c - `postern queue`, `postern status` and `postern reload`: the control socket's client. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin_internal.h"

#define EXIT_NOT_DONE    1
#define EXIT_WRONG_USAGE 64
#define EXIT_UNREACHABLE 69
#define ANSWER_TIMEOUT_S \
	120 /* the gateway answers within a third of that, whatever the message is doing */

void pn_admin_usage(FILE *out, const char *command)
{
	bool is_status = strcmp(command, "status") == 0;

	if (strcmp(command, "queue") == 0)
		fputs("Usage: postern queue list [--limit N] [--json]\n"
		      "       postern queue show ID [--json]\n"
		      "       postern queue retry ID     try now; a held message is released\n"
		      "       postern queue hold ID      make no attempt until retry\n"
		      "       postern queue remove ID    give up the message without a report to "
		      "its sender\n"
		      "Options: -c FILE (configuration) or -s SOCKET (control socket)\n"
		      "Exit codes: 0 done, 1 no such message or refused, 64 wrong usage, 69 "
		      "gateway not reachable\n",
		      out);
	else
		fprintf(out,
			"Usage: postern %s [-c FILE | -s SOCKET] [--json]\n"
			"%s\n"
			"Options: -c FILE (configuration) or -s SOCKET (control socket); --json for programs\n"
			"Exit codes: 0 done, 64 wrong usage, 69 gateway not reachable, 78 the "
			"configuration of -c cannot be read\n",
			command,
			is_status ? "Shows limits, the spool, memory, and every counter; the "
				    "runbook (RUNBOOK.md) says what they mean."
				  : "Has the gateway read configuration, certificates and users "
				    "again. A file with "
				    "mistakes changes\nnothing. Says which keys wait for a restart.");
}

static int connect_to(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(un.sun_path)) {
		fprintf(stderr, "postern: the path of the control socket is too long: %s\n", path);
		return -1;
	}
	memcpy(un.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	int error = errno;
	if (fd >= 0)
		(void)close(fd);
	fprintf(stderr, "postern: no gateway answers on %s: %s (%s)\n", path, strerror(error),
		error == EACCES ? "only root and the service's group may"
				: "is it running? -c FILE or -s SOCKET name another one");
	return -1;
}

static size_t read_chunk(void *buffer, size_t size, void *ctx)
{
	ssize_t n = recv(*(int *)ctx, buffer, size, 0);
	return n > 0 ? (size_t)n : 0;
}

/* Sends one request, gives the answer; NULL after a message on stderr. */
static json_t *ask(const char *path, json_t *request)
{
	int fd = connect_to(path);
	char *text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	json_t *answer = NULL;
	if (fd >= 0 && text) {
		size_t len = strlen(text);
		text[len] = '\n'; /* in place of the NUL: the request is one line */
		json_error_t error;
		if (send(fd, text, len + 1, MSG_NOSIGNAL) == (ssize_t)(len + 1))
			answer = json_load_callback(read_chunk, &fd, 0, &error);
		if (!answer)
			fprintf(stderr, "postern: the gateway closed the control connection "
					"without an answer\n");
	}
	if (fd >= 0)
		(void)close(fd);
	free(text);
	return answer;
}

struct request {
	const char *command; /* on the wire */
	const char *id;
	long limit;
	bool is_json;
	void (*print)(FILE *out, const json_t *answer);
};

static int run(const char *path, const struct request *r)
{
	json_t *request = json_pack("{s:s}", "command", r->command);
	if (r->id)
		(void)json_object_set_new(request, "id", json_string(r->id));
	if (r->limit > 0)
		(void)json_object_set_new(request, "limit", json_integer(r->limit));
	json_t *answer = ask(path, request);
	if (!answer)
		return EXIT_UNREACHABLE;
	int code = json_is_true(json_object_get(answer, "ok")) ? 0 : EXIT_NOT_DONE;
	if (r->is_json) {
		(void)json_dumpf(answer, stdout, JSON_INDENT(2));
		fputc('\n', stdout);
	} else if (code != 0) {
		const char *error = json_string_value(json_object_get(answer, "error"));
		fprintf(stderr, "postern: %s\n", error ? error : "refused");
	} else if (r->print) {
		r->print(stdout, answer);
	} else {
		puts("done");
	}
	json_decref(answer);
	return code;
}

static int wrong_usage(const char *command, const char *what, const char *argument)
{
	fprintf(stderr, "postern %s: %s%s%s\n", command, what, argument ? " " : "",
		argument ? argument : "");
	pn_admin_usage(stderr, command);
	return EXIT_WRONG_USAGE;
}

/* What `queue WORD` means; NULL command: unknown. */
static struct request queue_word(const char *word)
{
	static const struct {
		const char *word;
		struct request request;
	} table[] = {
		{ "list", { .command = "queue-list", .print = pn_admin_print_list } },
		{ "show", { .command = "queue-show", .print = pn_admin_print_show } },
		{ "retry", { .command = "queue-retry" } },
		{ "hold", { .command = "queue-hold" } },
		{ "remove", { .command = "queue-remove" } },
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(table); i++) {
		if (strcmp(word, table[i].word) == 0)
			return table[i].request;
	}
	return (struct request){ 0 };
}

static int parse(const char *command, int argc, char **argv, struct request *r,
		 const char **ret_word)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			pn_admin_usage(stdout, command);
			return 0;
		}
		if (strcmp(argv[i], "--json") == 0) {
			r->is_json = true;
		} else if (strcmp(argv[i], "--limit") == 0) {
			if (i + 1 == argc)
				return wrong_usage(command, "--limit takes a positive number",
						   NULL);
			char *end = NULL;
			r->limit = strtol(argv[++i], &end, 10);
			if (end == argv[i] || *end != '\0' || r->limit < 1)
				return wrong_usage(command, "--limit takes a positive number, not",
						   argv[i]);
		} else if (argv[i][0] == '-') {
			return wrong_usage(command, "unknown option", argv[i]);
		} else if (ret_word && !*ret_word) {
			*ret_word = argv[i];
		} else if (ret_word && !r->id) {
			r->id = argv[i];
		} else {
			return wrong_usage(command, "unexpected argument", argv[i]);
		}
	}
	return -1;
}

int pn_admin_cli(const char *path, int argc, char **argv)
{
	const char *command = argv[0];
	struct request r = { 0 };
	if (strcmp(command, "queue") != 0) {
		int code = parse(command, argc, argv, &r, NULL);
		if (code >= 0)
			return code;
		r.command = command;
		r.print = strcmp(command, "status") == 0 ? pn_admin_print_status
							 : pn_admin_print_reload;
		return run(path, &r);
	}
	const char *word = NULL;
	struct request given = { 0 };
	int code = parse(command, argc, argv, &given, &word);
	if (code >= 0)
		return code;
	if (!word)
		return wrong_usage(command, "which of list, show, retry, hold, remove?", NULL);
	r = queue_word(word);
	if (!r.command)
		return wrong_usage(command, "unknown word", word);
	bool needs_id = strcmp(word, "list") != 0;
	if (needs_id != (given.id != NULL))
		return wrong_usage(command,
				   needs_id ? "a message id is missing" : "list takes no id", NULL);
	r.id = given.id;
	r.limit = given.limit;
	r.is_json = given.is_json;
	return run(path, &r);
}
