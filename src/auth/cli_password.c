/* SPDX-License-Identifier: ISC */
/*
 * cli_password.c - asks for a password and makes of it what the user file keeps.
 *
 * While the echo is off, a signal that ends the program first puts the terminal back. The password has the
 * limits that PLAIN and LOGIN have, so that what was set can also be sent.
 */
#include <crypt.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <postern/base/prng.h>
#include <postern/base/secret.h>

#include "auth/cli.h"
#include "auth/saslprep.h"

static volatile sig_atomic_t caught_signal;

static void on_signal(int number)
{
	caught_signal = number;
}

static const int ending_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/*
 * One octet, as read(2). With `mask` signals are let through only while it waits, so that none comes unseen
 * before the wait.
 */
static ssize_t read_octet(char *out, const sigset_t *mask)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	if (mask && ppoll(&input, 1, NULL, mask) < 0)
		return -1;
	return read(STDIN_FILENO, out, 1);
}

/*
 * Reads up to LF or the end of input. The length without LF; -1: too long, -2: nothing there, -3: error or
 * signal.
 */
static ssize_t read_line(char *out, size_t size, const sigset_t *mask)
{
	size_t len = 0;

	while (true) {
		char c;
		ssize_t n = read_octet(&c, mask);
		if (n < 0)
			return -3;
		if (n == 0)
			return len > 0 ? (ssize_t)len : -2;
		if (c == '\n')
			return (ssize_t)len;
		if (len == size)
			return -1;
		out[len++] = c;
	}
}

/* Reads a line while the ending signals are only noted; raises what came afterwards. */
static ssize_t read_guarded(const char *prompt, char *out, size_t size, const struct termios *before,
                            const struct termios *hidden)
{
	struct sigaction old[PN_ARRAY_SIZE(ending_signals)];
	const struct sigaction catching = { .sa_handler = on_signal };
	sigset_t blocked, mask;

	caught_signal = 0;
	sigemptyset(&blocked);
	for (size_t i = 0; i < PN_ARRAY_SIZE(ending_signals); i++)
		sigaddset(&blocked, ending_signals[i]);
	sigprocmask(SIG_BLOCK, &blocked, &mask);
	for (size_t i = 0; i < PN_ARRAY_SIZE(ending_signals); i++)
		sigaction(ending_signals[i], &catching, &old[i]);
	/* The prompt comes last: what is typed when it is seen is neither echoed nor flushed. */
	tcsetattr(STDIN_FILENO, TCSAFLUSH, hidden);
	fputs(prompt, stderr);
	fflush(stderr);
	ssize_t len = read_line(out, size, &mask);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, before);
	for (size_t i = 0; i < PN_ARRAY_SIZE(ending_signals); i++)
		sigaction(ending_signals[i], &old[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (caught_signal != 0)
		raise(caught_signal);
	return len;
}

static ssize_t read_hidden(const char *prompt, char *out, size_t size)
{
	struct termios before, hidden;

	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return -3;
	hidden = before;
	hidden.c_lflag &= (tcflag_t)~ECHO;
	hidden.c_lflag |= ECHONL;
	return read_guarded(prompt, out, size, &before, &hidden);
}

static int explain(ssize_t code, struct pn_error *err)
{
	if (code == -1)
		return pn_error_set(err, "the password is longer than %d octets, which is all that PLAIN can carry",
		                    PN_SASL_PASSWORD_MAX);
	if (code == -2)
		return pn_error_set(err, "no password on standard input");
	return pn_error_set(err, "cannot read the password: %s", strerror(errno));
}

static int read_raw(bool from_stdin, char raw[PN_SASL_PASSWORD_MAX], size_t *ret_len, struct pn_error *err)
{
	char again[PN_SASL_PASSWORD_MAX];
	bool is_terminal = !from_stdin && isatty(STDIN_FILENO);
	ssize_t len = is_terminal ? read_hidden("New password: ", raw, PN_SASL_PASSWORD_MAX)
	                          : read_line(raw, PN_SASL_PASSWORD_MAX, NULL);

	if (len < 0)
		return explain(len, err);
	*ret_len = (size_t)len;
	if (!is_terminal)
		return 0;
	ssize_t again_len = read_hidden("Again: ", again, sizeof(again));
	bool is_same = again_len == len && memcmp(raw, again, (size_t)len) == 0;
	pn_wipe(again, sizeof(again));
	return is_same ? 0 : pn_error_set(err, "the two passwords differ; nothing was changed");
}

int pn_cli_read_password(bool from_stdin, char out[PN_CLI_PASSWORD_SIZE], struct pn_error *err)
{
	char raw[PN_SASL_PASSWORD_MAX];
	size_t len = 0;
	int result = read_raw(from_stdin, raw, &len, err);

	if (result == 0 && len == 0)
		result = pn_error_set(err, "the password is empty");
	if (result == 0) {
		ptrdiff_t prepared = pn_saslprep_stored(out, PN_CLI_PASSWORD_SIZE - 1, pn_slice(raw, len));
		if (prepared < 0)
			result = pn_error_set(err, "the password is not UTF-8 or has characters that SASLprep (RFC "
			                           "4013) prohibits, such as "
			                           "control characters; choose another");
		else
			out[prepared] = '\0';
	}
	pn_wipe(raw, sizeof(raw));
	return result;
}

static int make_hash(const char *password, char *out, size_t size, struct pn_error *err)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	void *data = NULL;
	int data_size = 0;

	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
		return pn_error_set(err, "libcrypt has no yescrypt: %s", strerror(errno));
	const char *hash = crypt_ra(password, setting, &data, &data_size);
	int result = 0;
	if (!hash || hash[0] == '*')
		result = pn_error_set(err, "cannot hash the password: %s", strerror(errno));
	else
		snprintf(out, size, "{CRYPT}%s", hash);
	if (data)
		pn_wipe(data, (size_t)data_size);
	free(data);
	return result;
}

int pn_cli_make_secrets(const char *password, struct pn_cli_secrets *ret, struct pn_error *err)
{
	struct pn_sasl_scram_key key = { .iterations = PN_SCRAM_ITERATIONS_DEFAULT,
		                         .salt_len = PN_SCRAM_SALT_LEN_DEFAULT };
	char text[PN_STORED_MAX + 1];

	if (make_hash(password, ret->hash, sizeof(ret->hash), err) != 0)
		return -1;
	pn_random_bytes(key.salt, key.salt_len);
	if (!pn_scram_derive(&key, pn_slice_str(password)))
		return pn_error_set(err, "cannot make the SCRAM key");
	pn_scheme_format_scram(text, &key);
	snprintf(ret->scram, sizeof(ret->scram), "{SCRAM-SHA-256}%s", text);
	pn_wipe(&key, sizeof(key));
	pn_wipe(text, sizeof(text));
	return 0;
}
