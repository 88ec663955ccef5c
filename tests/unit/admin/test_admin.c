/* SPDX-License-Identifier: ISC */
/*
 * test_admin.c - the control socket over a real spool and relay: what every answer contains, key by key, what nonsense
 * is answered with, and what people see of it.
 *
 * Programs read these documents: a key that is missing, of another type, or new fails here.
 */
#include "../relay/relay_harness.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "admin/admin_internal.h"

struct key {
	const char *name;
	json_type type;
};

#define TYPE_BOOL JSON_TRUE /* or JSON_FALSE */

struct admin_fixture {
	struct fixture *relay;
	struct pn_admin *admin;
	char path[108];
	int listen_fd;
	_Atomic int reloads; /* counted on the admin thread */
};

static size_t give_limits(void *ctx, struct pn_admin_limit *out, size_t max)
{
	(void)ctx;
	assert_true(max >= 2);
	out[0] =
		(struct pn_admin_limit){ "spool.queue_messages_max", 1000, 1, "relay", "deferred" };
	out[1] = (struct pn_admin_limit){ "spool.memory_max_bytes", 5, 2, NULL, NULL };
	return 2;
}

static bool on_reload(void *ctx, char **ret_text)
{
	((struct admin_fixture *)ctx)->reloads++;
	*ret_text = strdup("loops\nspool.path\n");
	return *ret_text != NULL;
}

static void give_hostname(void *ctx, char *out, size_t size)
{
	(void)ctx;
	(void)snprintf(out, size, "mx.example.org");
}

static void start_admin(struct admin_fixture *a, void *state)
{
	struct pn_error err;
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	*a = (struct admin_fixture){ .relay = state };
	harness_start(&a->relay->h);
	(void)snprintf(a->path, sizeof(a->path), "%s/control", a->relay->h.dir);
	memcpy(un.sun_path, a->path, strlen(a->path) + 1);
	a->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(a->listen_fd >= 0);
	assert_int_equal(bind(a->listen_fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(a->listen_fd, 8), 0);
	struct pn_admin_settings s = { .listen_fd = a->listen_fd,
				       .relay = a->relay->h.relay,
				       .spool = a->relay->h.spool,
				       .started_wall_ms = pn_clock_wall_ms() - 5000,
				       .version = "1.2.3",
				       .hostname = give_hostname,
				       .features = 3,
				       .limits = give_limits,
				       .reload = on_reload,
				       .reload_ctx = a };
	a->admin = pn_admin_start(&s, &err);
	assert_non_null(a->admin);
}

static void stop_admin(struct admin_fixture *a)
{
	pn_admin_stop(a->admin);
	(void)close(a->listen_fd);
	(void)unlink(a->path);
}

/* Sends octets as they are; the answer, or NULL when there is none. */
static json_t *ask(const struct admin_fixture *a, const char *request)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	json_error_t error;
	FILE *f;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, a->path, strlen(a->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 (ssize_t)strlen(request));
	(void)shutdown(fd, SHUT_WR);
	f = fdopen(fd, "r");
	assert_non_null(f);
	json_t *answer = json_loadf(f, 0, &error);
	(void)fclose(f);
	return answer;
}

static bool has_type(const json_t *value, json_type type)
{
	return type == TYPE_BOOL ? json_is_boolean(value) : json_typeof(value) == type;
}

