/* SPDX-License-Identifier: ISC */
/*
 * dns.c - see dns.h. c-ares tells which sockets it wants watched; each is polled through the loop,
 * and one timer serves its retries.
 *
 * A poll op may still be in the kernel when c-ares closes the socket: the slot is cancelled and
 * only used again after its last completion. Only A and AAAA are asked for; MX is not: upstreams
 * are configured.
 */
#include "dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/slice.h>

#define DNS_POLLS_MAX 16
#define DNS_TRY_TIMEOUT_MS 3000
#define DNS_TRIES 3
/* Life of an answer in the cache, whatever its TTL says. */
#define DNS_LIFE_MIN_MS 10000u
#define DNS_LIFE_MAX_MS 300000u
#define DNS_LIFE_NEGATIVE_MS 10000u

struct dns_poll {
	struct pn_op op;
	struct pn_dns *dns;
	int fd;            /* -1: free (once op is idle) */
	uint32_t wanted;   /* poll mask */
};

struct pn_dns {
	struct pn_loop *loop;
	ares_channel channel;
	bool is_open;
	bool is_stopping;
	struct pn_timer timer;
	struct dns_poll polls[DNS_POLLS_MAX];
	pn_counter *queries, *failures;
};

int pn_dns_library_init(struct pn_error *err)
{
	int status = ares_library_init(ARES_LIB_INIT_ALL);
	if (status == ARES_SUCCESS)
		return 0;
	pn_error_set(err, "c-ares: %s", ares_strerror(status));
	return -ENOMEM;
}

void pn_dns_library_cleanup(void)
{
	ares_library_cleanup();
}

static void dns_poll_arm(struct dns_poll *p);

