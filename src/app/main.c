/* SPDX-License-Identifier: ISC */
/* main.c - the command line: postern COMMAND [options]. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/admin/admin.h>

#include "app.h"

static void usage(FILE *out)
{
	fputs("Usage: postern COMMAND [options]\n"
	      "\n"
	      "A mail submission gateway: takes mail from authenticated users on 465 (implicit "
	      "TLS) and 587\n"
	      "(STARTTLS), keeps it safe on disk, and relays it to your mail servers.\n"
	      "\n"
	      "Commands:\n"
	      "  serve [-c FILE]            run in the foreground (SIGTERM drains and stops, "
	      "SIGHUP reloads)\n"
	      "  check [-c FILE]            report every mistake in the configuration and in the "
	      "files it names\n"
	      "  user add|passwd|list|remove [-c FILE | -f USERFILE] [NAME] ...\n"
	      "                             manage the users who may submit (postern user --help)\n"
	      "  queue list|show|retry|hold|remove [-c FILE | -s SOCKET] [--json] [ID]\n"
	      "                             look at and handle the messages that are still here\n"
	      "  status [-c FILE | -s SOCKET] [--json]\n"
	      "                             counters of loops, relay workers, upstreams and "
	      "limits\n"
	      "  reload [-c FILE | -s SOCKET]\n"
	      "                             read the configuration, certificates and users again\n"
	      "  help, --help               this text\n"
	      "  version, --version         versions of Postern and its libraries, and kernel "
	      "features\n"
	      "\n"
	      "FILE defaults to " PN_DEFAULT_CONFIG ".\n"
	      "Exit codes: 0 done, 1 failed, 64 wrong usage, 69 not reachable or address in use, "
	      "71 operating\n"
	      "system error, 78 mistakes in the configuration.\n",
	      out);
}

/* Takes "-c FILE" (or "--config FILE") out of argv, wherever it stands. Returns the new argc, or -1
 * on a missing value. */
static int take_option(int argc, char **argv, const char *short_name, const char *long_name,
		       const char **ret)
{
	int kept = 0;
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], short_name) != 0 && strcmp(argv[i], long_name) != 0) {
			argv[kept++] = argv[i];
			continue;
		}
		if (i + 1 == argc) {
			fprintf(stderr, "postern: %s needs a value\n", argv[i]);
			return -1;
		}
		*ret = argv[++i];
	}
	argv[kept] = NULL;
	return kept;
}

static void usage_of(const char *command)
{
	if (strcmp(command, "serve") == 0)
		fputs("Usage: postern serve [-c FILE]\n"
		      "Runs the gateway in the foreground. SIGTERM: no new sessions, transactions "
		      "may "
		      "end, then it stops;\n"
		      "SIGHUP: as postern reload. The log goes to stderr, or to log.file.\n"
		      "Exit codes: 0 stopped, 69 an address is in use or cannot be opened, 71 "
		      "operating "
		      "system error,\n78 mistakes in the configuration or in what it names.\n",
		      stdout);
	else
		fputs("Usage: postern check [-c FILE]\n"
		      "Reads the configuration and the certificates, keys and users that it names, "
		      "and "
		      "reports each mistake\n"
		      "with its place and what would be right; so is ktls = on where this kernel "
		      "has "
		      "no TLS.\n"
		      "Nothing is started or changed.\n"
		      "Exit codes: 0 no mistakes (there may be warnings), 78 mistakes.\n",
		      stdout);
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	}
	return false;
}

static int no_more_arguments(int argc, char **argv)
{
	if (argc <= 1)
		return 0;
	fprintf(stderr, "postern %s: unknown argument \"%s\" (postern --help)\n", argv[0], argv[1]);
	return PN_EXIT_USAGE;
}

/* Beyond reading the file: certificates are loaded and matched with their keys, the user file is
 * read, and the kernel is asked for TLS where the configuration insists on it. */
