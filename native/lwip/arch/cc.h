/* What lwIP wants to know of compiler and host. */
#ifndef STOCKADE_LWIP_CC_H
#define STOCKADE_LWIP_CC_H
#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>

#define LWIP_TIMEVAL_PRIVATE 0
#define LWIP_ERRNO_STDINCLUDE 1
#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(text) wire_assert(text, __LINE__, __FILE__)
#define LWIP_RAND() wire_random()
#define LWIP_ERROR(message, expression, handler) do { if (!(expression)) { handler; } } while (0)

void wire_assert(const char *text, int line, const char *file) __attribute__((noreturn));
uint32_t wire_random(void);
#endif
