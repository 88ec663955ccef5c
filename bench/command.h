/* SPDX-License-Identifier: ISC */
/*
 * command.h - the subcommands of postern-bench. Each takes its own arguments (argv[0] is the command's name) and
 * returns the exit code.
 */
#ifndef PN_BENCH_COMMAND_H
#define PN_BENCH_COMMAND_H

enum pn_bench_exit {
	PN_BENCH_EXIT_OK = 0,
	PN_BENCH_EXIT_FAILED =
		1, /* a refused, lost or duplicated message, a broken connection, ... */
	PN_BENCH_EXIT_USAGE = 2,
};

int pn_bench_handshake_main(int argc, char **argv);
int pn_bench_submit_main(int argc, char **argv);
int pn_bench_idle_main(int argc, char **argv);
int pn_bench_mix_main(int argc, char **argv);
int pn_bench_sink_main(int argc, char **argv);
int pn_bench_limit_main(int argc, char **argv);
int pn_bench_micro_main(int argc, char **argv);
int pn_bench_compare_main(int argc, char **argv);
int pn_bench_report_main(int argc, char **argv);

#endif