/* Exactly these keys, each of its type. */
static void assert_keys_at(const json_t *object, const struct key *keys, size_t count,
			   const char *what)
{
	assert_true(json_is_object(object));
	for (size_t i = 0; i < count; i++) {
		const json_t *value = json_object_get(object, keys[i].name);
		if (!value || !has_type(value, keys[i].type))
			fail_msg("%s: \"%s\" is missing or of another type", what, keys[i].name);
	}
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)object, name, value)
	{
		size_t i = 0;
		while (i < count && strcmp(keys[i].name, name) != 0)
			i++;
		if (i == count)
			fail_msg("%s: \"%s\" is not in the schema", what, name);
	}
}
#define assert_keys(object, keys) \
	assert_keys_at(object, keys, sizeof(keys) / sizeof((keys)[0]), #keys)

static const struct key status_keys[] = {
	{ "ok", TYPE_BOOL },         { "version", JSON_STRING },   { "hostname", JSON_STRING },
	{ "pid", JSON_INTEGER },     { "uptime_s", JSON_INTEGER }, { "io_uring", JSON_ARRAY },
	{ "spool", JSON_OBJECT },    { "limits", JSON_OBJECT },    { "memory", JSON_OBJECT },
	{ "counters", JSON_OBJECT }, { "ktls", JSON_OBJECT },
};
static const struct key spool_keys[] = {
	{ "messages", JSON_INTEGER },     { "segments", JSON_INTEGER },
	{ "files", JSON_INTEGER },        { "disk_bytes", JSON_INTEGER },
	{ "memory_bytes", JSON_INTEGER }, { "free_bytes", JSON_INTEGER },
};
static const struct key counted_limit_keys[] = { { "max", JSON_INTEGER },
						 { "used", JSON_INTEGER },
						 { "refused", JSON_INTEGER } };
static const struct key limit_keys[] = { { "max", JSON_INTEGER }, { "used", JSON_INTEGER } };
static const struct key list_keys[] = { { "ok", TYPE_BOOL },
					{ "total", JSON_INTEGER },
					{ "messages", JSON_ARRAY } };
static const struct key item_keys[] = {
	{ "id", JSON_STRING },          { "state", JSON_STRING },
	{ "size_bytes", JSON_INTEGER }, { "received_ms", JSON_INTEGER },
	{ "attempts", JSON_INTEGER },   { "next_attempt_ms", JSON_INTEGER },
	{ "upstream", JSON_STRING },
};
static const struct key show_keys[] = {
	{ "ok", TYPE_BOOL },
	{ "id", JSON_STRING },
	{ "state", JSON_STRING },
	{ "size_bytes", JSON_INTEGER },
	{ "received_ms", JSON_INTEGER },
	{ "attempts", JSON_INTEGER },
	{ "next_attempt_ms", JSON_INTEGER },
	{ "upstream", JSON_STRING },
	{ "reverse_path", JSON_STRING },
	{ "user", JSON_STRING },
	{ "client_address", JSON_STRING },
	{ "helo", JSON_STRING },
	{ "tls_suite", JSON_STRING },
	{ "last_reply", JSON_STRING },
	{ "recipients", JSON_ARRAY },
};
static const struct key recipient_keys[] = { { "address", JSON_STRING }, { "state", JSON_STRING } };
static const struct key error_keys[] = { { "ok", TYPE_BOOL }, { "error", JSON_STRING } };

static const char *string_at(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static json_int_t integer_at(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* One message that is deferred: its recipients are 4yz at the server. */
static void send_deferred(struct admin_fixture *a, char id[PN_ID_TEXT_LEN + 1])
{
	struct harness *h = &a->relay->h;
	uint64_t before = harness_counter(h, "relay", "deferred");
	static const char *const to[] = { "ok@example.com", "defer@example.com" };
	struct harness_mail mail = { .from = "s@example.org",
				     .to = to,
				     .to_count = 2,
				     .content = PN_SLICE_LIT(SIMPLE_CONTENT) };

	harness_send(h, &mail);
	harness_wait(harness_counter(h, "relay", "deferred") > before);
	pn_id_format(id, &h->last_id);
}

static void test_status(void **state)
{
	struct admin_fixture a;
	char id[PN_ID_TEXT_LEN + 1];
	struct fixture *f = *state;

	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	start_admin(&a, f);
	send_deferred(&a, id);
	json_t *st = ask(&a, "{\"command\": \"status\"}\n");
	assert_keys(st, status_keys);
	assert_true(json_is_true(json_object_get(st, "ok")));
	assert_string_equal(string_at(st, "version"), "1.2.3");
	assert_string_equal(string_at(st, "hostname"), "mx.example.org");
	assert_int_equal(integer_at(st, "pid"), getpid());
	assert_true(integer_at(st, "uptime_s") >= 5);
	assert_int_equal(json_array_size(json_object_get(st, "io_uring")), 2);
	assert_keys(json_object_get(st, "spool"), spool_keys);
	assert_int_equal(integer_at(json_object_get(st, "spool"), "messages"), 1);
	const json_t *limits = json_object_get(st, "limits");
	const json_t *queue = json_object_get(limits, "spool.queue_messages_max");
	assert_int_equal(json_object_size(limits), 2);
	assert_keys(queue, counted_limit_keys);
	assert_int_equal(integer_at(queue, "max"), 1000);
	assert_int_equal(integer_at(queue, "used"), 1);
	assert_int_equal(integer_at(queue, "refused"), harness_counter(&f->h, "relay", "deferred"));
	assert_keys(json_object_get(limits, "spool.memory_max_bytes"), limit_keys);
	/* scope -> instance -> counter -> number */
	const char *scope, *instance, *name;
	json_t *instances, *values, *value;
	size_t count = 0;
	json_object_foreach(json_object_get(st, "counters"), scope, instances)
		json_object_foreach(instances, instance, values)
			json_object_foreach(values, name, value)
	{
		assert_true(json_is_integer(value) && json_integer_value(value) >= 0);
		count++;
	}
	assert_true(count > 50);
	static const char *const scopes[] = { "loop",  "spool",       "journal",
					      "relay", "relay_queue", "upstream" };
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++)
		assert_true(json_object_size(json_object_get(json_object_get(st, "counters"),
							     scopes[i])) > 0);
	json_decref(st);
	stop_admin(&a);
}

static void test_queue_list(void **state)
{
	struct admin_fixture a;
	char ids[3][PN_ID_TEXT_LEN + 1];
	struct fixture *f = *state;

	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	start_admin(&a, f);
	json_t *empty = ask(&a, "{\"command\": \"queue-list\"}\n");
	assert_keys(empty, list_keys);
	assert_int_equal(integer_at(empty, "total"), 0);
	assert_int_equal(json_array_size(json_object_get(empty, "messages")), 0);
	json_decref(empty);
	for (size_t i = 0; i < 3; i++)
		send_deferred(&a, ids[i]);
	json_t *list = ask(&a, "{\"command\": \"queue-list\"}\n");
	assert_keys(list, list_keys);
	assert_int_equal(integer_at(list, "total"), 3);
	const json_t *messages = json_object_get(list, "messages");
	assert_int_equal(json_array_size(messages), 3);
	for (size_t i = 0; i < 3; i++) {
		const json_t *m = json_array_get(messages, i);
		assert_keys(m, item_keys);
		assert_string_equal(string_at(m, "id"), ids[i]); /* by age */
		assert_string_equal(string_at(m, "state"), "deferred");
		assert_string_equal(string_at(m, "upstream"), ""); /* chosen by each attempt */
		assert_int_equal(integer_at(m, "attempts"), 1);
		assert_int_equal(integer_at(m, "size_bytes"), strlen(SIMPLE_CONTENT));
		assert_true(integer_at(m, "next_attempt_ms") > integer_at(m, "received_ms"));
	}
	json_decref(list);
	list = ask(&a, "{\"command\": \"queue-list\", \"limit\": 2}\n");
	assert_keys(list, list_keys);
	assert_int_equal(integer_at(list, "total"), 3);
	assert_int_equal(json_array_size(json_object_get(list, "messages")), 2);
	json_decref(list);
	stop_admin(&a);
}

static json_t *ask_about(const struct admin_fixture *a, const char *command, const char *id)
{
	char request[256];
	(void)snprintf(request, sizeof(request), "{\"command\": \"%s\", \"id\": \"%s\"}\n", command,
		       id);
	return ask(a, request);
}

static void assert_done(const struct admin_fixture *a, const char *command, const char *id)
{
	static const struct key done_keys[] = { { "ok", TYPE_BOOL } };
	json_t *answer = ask_about(a, command, id);
	assert_keys(answer, done_keys);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	json_decref(answer);
}

static void assert_refused(json_t *answer, const char *text)
{
	assert_keys(answer, error_keys);
	assert_true(json_is_false(json_object_get(answer, "ok")));
	if (!strstr(string_at(answer, "error"), text))
		fail_msg("\"%s\" does not say \"%s\"", string_at(answer, "error"), text);
	json_decref(answer);
}

/* Right after an attempt the message may still be in the worker's hands: then only what memory knows is shown. */
static json_t *show_when_readable(const struct admin_fixture *a, const char *id)
{
	json_t *m = ask_about(a, "queue-show", id);

	while (!json_object_get(m, "recipients")) {
		assert_keys_at(m, show_keys, 8, "queue-show of an unreadable message");
		json_decref(m);
		harness_nap();
		m = ask_about(a, "queue-show", id);
	}
	return m;
}

static void test_queue_show_and_actions(void **state)
{
	struct admin_fixture a;
	char id[PN_ID_TEXT_LEN + 1];
	struct fixture *f = *state;

	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	start_admin(&a, f);
	send_deferred(&a, id);
	json_t *m = show_when_readable(&a, id);
	assert_keys(m, show_keys);
	assert_string_equal(string_at(m, "id"), id);
	assert_string_equal(string_at(m, "state"), "deferred");
	assert_string_equal(string_at(m, "reverse_path"), "s@example.org");
	assert_string_equal(string_at(m, "user"), "user@example.org");
	assert_string_equal(string_at(m, "client_address"), "127.0.0.1");
	assert_string_equal(string_at(m, "helo"), "client.example.org");
	assert_true(strlen(string_at(m, "last_reply")) > 3);
	const json_t *recipients = json_object_get(m, "recipients");
	assert_int_equal(json_array_size(recipients), 2);
	for (size_t i = 0; i < 2; i++) {
		const json_t *r = json_array_get(recipients, i);
		bool is_first = strcmp(string_at(r, "address"), "ok@example.com") == 0;
		assert_keys(r, recipient_keys);
		assert_string_equal(string_at(r, "state"), is_first ? "delivered" : "pending");
	}
	json_decref(m);
	assert_done(&a, "queue-hold", id);
	m = ask_about(&a, "queue-show", id);
	assert_string_equal(string_at(m, "state"), "held");
	json_decref(m);
	assert_done(&a, "queue-retry", id);
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 2);
	assert_done(&a, "queue-remove", id);
	assert_refused(ask_about(&a, "queue-show", id), "no such message");
	assert_refused(ask_about(&a, "queue-hold", id), "no such message");
	static const struct key reload_keys[] = { { "ok", TYPE_BOOL },
						  { "needs_restart", JSON_ARRAY } };
	m = ask_about(&a, "reload", "");
	assert_keys(m, reload_keys);
	assert_true(json_is_true(json_object_get(m, "ok")));
	const json_t *keys = json_object_get(m, "needs_restart");
	assert_int_equal(json_array_size(keys), 2);
	assert_string_equal(json_string_value(json_array_get(keys, 1)), "spool.path");
	json_decref(m);
	assert_int_equal(atomic_load(&a.reloads), 1);
	stop_admin(&a);
}

static void test_nonsense_is_answered(void **state)
{
	struct admin_fixture a;
	/* PN_ADMIN_REQUEST_MAX_BYTES: what is longer is cut there, and then is no JSON. */
	static char endless[PN_ADMIN_REQUEST_MAX_BYTES + 1];

	start_admin(&a, *state);
	assert_refused(ask(&a, "\n"), "not a JSON object");
	assert_refused(ask(&a, "[]\n"), "not a JSON object");
	assert_refused(ask(&a, "{\"command\": 1}\n"), "not a JSON object");
	assert_refused(ask(&a, "{\"command\": \"queue-show\"}\n"), "needs an id");
	assert_refused(ask(&a, "{\"command\": \"queue-show\", \"id\": \"nonsense\"}\n"),
		       "26 characters");
	assert_refused(ask(&a, "{\"command\": \"no-such\", \"id\": \"x\"}\n"), "unknown command");
	memset(endless, '[', sizeof(endless) - 1);
	assert_refused(ask(&a, endless), "not a JSON object");
	json_t *answer = ask(&a, "{\"command\": \"queue-list\", \"limit\": 1000000000000}\n");
	assert_keys(answer, list_keys); /* PN_ADMIN_LIST_MAX at most */
	json_decref(answer);
	stop_admin(&a);
}

/* What `print` writes for the JSON text. */
static char *printed(void (*print)(FILE *out, const json_t *answer), const char *json)
{
	char *text = NULL;
	size_t len = 0;
	json_error_t error;
	json_t *answer = json_loads(json, 0, &error);
	FILE *out = open_memstream(&text, &len);

	assert_non_null(answer);
	assert_non_null(out);
	print(out, answer);
	(void)fclose(out);
	json_decref(answer);
	return text;
}

/* Octets that a sender or a next hop chose do not reach the administrator's terminal as commands. */
static void test_peer_text_is_printed_harmlessly(void **state)
{
	(void)state;
	char *text = printed(pn_admin_print_show,
			     "{\"id\": \"i\", \"state\": \"deferred\", \"reverse_path\": "
			     "\"a\\u001b[2Jb@example.org\", \"user\": \"u\", "
			     "\"helo\": \"h\", \"client_address\": \"c\", \"tls_suite\": \"t\", "
			     "\"last_reply\": \"450 \\u009b2J\\r\\nto  <x>\", "
			     "\"recipients\": [{\"address\": \"z\\u00e9\\u009b2J@example.org\", "
			     "\"state\": \"pending\"}]}");
	assert_non_null(strstr(text, "from          <a?[2Jb@example.org>\n"));
	assert_non_null(strstr(text, "last reply    450 ?2J??to  <x>\n"));
	assert_non_null(strstr(text, "to            <z\xc3\xa9?2J@example.org> pending\n"));
	assert_null(strchr(text, 0x1b));
	free(text);
}

static void test_lists_for_people(void **state)
{
	(void)state;
	char *text = printed(pn_admin_print_list, "{\"total\": 0, \"messages\": []}");
	assert_string_equal(text, "The queue is empty.\n");
	free(text);
	text = printed(pn_admin_print_list,
		       "{\"total\": 7, \"messages\": [{\"id\": \"abc\", \"state\": \"held\", "
		       "\"size_bytes\": 20480, \"received_ms\": 0, "
		       "\"attempts\": 2, \"next_attempt_ms\": 5, \"upstream\": \"main\"}]}");
	assert_non_null(strstr(text, "20 KiB"));
	assert_non_null(strstr(text, "7 messages, the oldest 1 shown\n"));
	free(text);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_status),
		T(test_queue_list),
		T(test_queue_show_and_actions),
		T(test_nonsense_is_answered),
		cmocka_unit_test(test_peer_text_is_printed_harmlessly),
		cmocka_unit_test(test_lists_for_people),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
