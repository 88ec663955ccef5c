/* SPDX-License-Identifier: ISC */
/* fake_server.c - see fake_server.h. Blocking sockets, a thread for each connection. */
#include "fake_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(expr)                                                                                \
	do {                                                                                       \
		if (!(expr)) {                                                                     \
			fprintf(stderr, "fake_server: %s failed: %s\n", #expr, strerror(errno));   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fake_session {
	unsigned mails;
	struct fake_server *server;
	int fd;
	int fault;
	struct pn_record *record;
	bool is_tls; /* with or without the record */
	bool is_authenticated;
	char in[65536];
	size_t in_len;
	struct fake_message message;
};

struct fake_start {
	struct fake_server *server;
	size_t slot;
};

/* ---- octets ---- */

static bool send_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool say(struct fake_session *s, const char *text)
{
	struct pn_buf out;
	bool is_good;
	if (!s->record)
		return send_all(s->fd, text, strlen(text));
	pn_buf_init(&out, 1 << 20);
	is_good = pn_record_seal(s->record, pn_slice_str(text), &out) == PN_RECORD_OK &&
	          send_all(s->fd, pn_buf_ptr(&out), pn_buf_len(&out));
	pn_buf_free(&out);
	return is_good;
}

/* More octets into s->in. False: the connection ended. */
static bool hear(struct fake_session *s)
{
	static _Thread_local uint8_t raw[16384];
	struct pn_slice plain;
	struct pn_buf out;
	size_t room = sizeof(s->in) - s->in_len, before = s->in_len;
	if (s->fault == FAKE_SLOW_READER && room > 4096)
		room = 4096;
	if (!s->record) {
		ssize_t n = recv(s->fd, s->in + s->in_len, room, 0);
		if (n <= 0)
			return false;
		s->in_len += (size_t)n;
		return true;
	}
	while (s->in_len == before) {
		ssize_t n = recv(s->fd, raw, pn_min_size(sizeof(raw), room / 2), 0);
		if (n <= 0)
			return false;
		pn_buf_init(&out, 65536);
		pn_record_input(s->record, raw, (size_t)n);
		enum pn_record_status status;
		while ((status = pn_record_open(s->record, &plain, &out)) == PN_RECORD_OK) {
			CHECK(plain.len <= sizeof(s->in) - s->in_len);
			memcpy(s->in + s->in_len, plain.ptr, plain.len);
			s->in_len += plain.len;
		}
		if (pn_buf_len(&out) > 0)
			send_all(s->fd, pn_buf_ptr(&out), pn_buf_len(&out));
		pn_buf_free(&out);
		if (status != PN_RECORD_WANT)
			return s->in_len > before;
	}
	return true;
}

/* One line without CRLF into `line`. */
static bool get_line(struct fake_session *s, char *line, size_t size)
{
	for (;;) {
		char *lf = memchr(s->in, '\n', s->in_len);
		if (lf) {
			size_t len = (size_t)(lf - s->in);
			size_t text = len > 0 && s->in[len - 1] == '\r' ? len - 1 : len;
			CHECK(text < size);
			memcpy(line, s->in, text);
			line[text] = '\0';
			s->in_len -= len + 1;
			memmove(s->in, lf + 1, s->in_len);
			return true;
		}
		if (!hear(s))
			return false;
	}
}

static bool handshake(struct fake_session *s)
{
	struct pn_tls_conn *conn = pn_tls_conn_new_server(s->server->tls);
	struct pn_tls_facts facts;
	struct pn_buf out;
	enum pn_record_status status = PN_RECORD_WANT;
	CHECK(conn);
	while (status == PN_RECORD_WANT) {
		struct pn_slice in = pn_slice(s->in, s->in_len);
		pn_buf_init(&out, 65536);
		status = pn_tls_handshake(conn, &in, &out);
		s->in_len = in.len;
		memmove(s->in, in.ptr ? in.ptr : (const uint8_t *)s->in, in.len);
		bool is_sent = pn_buf_len(&out) == 0 || send_all(s->fd, pn_buf_ptr(&out), pn_buf_len(&out));
		pn_buf_free(&out);
		if (!is_sent || (status == PN_RECORD_WANT && !hear(s)))
			status = PN_RECORD_FAILED;
	}
	if (status == PN_RECORD_OK)
		s->record = pn_tls_conn_finish(conn, &facts);
	pn_tls_conn_free(conn);
	if (status != PN_RECORD_OK)
		return false;
	CHECK(s->record);
	s->is_tls = true;
	/* What came behind the handshake belongs to the record layer. */
	if (s->in_len > 0) {
		struct pn_slice plain;
		static _Thread_local uint8_t rest[65536];
		memcpy(rest, s->in, s->in_len);
		pn_record_input(s->record, rest, s->in_len);
		s->in_len = 0;
		pn_buf_init(&out, 65536);
		while (pn_record_open(s->record, &plain, &out) == PN_RECORD_OK) {
			memcpy(s->in + s->in_len, plain.ptr, plain.len);
			s->in_len += plain.len;
		}
		pn_buf_free(&out);
	}
	return true;
}

/* ---- a message ---- */

static void message_clear(struct fake_message *m)
{
	for (size_t i = 0; i < m->rcpt_count; i++)
		free(m->rcpts[i]);
	free(m->rcpts);
	free(m->mail);
	free(m->data);
	*m = (struct fake_message){0};
}

static bool is_first_time(struct fake_server *s, const char *address)
{
	bool is_first = true;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->once_count; i++)
		is_first = is_first && strcmp(s->once[i], address) != 0;
	if (is_first) {
		CHECK(s->once_count < 64);
		s->once[s->once_count++] = strdup(address);
	}
	pthread_mutex_unlock(&s->lock);
	return is_first;
}

static bool on_rcpt(struct fake_session *s, const char *line)
{
	const char *address = strchr(line, '<');
	struct fake_message *m = &s->message;
	CHECK(address);
	address++;
	if (strncmp(address, "reject", 6) == 0)
		return say(s, "550 5.1.1 no such user here\r\n");
	if (strncmp(address, "defer", 5) == 0)
		return say(s, "451 4.2.0 come back later\r\n");
	if (strncmp(address, "once", 4) == 0 && is_first_time(s->server, address))
		return say(s, "451 4.7.1 greylisted\r\n");
	m->rcpts = realloc(m->rcpts, (m->rcpt_count + 1) * sizeof(char *));
	CHECK(m->rcpts);
	m->rcpts[m->rcpt_count++] = strdup(line);
	return say(s, "250 2.1.5 recipient ok\r\n");
}

static void keep_message(struct fake_session *s)
{
	struct fake_server *server = s->server;
	s->message.is_tls = s->is_tls;
	s->message.is_authenticated = s->is_authenticated;
	pthread_mutex_lock(&server->lock);
	CHECK(server->message_count < sizeof(server->messages) / sizeof(server->messages[0]));
	server->messages[server->message_count++] = s->message;
	pthread_mutex_unlock(&server->lock);
	s->message = (struct fake_message){0};
}

static bool final_replies(struct fake_session *s)
{
	bool is_good = true;
	size_t count = s->server->is_lmtp ? s->message.rcpt_count : 1;
	usleep(atomic_load(&s->server->final_delay_ms) * 1000);
	if (s->fault == FAKE_NONSENSE_AFTER_DOT)
		return say(s, "banana\r\n");
	if (atomic_load(&s->server->is_final_defer)) {
		message_clear(&s->message);
		return say(s, "452 4.3.1 disk full\r\n");
	}
	char replies[64][64];
	CHECK(count <= 64);
	for (size_t i = 0; i < count; i++) {
		const char *r = s->message.rcpts[i];
		snprintf(replies[i], sizeof(replies[i]), "%s",
		         strstr(r, "<final-reject")  ? "550 5.2.2 mailbox full for good\r\n"
		         : strstr(r, "<final-defer") ? "450 4.2.2 mailbox full\r\n"
		                                     : "250 2.0.0 taken\r\n");
	}
	keep_message(s);
	for (size_t i = 0; i < count && is_good; i++)
		is_good = say(s, replies[i]);
	return is_good;
}

static bool data_append(struct fake_message *m, const char *line, size_t *cap)
{
	size_t len = strlen(line);
	if (m->data_len + len + 2 > *cap) {
		*cap = (m->data_len + len + 2) * 2;
		m->data = realloc(m->data, *cap);
		CHECK(m->data);
	}
	memcpy(m->data + m->data_len, line, len);
	memcpy(m->data + m->data_len + len, "\r\n", 2);
	m->data_len += len + 2;
	return true;
}

static bool on_data(struct fake_session *s)
{
	static _Thread_local char line[65536];
	size_t cap = 0, lines = 0;
	if (s->message.rcpt_count == 0)
		return say(s, "503 5.5.1 no recipients\r\n");
	if (!say(s, "354 go on\r\n"))
		return false;
	for (;;) {
		if (s->fault == FAKE_CLOSE_IN_DATA && lines == 2)
			return false;
		if (s->fault == FAKE_SLOW_READER && lines % 512 == 0)
			usleep(1000);
		if (!get_line(s, line, sizeof(line)))
			return false;
		if (strcmp(line, ".") == 0)
			break;
		data_append(&s->message, line[0] == '.' ? line + 1 : line, &cap);
		lines++;
	}
	if (s->fault == FAKE_CLOSE_AFTER_DOT) {
		keep_message(s);
		return false;
	}
	if (s->fault == FAKE_SILENT_AFTER_DOT) {
		s->server->held++;
		while (hear(s))
			s->in_len = 0;
		return false;
	}
	if (s->fault == FAKE_HOLD_AFTER_DOT) {
		s->server->held++;
		while (s->server->fault == FAKE_HOLD_AFTER_DOT && !s->server->is_stopping)
			usleep(1000);
	}
	return final_replies(s) && s->fault != FAKE_CLOSE_WHEN_IDLE;
}

static bool on_bdat(struct fake_session *s, const char *line)
{
	size_t size = strtoull(line + 5, NULL, 10), cap = s->message.data_len;
	bool is_refused = s->server->fault == FAKE_REFUSE_CHUNK;
	if (is_refused && !say(s, "552 5.3.4 too much\r\n"))
		return false;
	if (is_refused)
		usleep(100000); /* so that the reply is there before the content is gone */
	for (unsigned reads = 0; size > 0; reads++) {
		if (s->in_len == 0 && !hear(s))
			return false;
		if (s->fault == FAKE_CLOSE_IN_DATA && reads == 4)
			return false;
		if (s->fault == FAKE_SLOW_READER && reads % 16 == 0)
			usleep(1000);
		size_t n = pn_min_size(size, s->in_len);
		if (is_refused) { /* counted, not kept */
			s->in_len -= n;
			memmove(s->in, s->in + n, s->in_len);
			size -= n;
			continue;
		}
		s->message.data = realloc(s->message.data, cap + n + 1);
		CHECK(s->message.data);
		memcpy(s->message.data + s->message.data_len, s->in, n);
		s->message.data_len += n;
		cap += n;
		s->in_len -= n;
		memmove(s->in, s->in + n, s->in_len);
		size -= n;
	}
	if (is_refused)
		return true;
	if (s->message.rcpt_count == 0)
		return say(s, "503 5.5.1 no recipients\r\n");
	return strstr(line, "LAST") ? final_replies(s) : say(s, "250 2.0.0 chunk\r\n");
}

/* ---- a session ---- */

static bool on_ehlo(struct fake_session *s)
{
	char words[512], reply[1024] = "250-fake.example\r\n";
	const char *ehlo = s->server->ehlo;
	snprintf(words, sizeof(words), "%s", ehlo ? ehlo : "PIPELINING 8BITMIME SIZE DSN SMTPUTF8 ENHANCEDSTATUSCODES");
	char *save = NULL;
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		strcat(reply, "250-");
		strcat(reply, w);
		strcat(reply, "\r\n");
	}
	if (s->server->tls && !s->is_tls)
		strcat(reply, "250-STARTTLS\r\n");
	if (s->server->auth_plain && s->is_tls)
		strcat(reply, "250-AUTH PLAIN\r\n");
	strcat(reply, "250 HELP\r\n");
	return say(s, reply);
}

