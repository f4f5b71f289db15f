/* SPDX-License-Identifier: MIT */
/*
 * An arena: memory that is handed out in small pieces and given back all at
 * once. What a parser builds lives in one, so that nothing needs a clean-up
 * path. One thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_new(void);
/* Frees *arena and sets it to NULL; NULL is accepted. */
void arena_free(struct arena **arena);
/* Gives back everything handed out, keeps one block for the next use. */
void arena_clear(struct arena *arena);

/* Zeroed memory aligned for any type. Never fails (aborts when out of memory). */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy of len octets with a NUL behind. */
char *arena_strndup(struct arena *arena, const char *str, size_t len);
/* Octets handed out since the last clear. */
size_t arena_used(const struct arena *arena);

#endif
