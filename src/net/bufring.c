/* SPDX-License-Identifier: ISC */
/*
 * bufring.c - the loop's provided receive buffers.
 *
 * One mapping: the buffer ring's entries (shared with the kernel), then the buffers. Without a
 * buffer ring each buffer goes back by an operation of its own (IORING_OP_PROVIDE_BUFFERS),
 * prepared when it is returned and submitted with the batch.
 *
 * A receive is armed before the next wait; one that found no buffer waits on a list, oldest first, and is
 * armed in front of the others before the next wait that finds a buffer which nobody holds. It counts as in
 * flight meanwhile, so that its owner closes it like any other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/loop_internal.h"

#define BUFFER_GROUP     0
#define BUFFER_COUNT_MAX 32768u
/*
 * The kernel takes buffers in the order in which they were offered: with all of them in the ring each
 * receive would go to memory that left the caches long ago (256 of 32 KiB are 8 MiB). So few are, and
 * the next to be offered is the one that came back last. Many small receives need more at a time and
 * get them; of large ones a round takes about as much as stays in a second-level cache until it is
 * opened.
 */
#define ROUND_BYTES   ((size_t)256 << 10)
#define OFFERED_LEAST 4
#define WINDOW_ROUNDS 1024u

static bool has_ring(const struct pn_loop *loop)
{
	return (loop->features & PN_NET_FEATURE(BUFFER_RING)) != 0;
}

static uint8_t *buffer_at(const struct pn_loop_buffers *b, uint16_t id)
{
	return b->memory + (size_t)id * b->size_bytes;
}

static int check_settings(const struct pn_loop_settings *settings, struct pn_error *err)
{
	uint32_t count = settings->buffer_count;

	if (count > BUFFER_COUNT_MAX || (count & (count - 1)) != 0) {
		pn_error_set(err, "%u receive buffers: must be a power of two up to %u", count,
			     BUFFER_COUNT_MAX);
		return -EINVAL;
	}
	if (settings->buffer_size_bytes == 0 || settings->buffer_size_bytes > INT32_MAX) {
		pn_error_set(err, "receive buffers of %u octets", settings->buffer_size_bytes);
		return -EINVAL;
	}
	return 0;
}

static int map_memory(struct pn_loop_buffers *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t head = (b->count * sizeof(struct io_uring_buf) + page - 1) / page * page;
	size_t size = head + (size_t)b->count * b->size_bytes;
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	b->map = map;
	b->map_size = size;
	b->memory = (uint8_t *)map + head;
	b->is_held = calloc(b->count, 1);
	b->spare = calloc(b->count, sizeof(*b->spare));
	return b->is_held && b->spare ? 0 : -ENOMEM;
}

static void ring_add(struct pn_loop_buffers *b, uint16_t id)
{
	io_uring_buf_ring_add(b->ring, buffer_at(b, id), b->size_bytes, id,
			      io_uring_buf_ring_mask(b->count), 0);
	/* Its release pairs with the kernel's acquire of the tail. */
	io_uring_buf_ring_advance(b->ring, 1);
	b->offered_count++;
}

/* How many are offered at least, of those that nobody holds. */
static uint32_t offered_min(const struct pn_loop_buffers *b)
{
	size_t min = pn_max_size(ROUND_BYTES / b->size_bytes, OFFERED_LEAST);

	return (uint32_t)pn_min_size(min, b->count);
}

static void offer_spare(struct pn_loop_buffers *b)
{
	while (b->offered_count < b->offered_max && b->spare_count > 0)
		ring_add(b, b->spare[--b->spare_count]);
}

static void register_ring(struct pn_loop *loop)
{
	struct pn_loop_buffers *b = &loop->buffers;
	struct io_uring_buf_reg reg = {
		.ring_addr = (uint64_t)(uintptr_t)b->map,
		.ring_entries = b->count,
		.bgid = BUFFER_GROUP,
	};

	if (!has_ring(loop))
		return;
	if (io_uring_register_buf_ring(&loop->ring, &reg, 0) < 0) {
		loop->features &= ~PN_NET_FEATURE(BUFFER_RING);
		return;
	}
	b->ring = b->map;
	io_uring_buf_ring_init(b->ring);
	for (uint32_t id = b->count; id > 0; id--)
		b->spare[b->spare_count++] = (uint16_t)(id - 1);
	b->offered_max = offered_min(b);
	offer_spare(b);
}

int pn_buffers_init(struct pn_loop *loop, const struct pn_loop_settings *settings,
		    struct pn_error *err)
{
	struct pn_loop_buffers *b = &loop->buffers;

	pn_list_init(&b->waiting);
	pn_list_init(&b->arming);
	pn_list_init(&b->cancelled);
	if (settings->buffer_count == 0)
		return 0;
	int r = check_settings(settings, err);
	if (r < 0)
		return r;
	b->count = settings->buffer_count;
	b->size_bytes = settings->buffer_size_bytes;
	r = map_memory(b);
	if (r < 0) {
		pn_error_set(err, "no memory for %u receive buffers of %u octets: %s", b->count,
			     b->size_bytes, strerrordesc_np(-r));
		return r;
	}
	register_ring(loop);
	return 0;
}

void pn_buffers_start(struct pn_loop *loop)
{
	struct pn_loop_buffers *b = &loop->buffers;

	if (b->ring)
		return;
	for (uint32_t id = 0; id < b->count; id++)
		pn_buffers_provide(loop, (uint16_t)id);
}

void pn_buffers_deinit(struct pn_loop *loop)
{
	struct pn_loop_buffers *b = &loop->buffers;

	if (b->map)
		munmap(b->map, b->map_size);
	free(b->is_held);
	free(b->spare);
	b->map = NULL;
	b->is_held = NULL;
	b->spare = NULL;
}