/* The client moves with nothing under way: behind Finished, and behind the EHLO that rides with it. */
static void follow_move(struct fake_session *s)
{
	if (!s->is_tls || !s->server->is_client_moved)
		return;
	pn_record_free(s->record);
	s->record = NULL;
}

/* Only this is under way then, so that it comes alone. */
static bool say_control(struct fake_session *s)
{
	uint32_t before = atomic_load(&s->server->controls_read);
	bool is_said = send_all(s->fd, s->server->control.ptr, s->server->control.len);
	while (is_said && s->server->controls_read == before && !s->server->is_stopping)
		usleep(1000);
	return is_said;
}

static bool on_starttls(struct fake_session *s)
{
	if (!say(s, "220 go ahead\r\n"))
		return false;
	if (s->fault == FAKE_BAD_TLS) {
		return hear(s) && say(s, "this is no TLS at all, is it?\r\n") && false;
	}
	return handshake(s);
}

static bool on_command(struct fake_session *s, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0 || strncasecmp(line, "LHLO", 4) == 0) {
		follow_move(s);
		return on_ehlo(s);
	}
	if (strcasecmp(line, "STARTTLS") == 0)
		return on_starttls(s);
	if (strncasecmp(line, "AUTH PLAIN ", 11) == 0) {
		s->is_authenticated = s->server->auth_plain && strcmp(line + 11, s->server->auth_plain) == 0;
		return say(s, s->is_authenticated ? "235 2.7.0 welcome\r\n" : "535 5.7.8 no\r\n");
	}
	if (strncasecmp(line, "MAIL FROM:", 10) == 0) {
		s->mails++;
		if (s->fault == FAKE_CLOSE_AT_MAIL || (s->fault == FAKE_CLOSE_AT_SECOND_MAIL && s->mails == 2))
			return false;
		if (s->fault == FAKE_CONTROL_AT_MAIL && s->mails == 1 && !say_control(s))
			return false;
		message_clear(&s->message);
		s->message.mail = strdup(line);
		return say(s, "250 2.1.0 sender ok\r\n");
	}
	if (strncasecmp(line, "RCPT TO:", 8) == 0)
		return on_rcpt(s, line);
	if (strcasecmp(line, "DATA") == 0)
		return on_data(s);
	if (strncasecmp(line, "BDAT ", 5) == 0)
		return on_bdat(s, line);
	if (strcasecmp(line, "RSET") == 0) {
		message_clear(&s->message);
		return say(s, "250 2.0.0 reset\r\n");
	}
	if (strcasecmp(line, "QUIT") == 0) {
		say(s, "221 2.0.0 bye\r\n");
		return false;
	}
	return say(s, "500 5.5.2 what?\r\n");
}

