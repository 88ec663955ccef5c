/* SPDX-License-Identifier: ISC */
/*
 * fault.c - the plan of failures for test builds; an empty file otherwise.
 *
 * A plan that cannot be read ends the process: a test that injects nothing by mistake would prove
 * nothing.
 */
#include <postern/base/fault.h>

#ifdef PN_FAULT_INJECTION

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/slice.h>

#define FAULT_RULES_MAX    32
#define FAULT_SITES_MAX    128
#define FAULT_SITE_LEN_MAX 64

struct fault_rule {
	char site[FAULT_SITE_LEN_MAX];
	uint64_t nth;   /* the first hit that fails, from 1 */
	uint64_t count; /* how many fail from there; 0 = all */
	bool is_short;
	int error;
};

struct fault_site {
	char name[FAULT_SITE_LEN_MAX];
	uint64_t hits;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault_rule rules[FAULT_RULES_MAX];
static size_t rule_count;
static struct fault_site sites[FAULT_SITES_MAX];
static size_t site_count;
static bool is_loaded;
/* The plan came with the environment: each failure is shown, so that a test knows its plan was reached. */
static bool is_said;

static PN_NORETURN void refuse_plan(const char *plan, const char *why)
{
	fprintf(stderr,
		"PN_FAULT=%s: %s; the form is site:nth:errno-or-short[:count], comma-separated\n",
		plan, why);
	abort();
}

static struct pn_slice next_part(struct pn_slice *rest, uint8_t separator)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
	struct pn_slice part = pn_slice(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);

	pn_slice_advance(rest, end ? part.len + 1 : part.len);
	return part;
}

static void parse_rule(const char *plan, struct pn_slice text)
{
	struct pn_slice site = next_part(&text, ':');
	struct pn_slice nth = next_part(&text, ':');
	struct pn_slice what = next_part(&text, ':');
	uint64_t error = 0;

	if (rule_count == FAULT_RULES_MAX)
		refuse_plan(plan, "too many rules");
	struct fault_rule *rule = &rules[rule_count];
	*rule = (struct fault_rule){ .count = 1 };
	if (site.len == 0 || site.len >= sizeof(rule->site))
		refuse_plan(plan, "bad site");
	memcpy(rule->site, site.ptr, site.len);
	if (!pn_slice_to_u64(nth, UINT64_MAX, &rule->nth) || rule->nth == 0)
		refuse_plan(plan, "bad nth");
	rule->is_short = pn_slice_eq(what, PN_SLICE_LIT("short"));
	if (!rule->is_short && (!pn_slice_to_u64(what, 4095, &error) || error == 0))
		refuse_plan(plan, "bad errno");
	rule->error = (int)error;
	if (text.len != 0 && !pn_slice_to_u64(text, UINT64_MAX, &rule->count))
		refuse_plan(plan, "bad count");
	rule_count++;
}

static void load_plan(const char *plan)
{
	is_loaded = true;
	rule_count = site_count = 0;
	struct pn_slice rest = pn_slice_str(plan);
	while (rest.len != 0)
		parse_rule(plan, next_part(&rest, ','));
}

static void load_environment(void)
{
	const char *plan = getenv("PN_FAULT");

	is_said = plan != NULL;
	load_plan(plan);
}

static struct fault_site *find_site(const char *name)
{
	for (size_t i = 0; i < site_count; i++) {
		if (strcmp(sites[i].name, name) == 0)
			return &sites[i];
	}
	return NULL;
}

static uint64_t count_hit(const char *name)
{
	struct fault_site *site = find_site(name);

	if (!site) {
		PN_ASSERT(site_count < FAULT_SITES_MAX && strlen(name) < FAULT_SITE_LEN_MAX);
		site = &sites[site_count++];
		memcpy(site->name, name, strlen(name) + 1);
		site->hits = 0;
	}
	return ++site->hits;
}

int pn_fault_result(const char *site, int res)
{
	pthread_mutex_lock(&lock);
	if (!is_loaded)
		load_environment();
	uint64_t hit = count_hit(site);
	for (size_t i = 0; i < rule_count; i++) {
		const struct fault_rule *rule = &rules[i];
		if (strcmp(rule->site, site) != 0 || hit < rule->nth)
			continue;
		if (rule->count != 0 && hit - rule->nth >= rule->count)
			continue;
		if (!rule->is_short)
			res = -rule->error;
		else if (res > 0)
			res /= 2;
		if (is_said)
			fprintf(stderr, "event=fault site=%s hit=%llu result=%d\n", site,
				(unsigned long long)hit, res);
		break;
	}
	pthread_mutex_unlock(&lock);
	return res;
}

void pn_fault_set_plan(const char *plan)
{
	pthread_mutex_lock(&lock);
	load_plan(plan);
	pthread_mutex_unlock(&lock);
}

uint64_t pn_fault_hits(const char *site)
{
	pthread_mutex_lock(&lock);
	const struct fault_site *found = find_site(site);
	uint64_t hits = found ? found->hits : 0;
	pthread_mutex_unlock(&lock);
	return hits;
}

#endif
