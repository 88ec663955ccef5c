/* SPDX-License-Identifier: ISC */
/*
 * main.c - postern-bench: a load generator for mail submission servers.
 *
 * It only names the commands; each of them stands in a file of its own.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <postern/base/common.h>
#include <postern/tls/tls.h>
#include <postern/version.h>

#include "command.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "handshake", pn_bench_handshake_main,
	  "TLS handshakes, full or resumed, on 465 or with STARTTLS" },
	{ "submit", pn_bench_submit_main, "log in and send messages; each is accounted for" },
	{ "idle", pn_bench_idle_main,
	  "hold logged-in connections and say what one costs in memory" },
	{ "mix", pn_bench_mix_main, "many kinds of clients at once, as a scenario file says" },
	{ "sink", pn_bench_sink_main, "a fast SMTP server that counts what arrives" },
	{ "limit", pn_bench_limit_main, "what this machine could do at best" },
	{ "micro", pn_bench_micro_main, "small pieces of the gateway in tight loops" },
	{ "compare", pn_bench_compare_main, "what changed between two results, and the noise" },
	{ "report", pn_bench_report_main, "results as one HTML page" },
};

static void print_help(FILE *out)
{
	fprintf(out,
		"Usage: postern-bench COMMAND [OPTION...]\n\n"
		"Puts load on a mail submission server and says what it costs.\n\nCommands:\n");
	for (size_t i = 0; i < PN_ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
	fprintf(out,
		"\n`postern-bench COMMAND --help` lists the options. `postern-bench --version`\n"
		"Exit codes: 0 all went well; 1 something failed, was lost or came twice; 2 wrong "
		"usage.\n");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	(void)signal(SIGPIPE, SIG_IGN);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		print_help(stdout);
		return PN_BENCH_EXIT_OK;
	}
	if (strcmp(name, "--version") == 0) {
		printf("postern-bench %s (%s)\n", PN_VERSION, pn_tls_library_version());
		return PN_BENCH_EXIT_OK;
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].main(argc - 1, argv + 1);
	}
	if (*name)
		fprintf(stderr, "postern-bench: there is no command '%s'\n\n", name);
	print_help(stderr);
	return PN_BENCH_EXIT_USAGE;
}
