/* Force-included when llama.cpp is compiled (environments.py).
 *
 * GCC 12 tells its optimiser that `_tile_loadconfig` reads only the first 8 of the 64 bytes that it loads, and drops the
 * stores to the others; on machines with AMX llama.cpp then loads garbage and dies. Here the address escapes, so nothing
 * is dropped. To go when GCC 12 does. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
static inline void load_whole_tile_config(const void *config) {
    __asm__ volatile("ldtilecfg (%0)" : : "r"(config) : "memory");
}
#undef _tile_loadconfig
#define _tile_loadconfig load_whole_tile_config
#endif
