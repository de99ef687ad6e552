/* The loops of model_loops.py over ALLOC and FREE, exported under the names NAME_pairs and NAME_live. */
#include <stdint.h>
#include <stddef.h>

#define LOOPS(NAME, ALLOC, FREE)                                                           \
uint64_t NAME##_pairs(uint64_t count, uint64_t size)                                       \
{                                                                                          \
	uint64_t total = 0;                                                                \
	for (uint64_t i = 0; i < count; i++) {                                             \
		void *volatile p = ALLOC(size);                                            \
		total += (uintptr_t)p & 0xffff;                                            \
		FREE(p);                                                                   \
	}                                                                                  \
	return total;                                                                      \
}                                                                                          \
uint64_t NAME##_live(uint64_t count, void **slots, uint64_t live, uint64_t largest)        \
{                                                                                          \
	uint64_t x = 88172645463325252ULL, failed = 0;                                     \
	for (uint64_t i = 0; i < count; i++) {                                             \
		x ^= x << 13;                                                              \
		x ^= x >> 7;                                                               \
		x ^= x << 17;                                                              \
		void **slot = slots + ((x >> 32) * live >> 32);                            \
		uint64_t size = 1 + ((x & 0xffffffff) * largest >> 32);                    \
		FREE(*slot);                                                               \
		*slot = ALLOC(size);                                                       \
		failed += !*slot;                                                          \
	}                                                                                  \
	return failed;                                                                     \
}