static int check_deep(const struct pn_config *c)
{
	struct pn_error err = { 0 };
	struct pn_handover h = { 0 };
	struct pn_app_settings s = { 0 };
	int mistakes = 0;
	struct pn_tls_tickets *tickets = pn_tls_tickets_new(c->tls.ticket_key_lifetime_s);
	struct pn_tls_server *server = NULL;
	if (pn_handover_collect(&h, c, &err) != 0 || !tickets ||
	    pn_app_settings_make(&s, c, &h, NULL, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		mistakes++;
	} else if (!(server = pn_app_tls_server(c, &h, tickets, &err))) {
		fprintf(stderr, "%s\n", err.text);
		mistakes++;
	}
	if (pn_app_ktls_check(c, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		mistakes++;
	}
	mistakes += pn_auth_check_file(c->auth.user_file, stderr);
	pn_tls_server_unref(server);
	pn_tls_tickets_free(tickets);
	pn_app_settings_clear(&s);
	pn_handover_clear(&h);
	return mistakes;
}

static int command_check(const char *config_path, int argc, char **argv)
{
	int code = no_more_arguments(argc, argv);
	if (code != 0)
		return code;
	struct pn_config *c = pn_config_load(config_path, true, stderr);
	if (!c)
		return PN_EXIT_CONFIG;
	int mistakes = check_deep(c);
	if (geteuid() == 0 && c->run_user[0] == '\0')
		fprintf(stderr,
			"%s: warning: run_user is not set; a gateway that is started as root needs "
			"it: "
			"adduser --system --group postern, and write run_user = \"postern\"\n",
			config_path);
	pn_config_free(c);
	if (mistakes > 0)
		return PN_EXIT_CONFIG;
	printf("%s: no mistakes found\n", config_path);
	return PN_EXIT_OK;
}

static int command_serve(const char *config_path, int argc, char **argv)
{
	int code = no_more_arguments(argc, argv);
	if (code != 0)
		return code;
#if PN_JEMALLOC
	if (!pn_jemalloc_is_active()) {
		fputs("postern: jemalloc is linked but another allocator is in front of it "
		      "(LD_PRELOAD?); remove it\n",
		      stderr);
		return PN_EXIT_FAILURE;
	}
#endif
	return pn_parent_run(config_path);
}

/*
 * What a small command wants of the configuration. Without -c a missing or broken one is no obstacle: the usual places
 * are used. With -c it is, for another gateway's socket or users may not be taken in its place: NULL and *ret_code.
 */
static struct pn_config *named_config(const char *config_path, int *ret_code)
{
	bool is_named = config_path != NULL;
	FILE *sink = is_named ? NULL : fopen("/dev/null", "w");
	struct pn_config *c = NULL;

	if (is_named || sink)
		c = pn_config_load(is_named ? config_path : PN_DEFAULT_CONFIG, false,
				   is_named ? stderr : sink);
	if (sink)
		(void)fclose(sink);
	*ret_code = is_named && !c ? PN_EXIT_CONFIG : PN_EXIT_OK;
	return c;
}

static int command_user(const char *config_path, int argc, char **argv)
{
	int code = PN_EXIT_OK;
	struct pn_config *c = wants_help(argc, argv) ? NULL : named_config(config_path, &code);
	if (code == PN_EXIT_OK)
		code = pn_auth_cli(argc - 1, argv + 1,
				   c ? c->auth.user_file : "/etc/postern/users");
	pn_config_free(c);
	return code;
}

static int command_control(const char *config_path, const char *socket_path, int argc, char **argv)
{
	int code = PN_EXIT_OK;
	bool is_needed = !socket_path && !wants_help(argc, argv);
	struct pn_config *c = is_needed ? named_config(config_path, &code) : NULL;
	if (!socket_path)
		socket_path = c ? c->control_socket : "/run/postern/control";
	if (code == PN_EXIT_OK)
		code = pn_admin_cli(socket_path, argc, argv);
	pn_config_free(c);
	return code;
}

int main(int argc, char **argv)
{
	const char *config_path = NULL;
	const char *socket_path = NULL;
	argc--;
	argv++;
	if (argc < 1) {
		usage(stderr);
		return PN_EXIT_USAGE;
	}
	const char *command = argv[0];
	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 ||
	    strcmp(command, "help") == 0) {
		usage(stdout);
		return PN_EXIT_OK;
	}
	if (strcmp(command, "--version") == 0 || strcmp(command, "version") == 0) {
		pn_version_print(stdout);
		return PN_EXIT_OK;
	}
	argc = take_option(argc, argv, "-c", "--config", &config_path);
	if (argc < 0)
		return PN_EXIT_USAGE;
	bool is_control = strcmp(command, "queue") == 0 || strcmp(command, "status") == 0 ||
			  strcmp(command, "reload") == 0;
	if (is_control) {
		argc = take_option(argc, argv, "-s", "--socket", &socket_path);
		return argc < 0 ? PN_EXIT_USAGE
				: command_control(config_path, socket_path, argc, argv);
	}
	if (strcmp(command, "user") == 0)
		return command_user(config_path, argc, argv);
	bool is_known = strcmp(command, "serve") == 0 || strcmp(command, "check") == 0;
	if (is_known && wants_help(argc, argv)) {
		usage_of(command);
		return PN_EXIT_OK;
	}
	config_path = config_path ? config_path : PN_DEFAULT_CONFIG;
	if (strcmp(command, "serve") == 0)
		return command_serve(config_path, argc, argv);
	if (strcmp(command, "check") == 0)
		return command_check(config_path, argc, argv);
	fprintf(stderr, "postern: unknown command \"%s\" (postern --help)\n", command);
	return PN_EXIT_USAGE;
}