/* After anything that may have changed c-ares' queries. */
static void dns_timer_update(struct pn_dns *dns)
{
	struct timeval tv, *next;
	if (!dns->is_open) {
		pn_loop_timer_cancel(dns->loop, &dns->timer);
		return;
	}
	next = ares_timeout(dns->channel, NULL, &tv);
	if (!next)
		pn_loop_timer_cancel(dns->loop, &dns->timer);
	else
		pn_loop_timer_set(dns->loop, &dns->timer,
		                  (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1);
}

static void dns_on_timer(struct pn_timer *timer)
{
	struct pn_dns *dns = pn_container_of(timer, struct pn_dns, timer);
	ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	dns_timer_update(dns);
}

static void dns_on_poll(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct dns_poll *p = pn_container_of(op, struct dns_poll, op);
	struct pn_dns *dns = p->dns;
	(void)loop;
	if (p->fd >= 0 && dns->is_open && res > 0) {
		ares_socket_t readable = (res & (POLLIN | POLLERR | POLLHUP)) ? p->fd : ARES_SOCKET_BAD;
		ares_socket_t writable = (res & POLLOUT) ? p->fd : ARES_SOCKET_BAD;
		ares_process_fd(dns->channel, readable, writable);
	}
	if (p->fd >= 0 && dns->is_open && !p->op.is_inflight)
		dns_poll_arm(p);
	dns_timer_update(dns);
}

static void dns_poll_arm(struct dns_poll *p)
{
	pn_loop_poll(p->dns->loop, &p->op, dns_on_poll, p->fd, p->wanted);
}

static struct dns_poll *dns_poll_find(struct pn_dns *dns, int fd)
{
	for (size_t i = 0; i < DNS_POLLS_MAX; i++) {
		if (dns->polls[i].fd == fd && (fd >= 0 || !dns->polls[i].op.is_inflight))
			return &dns->polls[i];
	}
	return NULL;
}

static void dns_on_socket(void *ctx, ares_socket_t fd, int readable, int writable)
{
	struct pn_dns *dns = ctx;
	uint32_t wanted = (readable ? (uint32_t)POLLIN : 0) | (writable ? (uint32_t)POLLOUT : 0);
	struct dns_poll *p = dns_poll_find(dns, fd);
	if (!p) {
		if (wanted == 0)
			return;
		p = dns_poll_find(dns, -1);
		if (!p)
			return; /* more sockets than slots: this query ends by c-ares' own timeout */
		p->fd = fd;
	}
	if (wanted == 0)
		p->fd = -1;
	if (wanted == p->wanted && p->op.is_inflight && p->fd >= 0)
		return;
	p->wanted = wanted;
	if (p->op.is_inflight)
		pn_loop_cancel(dns->loop, &p->op); /* its completion arms it anew */
	else if (p->fd >= 0)
		dns_poll_arm(p);
}

struct pn_dns *pn_dns_new(struct pn_loop *loop, pn_counter *queries, pn_counter *failures, struct pn_error *err)
{
	struct pn_dns *dns = calloc(1, sizeof(*dns));
	struct ares_options options = {
		.timeout = DNS_TRY_TIMEOUT_MS,
		.tries = DNS_TRIES,
		.sock_state_cb = dns_on_socket,
		.sock_state_cb_data = dns,
	};
	if (!dns) {
		pn_error_set(err, "resolver: out of memory");
		return NULL;
	}
	dns->loop = loop;
	dns->queries = queries;
	dns->failures = failures;
	pn_timer_init(&dns->timer, dns_on_timer);
	for (size_t i = 0; i < DNS_POLLS_MAX; i++) {
		dns->polls[i].dns = dns;
		dns->polls[i].fd = -1;
	}
	int status = ares_init_options(&dns->channel, &options,
	                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
	if (status != ARES_SUCCESS) {
		pn_error_set(err, "resolver: c-ares: %s", ares_strerror(status));
		free(dns);
		return NULL;
	}
	dns->is_open = true;
	return dns;
}

void pn_dns_stop(struct pn_dns *dns)
{
	if (dns->is_stopping)
		return;
	dns->is_stopping = true;
	ares_cancel(dns->channel);
	ares_destroy(dns->channel);
	dns->is_open = false;
	pn_loop_timer_cancel(dns->loop, &dns->timer);
	for (size_t i = 0; i < DNS_POLLS_MAX; i++) {
		dns->polls[i].fd = -1;
		pn_loop_cancel(dns->loop, &dns->polls[i].op);
	}
}

bool pn_dns_is_busy(const struct pn_dns *dns)
{
	for (size_t i = 0; i < DNS_POLLS_MAX; i++) {
		if (dns->polls[i].op.is_inflight)
			return true;
	}
	return false;
}

void pn_dns_free(struct pn_dns *dns)
{
	if (!dns)
		return;
	PN_ASSERT(!pn_dns_is_busy(dns));
	if (dns->is_open)
		ares_destroy(dns->channel);
	free(dns);
}

static bool dns_parse_literal(struct pn_dns_name *name)
{
	struct sockaddr_in *v4 = (void *)&name->addresses[0];
	struct sockaddr_in6 *v6 = (void *)&name->addresses[0];
	if (inet_pton(AF_INET, name->host, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, name->host, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	else
		return false;
	name->count = 1;
	name->expires_ms = UINT64_MAX;
	return true;
}

void pn_dns_name_init(struct pn_dns_name *name, struct pn_dns *dns, const char *host)
{
	*name = (struct pn_dns_name){.host = host, .dns = dns};
	pn_list_init(&name->waiters);
	dns_parse_literal(name);
}

static void dns_store(struct pn_dns_name *name, const struct ares_addrinfo *result)
{
	uint64_t life_ms = DNS_LIFE_MAX_MS;
	name->count = 0;
	for (struct ares_addrinfo_node *n = result->nodes; n && name->count < PN_DNS_ADDRESSES_MAX; n = n->ai_next) {
		if ((n->ai_family != AF_INET && n->ai_family != AF_INET6) || n->ai_addrlen > sizeof(name->addresses[0]))
			continue;
		memcpy(&name->addresses[name->count++], n->ai_addr, n->ai_addrlen);
		if (n->ai_ttl >= 0 && (uint64_t)n->ai_ttl * 1000 < life_ms)
			life_ms = (uint64_t)n->ai_ttl * 1000;
	}
	if (life_ms < DNS_LIFE_MIN_MS)
		life_ms = DNS_LIFE_MIN_MS;
	name->expires_ms = pn_loop_now_ms(name->dns->loop) + life_ms;
	if (name->count == 0)
		name->error = "no address";
}

static void dns_on_answer(void *ctx, int status, int timeouts, struct ares_addrinfo *result)
{
	struct pn_dns_name *name = ctx;
	struct pn_list *node;
	(void)timeouts;
	name->is_querying = false;
	if (status == ARES_SUCCESS && result) {
		dns_store(name, result);
	} else {
		name->count = 0;
		name->error = ares_strerror(status);
		name->expires_ms = pn_loop_now_ms(name->dns->loop) + DNS_LIFE_NEGATIVE_MS;
	}
	if (name->count == 0)
		pn_counter_add(name->dns->failures, 1);
	ares_freeaddrinfo(result);
	while ((node = pn_list_pop_front(&name->waiters)) != NULL) {
		struct pn_dns_request *request = pn_container_of(node, struct pn_dns_request, node);
		request->fn(request);
	}
}

bool pn_dns_resolve(struct pn_dns_name *name, struct pn_dns_request *request, pn_dns_fn fn)
{
	struct pn_dns *dns = name->dns;
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	pn_list_init(&request->node);
	request->fn = fn;
	if (!name->is_querying) {
		if (name->expires_ms > pn_loop_now_ms(dns->loop))
			return true;
		if (!dns->is_open) {
			name->count = 0;
			name->error = "shutting down";
			return true;
		}
		pn_counter_add(dns->queries, 1);
		name->is_querying = true;
		ares_getaddrinfo(dns->channel, name->host, NULL, &hints, dns_on_answer, name);
		dns_timer_update(dns);
		if (!name->is_querying)
			return true;
	}
	pn_list_push_back(&name->waiters, &request->node);
	return false;
}

void pn_dns_cancel(struct pn_dns_request *request)
{
	if (request->node.next)
		pn_list_remove(&request->node);
}

socklen_t pn_address_set_port(struct sockaddr_storage *address, uint16_t port)
{
	if (address->ss_family == AF_INET6) {
		((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
		return sizeof(struct sockaddr_in6);
	}
	((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
	return sizeof(struct sockaddr_in);
}

void pn_address_format(char out[PN_ADDRESS_TEXT_SIZE], const struct sockaddr_storage *address)
{
	char text[INET6_ADDRSTRLEN] = "?";
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		snprintf(out, PN_ADDRESS_TEXT_SIZE, "[%s]:%u", text, ntohs(v6->sin6_port));
	} else {
		const struct sockaddr_in *v4 = (const void *)address;
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		snprintf(out, PN_ADDRESS_TEXT_SIZE, "%s:%u", text, ntohs(v4->sin_port));
	}
}