static int take_fault(struct fake_server *server)
{
	int fault = atomic_load(&server->fault);
	uint32_t left = atomic_load(&server->fault_count);
	if (fault != FAKE_NO_FAULT && left > 0 && atomic_fetch_sub(&server->fault_count, 1) == 1)
		atomic_store(&server->fault, FAKE_NO_FAULT);
	return fault;
}

static bool greet(struct fake_session *s)
{
	if (s->fault == FAKE_HOLD_GREETING) {
		while (s->server->is_greeting_held && !s->server->is_stopping)
			usleep(1000);
		s->fault = take_fault(s->server);
	}
	switch (s->fault) {
	case FAKE_CLOSE_AT_CONNECT:
		return false;
	case FAKE_SILENT:
		while (hear(s))
			s->in_len = 0;
		return false;
	case FAKE_NONSENSE:
		say(s, "\001\002 HTTP/1.1 200 OK\r\n\r\nhello");
		return false;
	case FAKE_ENDLESS:
		while (say(s, "220-and one more line of greeting, and one more line of greeting\r\n"))
			;
		return false;
	case FAKE_REFUSE_SESSION:
		say(s, "554 5.7.1 not you\r\n");
		return hear(s) && false;
	case FAKE_BUSY:
		say(s, "421 4.3.2 busy\r\n");
		return false;
	default:
		return say(s, "220 fake.example ESMTP\r\n");
	}
}