void pn_buffers_hold(struct pn_loop *loop, uint16_t buffer_id, size_t len)
{
	struct pn_loop_buffers *b = &loop->buffers;

	PN_ASSERT(buffer_id < b->count && !b->is_held[buffer_id]);
	b->is_held[buffer_id] = true;
	b->held_count++;
	b->taken++;
	b->taken_bytes += len;
	if (b->ring) {
		b->offered_count--;
		offer_spare(b);
	}
}

void pn_buffers_provide(struct pn_loop *loop, uint16_t buffer_id)
{
	struct pn_loop_buffers *b = &loop->buffers;

	if (b->ring) {
		b->spare[b->spare_count++] = buffer_id;
		offer_spare(b);
		return;
	}
	/* Inside a chain it would become a link of it. */
	PN_ASSERT(!loop->is_in_chain);
	struct io_uring_sqe *sqe = pn_ring_sqe(loop, false);
	io_uring_prep_provide_buffers(sqe, buffer_at(b, buffer_id), (int)b->size_bytes, 1,
				      BUFFER_GROUP, buffer_id);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	sqe->user_data = (uint64_t)buffer_id << 2 | PN_TAG_PROVIDE;
}

uint8_t *pn_loop_buffer(struct pn_loop *loop, uint16_t buffer_id)
{
	PN_ASSERT(buffer_id < loop->buffers.count && loop->buffers.is_held[buffer_id]);
	return buffer_at(&loop->buffers, buffer_id);
}

void pn_loop_buffer_return(struct pn_loop *loop, uint16_t buffer_id)
{
	struct pn_loop_buffers *b = &loop->buffers;

	PN_ASSERT(buffer_id < b->count && b->is_held[buffer_id]);
	b->is_held[buffer_id] = false;
	b->held_count--;
	pn_buffers_provide(loop, buffer_id);
}

/*
 * Offers more when receives found none although not much was received: many small ones. Offers fewer after a round
 * that received too much at once, or when a quarter would have done for a while.
 */
static void end_round(struct pn_loop_buffers *b)
{
	bool is_too_few = !pn_list_is_empty(&b->waiting) && b->taken_bytes < ROUND_BYTES / 2;
	bool is_too_many = b->taken_bytes > ROUND_BYTES;

	b->taken_peak = (uint32_t)pn_max_size(b->taken_peak, b->taken);
	if (++b->window_rounds == WINDOW_ROUNDS) {
		is_too_many = is_too_many || b->taken_peak <= b->offered_max / 4;
		b->taken_peak = b->window_rounds = 0;
	}
	if (is_too_few && b->spare_count > 0) {
		b->offered_max = (uint32_t)pn_min_size((size_t)b->offered_max * 2, b->count);
		offer_spare(b);
	} else if (is_too_many) {
		b->offered_max = (uint32_t)pn_max_size(b->offered_max / 2, offered_min(b));
	}
	b->taken = 0;
	b->taken_bytes = 0;
}

void pn_buffers_arm_later(struct pn_loop *loop, struct pn_op *op)
{
	op->is_waiting = true;
	pn_list_push_back(&loop->buffers.arming, &op->wait_node);
}

void pn_buffers_wait(struct pn_loop *loop, struct pn_op *op)
{
	op->is_waiting = true;
	pn_list_push_back(&loop->buffers.waiting, &op->wait_node);
}

void pn_buffers_cancel(struct pn_loop *loop, struct pn_op *op)
{
	pn_list_remove(&op->wait_node);
	pn_list_push_back(&loop->buffers.cancelled, &op->wait_node);
}

void pn_buffers_answer_cancelled(struct pn_loop *loop)
{
	struct pn_list *node;

	while ((node = pn_list_pop_front(&loop->buffers.cancelled)) != NULL) {
		struct pn_op *op = pn_container_of(node, struct pn_op, wait_node);
		op->is_waiting = op->is_inflight = op->has_more = op->has_buffer = false;
		loop->inflight_count--;
		op->fn(loop, op, -ECANCELED);
	}
}

/* False: the list is empty. */
static bool arm_first(struct pn_loop *loop, struct pn_list *list)
{
	struct pn_list *node = pn_list_pop_front(list);

	if (!node)
		return false;
	struct pn_op *op = pn_container_of(node, struct pn_op, wait_node);
	op->is_waiting = false;
	pn_recv_arm(loop, op);
	return true;
}

/*
 * A receive takes a buffer where it is submitted, and gives it back when there is no data: so of those
 * that wait at most as many are armed, oldest first, as there are buffers for. Those of this round stand
 * behind all of them: a peer that always has more would else be served for ever.
 */
void pn_buffers_arm_all(struct pn_loop *loop)
{
	struct pn_loop_buffers *b = &loop->buffers;
	struct pn_list *node;
	uint32_t n = b->count - b->held_count;

	/* They would become links of it. */
	PN_ASSERT(!loop->is_in_chain);
	if (b->ring) {
		end_round(b);
		n = b->offered_count;
	}
	while (n > 0 && arm_first(loop, &b->waiting))
		n--;
	if (pn_list_is_empty(&b->waiting)) {
		while (arm_first(loop, &b->arming))
			;
		return;
	}
	while ((node = pn_list_pop_front(&b->arming)) != NULL)
		pn_list_push_back(&b->waiting, node);
}

bool pn_buffers_must_hurry(const struct pn_loop *loop)
{
	const struct pn_loop_buffers *b = &loop->buffers;

	return !pn_list_is_empty(&b->waiting) && b->held_count < b->count;
}
