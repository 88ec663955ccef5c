/* SPDX-License-Identifier: ISC */
/*
 * dns.h - addresses of configured upstream names: c-ares driven by the worker's loop, with a cache
 * of bounded life beside each name.
 *
 * /etc/hosts is looked at too. Address literals need no query. A pn_dns_name lives as long as the
 * pn_dns. One thread.
 */
#ifndef PN_RELAY_DNS_H
#define PN_RELAY_DNS_H

#include <sys/socket.h>

#include <postern/base/counters.h>
#include <postern/base/list.h>
#include <postern/net/loop.h>

#define PN_DNS_ADDRESSES_MAX 8

struct pn_dns;

struct pn_dns_name {
	const char *host;                 /* borrowed */
	struct pn_dns *dns;
	struct sockaddr_storage addresses[PN_DNS_ADDRESSES_MAX];
	uint32_t count;                   /* 0: the name has none now; `error` says why */
	const char *error;
	uint64_t expires_ms;              /* of the loop's clock; UINT64_MAX: a literal */
	bool is_querying;
	struct pn_list waiters;           /* of pn_dns_request */
};

struct pn_dns_request;
typedef void (*pn_dns_fn)(struct pn_dns_request *request);
struct pn_dns_request {
	struct pn_list node;
	pn_dns_fn fn;
};

/* NULL with err. `queries` and `failures` are counters of the caller. Any thread may have called
 * pn_dns_library_init before. */
struct pn_dns *pn_dns_new(struct pn_loop *loop, pn_counter *queries, pn_counter *failures, struct pn_error *err);
/* Ends every query (requests are called with no address) and begins to let go of sockets. */
void pn_dns_stop(struct pn_dns *dns);
/* After stop: polls are still in the kernel. */
bool pn_dns_is_busy(const struct pn_dns *dns);
/* Stopped and not busy; NULL is fine. */
void pn_dns_free(struct pn_dns *dns);

void pn_dns_name_init(struct pn_dns_name *name, struct pn_dns *dns, const char *host);
/* True: the answer is in `name` now. False: request->fn comes later, never from inside. */
bool pn_dns_resolve(struct pn_dns_name *name, struct pn_dns_request *request, pn_dns_fn fn) PN_MUST_CHECK;
/* The request is not called any more. Fine when it is not waiting. */
void pn_dns_cancel(struct pn_dns_request *request);

/* Once, before threads. 0 or -errno with err. */
int pn_dns_library_init(struct pn_error *err) PN_MUST_CHECK;
void pn_dns_library_cleanup(void);

/* Port set in place; the length for connect(2). */
socklen_t pn_address_set_port(struct sockaddr_storage *address, uint16_t port);
/* "192.0.2.1:25" or "[2001:db8::1]:25". */
#define PN_ADDRESS_TEXT_SIZE 64
void pn_address_format(char out[PN_ADDRESS_TEXT_SIZE], const struct sockaddr_storage *address);

#endif