static void session_run(struct fake_session *s)
{
	static _Thread_local char line[65536];
	bool is_good = !s->server->is_implicit_tls || (s->fault != FAKE_BAD_TLS && handshake(s));
	follow_move(s);
	is_good = is_good && greet(s);
	while (is_good)
		is_good = get_line(s, line, sizeof(line)) && on_command(s, line);
}

static void *session_main(void *ctx)
{
	struct fake_start *start = ctx;
	struct fake_server *server = start->server;
	struct fake_session *s = calloc(1, sizeof(*s));
	CHECK(s);
	s->server = server;
	s->fd = server->session_fds[start->slot];
	s->fault = take_fault(server);
	free(start);
	uint32_t open = atomic_fetch_add(&server->open_connections, 1) + 1;
	uint32_t high = atomic_load(&server->connections_high);
	while (open > high && !atomic_compare_exchange_weak(&server->connections_high, &high, open))
		;
	session_run(s);
	shutdown(s->fd, SHUT_RDWR);
	atomic_fetch_sub(&server->open_connections, 1);
	pn_record_free(s->record);
	message_clear(&s->message);
	free(s);
	return NULL;
}

static void *server_main(void *ctx)
{
	struct fake_server *s = ctx;
	for (;;) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 || atomic_load(&s->is_stopping)) {
			if (fd >= 0)
				close(fd);
			return NULL;
		}
		struct fake_start *start = malloc(sizeof(*start));
		CHECK(start && s->session_count < 2048);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		*start = (struct fake_start){s, s->session_count};
		s->session_fds[s->session_count] = fd;
		atomic_fetch_add(&s->connections, 1);
		CHECK(pthread_create(&s->sessions[s->session_count], NULL, session_main, start) == 0);
		s->session_count++;
	}
}

