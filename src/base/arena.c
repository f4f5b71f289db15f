/* SPDX-License-Identifier: MIT */
/* Arenas: see arena.h. */
#include "config.h"

#include "base/arena.h"

#include <glib.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_SIZE 16384u
#define ALIGNMENT  _Alignof(max_align_t)

struct block {
	struct block *next;
	size_t size;
	size_t used;
	_Alignas(max_align_t) unsigned char data[];
};

struct arena {
	struct block *blocks; /* the newest first */
	size_t used;
};

static struct block *
block_new(size_t size)
{
	struct block *block = g_malloc(sizeof *block + size);
	block->next = NULL;
	block->size = size;
	block->used = 0;
	return block;
}

struct arena *
arena_new(void)
{
	struct arena *arena = g_new0(struct arena, 1);
	arena->blocks = block_new(BLOCK_SIZE);
	return arena;
}

/* Keeps the oldest block, which always has the standard size. */
void
arena_clear(struct arena *arena)
{
	while (arena->blocks->next != NULL) {
		struct block *block = arena->blocks;
		arena->blocks = block->next;
		g_free(block);
	}
	arena->blocks->used = 0;
	arena->used = 0;
}

void
arena_free(struct arena **arena)
{
	if (*arena == NULL)
		return;
	arena_clear(*arena);
	g_free((*arena)->blocks);
	g_free(*arena);
	*arena = NULL;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	g_assert(size < SIZE_MAX / 2);
	size_t need = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	struct block *block = arena->blocks;
	if (block->size - block->used < need) {
		block = block_new(MAX(need, BLOCK_SIZE));
		block->next = arena->blocks;
		arena->blocks = block;
	}
	void *memory = block->data + block->used;
	block->used += need;
	arena->used += need;
	return memset(memory, 0, size);
}

char *
arena_strndup(struct arena *arena, const char *str, size_t len)
{
	char *copy = arena_alloc(arena, len + 1);
	if (len > 0)
		memcpy(copy, str, len);
	return copy;
}

size_t
arena_used(const struct arena *arena)
{
	return arena->used;
}
