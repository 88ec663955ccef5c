/* SPDX-License-Identifier: ISC */
/* id_set.h - a growing set of message ids with a number for each (recovery's table). One thread writes; reading
 * is free when nobody writes. */
#ifndef PN_SPOOL_ID_SET_H
#define PN_SPOOL_ID_SET_H

#include <postern/base/common.h>
#include <postern/base/id.h>

struct pn_id_set;

/* NULL: out of memory. */
struct pn_id_set *pn_id_set_new(void);
/* NULL is fine. */
void pn_id_set_free(struct pn_id_set *s);
/* Adds the id with `value`, or finds it. *ret_value is the value that it has. 1 added, 0 was there, -ENOMEM. */
int pn_id_set_add(struct pn_id_set *s, const struct pn_id *id, uint32_t value,
		  uint32_t *ret_value) PN_MUST_CHECK;
bool pn_id_set_find(const struct pn_id_set *s, const struct pn_id *id,
		    uint32_t *ret_value) PN_MUST_CHECK;

static inline bool pn_id_set_has(const struct pn_id_set *s, const struct pn_id *id)
{
	uint32_t value;
	return pn_id_set_find(s, id, &value);
}

#endif
