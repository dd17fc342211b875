/* What WebAssembly needs besides the kernel: memory, which only grows, when a model is loaded. */
#include <stddef.h>
#include <stdint.h>

#define SS_PAGE 65536u

extern unsigned char __heap_base;

/* Return `bytes` of memory at a multiple of 64; NULL if there is none. It is never freed. */
void *ss_reserve(size_t bytes) {
    static uintptr_t used;
    uintptr_t start = ((used ? used : (uintptr_t)&__heap_base) + 63u) & ~(uintptr_t)63u;
    uint64_t end = (uint64_t)start + bytes;
    uint64_t held = (uint64_t)__builtin_wasm_memory_size(0) * SS_PAGE;
    if (end > held) {
        uint64_t pages = (end - held + SS_PAGE - 1u) / SS_PAGE;
        if (pages > 65535u || __builtin_wasm_memory_grow(0, (size_t)pages) == (size_t)-1)
            return NULL;
    }
    used = (uintptr_t)end;
    return (void *)start;
}