static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

void fake_server_start(struct fake_server *s)
{
	pthread_mutex_init(&s->lock, NULL);
	s->fd = listen_somewhere(&s->port);
	CHECK(listen(s->fd, 512) == 0);
	CHECK(pthread_create(&s->thread, NULL, server_main, s) == 0);
}

void fake_server_stop(struct fake_server *s)
{
	atomic_store(&s->is_stopping, true);
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	for (size_t i = 0; i < s->session_count; i++) {
		shutdown(s->session_fds[i], SHUT_RDWR);
		pthread_join(s->sessions[i], NULL);
		close(s->session_fds[i]);
	}
	for (size_t i = 0; i < s->message_count; i++)
		message_clear(&s->messages[i]);
	for (size_t i = 0; i < s->once_count; i++)
		free(s->once[i]);
	pthread_mutex_destroy(&s->lock);
}

size_t fake_server_count(struct fake_server *s)
{
	pthread_mutex_lock(&s->lock);
	size_t count = s->message_count;
	pthread_mutex_unlock(&s->lock);
	return count;
}

const struct fake_message *fake_message(struct fake_server *s, size_t index)
{
	pthread_mutex_lock(&s->lock);
	CHECK(index < s->message_count);
	const struct fake_message *m = &s->messages[index];
	pthread_mutex_unlock(&s->lock);
	return m;
}

uint16_t fake_closed_port(void)
{
	uint16_t port;
	close(listen_somewhere(&port));
	return port;
}
