/* SPDX-License-Identifier: ISC */
/*
 * list.h - intrusive doubly linked list. The list owns nothing; a node is on one list at a time.
 */
#ifndef POSTERN_BASE_LIST_H
#define POSTERN_BASE_LIST_H

#include <postern/base/common.h>

struct pn_list {
	struct pn_list *prev, *next;
};

static inline void pn_list_init(struct pn_list *head)
{
	head->prev = head->next = head;
}

static inline bool pn_list_is_empty(const struct pn_list *head)
{
	return head->next == head;
}

/* Whether a node initialised with pn_list_init is on some list. */
static inline bool pn_list_is_linked(const struct pn_list *node)
{
	return node->next != node;
}

static inline void pn_list_insert_before(struct pn_list *node, struct pn_list *before)
{
	node->prev = before->prev;
	node->next = before;
	before->prev->next = node;
	before->prev = node;
}

static inline void pn_list_push_back(struct pn_list *head, struct pn_list *node)
{
	pn_list_insert_before(node, head);
}

static inline void pn_list_push_front(struct pn_list *head, struct pn_list *node)
{
	pn_list_insert_before(node, head->next);
}

/* Safe on an unlinked, initialised node; leaves it initialised. */
static inline void pn_list_remove(struct pn_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	pn_list_init(node);
}

/* Takes the first node off, or returns NULL. */
static inline struct pn_list *pn_list_pop_front(struct pn_list *head)
{
	struct pn_list *node = head->next;
	if (node == head)
		return NULL;
	pn_list_remove(node);
	return node;
}

#define PN_LIST_FOR_EACH(it, head) \
	for (struct pn_list *it = (head)->next; it != (head); it = it->next)
/* The loop body may remove `it`. */
#define PN_LIST_FOR_EACH_SAFE(it, tmp, head)                                   \
	for (struct pn_list *it = (head)->next, *tmp = it->next; it != (head); \
	     it = tmp, tmp = it->next)

#endif
