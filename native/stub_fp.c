/* FP state in a signal frame: the stub runs with the guest's FP and vector registers live, and touches their
 * image only in frames, the kernel's own or the one made here for a call that came without a signal. */
#include "stub.h"

#define FX_MXCSR 24
#define FX_MXCSR_MASK 28
#define FX_SW 464 /* struct _fpx_sw_bytes */
#define FX_SIZE 512
#define XSTATE_HEADER 64

struct _fpx_sw_bytes *fp_sw(char *fx)
{
	return (struct _fpx_sw_bytes *)(fx + FX_SW);
}

uint64_t fp_size(char *fx)
{
	return fp_sw(fx)->magic1 == FP_XSTATE_MAGIC1 ? fp_sw(fx)->extended_size : FX_SIZE;
}

/* Initial FP state: an empty XSTATE_BV means "initial" for every component; MXCSR is read all the same. */
void fp_reset(char *fx)
{
	memset(fx, 0, FX_MXCSR);
	memset(fx + FX_MXCSR_MASK + 4, 0, 416 - FX_MXCSR_MASK - 4);
	*(uint16_t *)fx = 0x37f;
	*(uint32_t *)(fx + FX_MXCSR) = 0x1f80;
	if (fp_sw(fx)->magic1 == FP_XSTATE_MAGIC1)
		memset(fx + FX_SIZE, 0, XSTATE_HEADER);
}

/* Loads a guest's signal frame image as rt_sigreturn would: without valid magic numbers and our sizes it is an
 * FXSAVE image (arch/x86/kernel/fpu/signal.c: check_xstate_in_sigframe); what the processor would refuse is
 * refused here, since a failing rt_sigreturn of ours would look like a fault of the guest. 0, or -1. */
int fp_load(char *fx, const char *from)
{
	struct _fpx_sw_bytes sw = *fp_sw(fx);
	struct _fpx_sw_bytes *theirs;
	uint32_t mask = *(uint32_t *)(fx + FX_MXCSR_MASK), magic2 = 0;
	char image[FX_SIZE + XSTATE_HEADER] __attribute__((aligned(64)));
	uint64_t *header = (uint64_t *)(image + FX_SIZE);
	int whole;
	if (st_copy(image, from, FX_SIZE))
		return -1;
	if (*(uint32_t *)(image + FX_MXCSR) & ~(mask ? mask : 0xffbf))
		return -1;
	*(uint32_t *)(image + FX_MXCSR_MASK) = mask;
	theirs = fp_sw(image);
	whole = sw.magic1 == FP_XSTATE_MAGIC1 && theirs->magic1 == FP_XSTATE_MAGIC1 &&
		theirs->extended_size == sw.extended_size && theirs->xstate_size == sw.xstate_size;
	if (whole && st_copy(&magic2, from + sw.xstate_size, 4))
		return -1;
	if (whole && magic2 == FP_XSTATE_MAGIC2) {
		if (st_copy(header, from + FX_SIZE, XSTATE_HEADER) || header[0] & ~sw.xfeatures)
			return -1;
		for (int i = 1; i < XSTATE_HEADER / 8; i++)
			if (header[i])
				return -1;
		header[0] &= theirs->xfeatures;
		if (st_copy(fx + FX_SIZE + XSTATE_HEADER, from + FX_SIZE + XSTATE_HEADER,
			    sw.xstate_size - FX_SIZE - XSTATE_HEADER))
			return -1;
	} else {
		memset(header, 0, XSTATE_HEADER);
		header[0] = 3; /* x87 and SSE from the image, the rest initial */
	}
	*theirs = sw;
	memcpy(fx, image, sw.magic1 == FP_XSTATE_MAGIC1 ? FX_SIZE + XSTATE_HEADER : FX_SIZE);
	return 0;
}

/* The registers as they are now, as the kernel would put them into a frame (arch/x86/kernel/fpu/signal.c). `fx` is
 * aligned to 64 and has FP_ROOM bytes. */
void fp_save(char *fx)
{
	const struct _fpx_sw_bytes *sw = (const struct _fpx_sw_bytes *)SHARED->fp_sw;
	if (sw->magic1 != FP_XSTATE_MAGIC1) {
		__asm__ volatile("fxsave64 (%0)" : : "r"(fx) : "memory");
		*fp_sw(fx) = *sw;
		return;
	}
	if (sw->extended_size > FP_ROOM || sw->xstate_size + 4 > FP_ROOM)
		panic();
	memset(fx + FX_SIZE, 0, XSTATE_HEADER);
	__asm__ volatile("xsave64 (%0)" : : "r"(fx), "a"((uint32_t)sw->xfeatures), "d"((uint32_t)(sw->xfeatures >> 32)) : "memory");
	*fp_sw(fx) = *sw;
	*(uint32_t *)(fx + sw->xstate_size) = FP_XSTATE_MAGIC2;
}

/* --- frames in guest memory, for processors with XSAVE ------------------------------------------ */

static const struct {
	uint16_t cwd;
	uint16_t pad[11];
	uint32_t mxcsr;
	uint8_t rest[FX_SIZE + XSTATE_HEADER - 28];
} initial __attribute__((aligned(64))) = { .cwd = 0x37f, .mxcsr = 0x1f80 };
_Static_assert(sizeof initial >= FX_SIZE + XSTATE_HEADER, "initial state");

/* Bytes of FP state in a frame. */
uint64_t fp_room(void)
{
	return ((const struct _fpx_sw_bytes *)SHARED->fp_sw)->extended_size;
}

/* Writes the registers into the frame at `fx` (aligned to 64), and makes them initial. 0, or -1 on a fault. */
int fp_to_frame(char *fx)
{
	struct _fpx_sw_bytes sw = *(const struct _fpx_sw_bytes *)SHARED->fp_sw;
	uint32_t magic2 = FP_XSTATE_MAGIC2;
	if (sw.magic1 != FP_XSTATE_MAGIC1 || st_zero(fx + FX_SIZE, XSTATE_HEADER) || st_xsave(fx, sw.xfeatures) ||
	    st_copy(fx + FX_SW, &sw, sizeof sw) || st_copy(fx + sw.xstate_size, &magic2, sizeof magic2))
		return -1;
	return st_xrstor((const char *)&initial, sw.xfeatures);
}

/* Loads the registers from a frame that has all that ours have. -1: it is another one, or not readable; the registers
 * may have changed then. */
int fp_from_frame(const char *fx)
{
	struct _fpx_sw_bytes sw = *(const struct _fpx_sw_bytes *)SHARED->fp_sw, theirs;
	uint32_t magic2;
	if (sw.magic1 != FP_XSTATE_MAGIC1 || st_copy(&theirs, fx + FX_SW, sizeof theirs) ||
	    st_copy(&magic2, fx + sw.xstate_size, sizeof magic2))
		return -1;
	if (theirs.magic1 != sw.magic1 || theirs.extended_size != sw.extended_size || theirs.xfeatures != sw.xfeatures ||
	    theirs.xstate_size != sw.xstate_size || magic2 != FP_XSTATE_MAGIC2)
		return -1;
	return st_xrstor(fx, sw.xfeatures);
}
