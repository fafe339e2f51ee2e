/* Looking at the code before a `syscall` instruction, for sentry/mm/decode.pyx: which instructions could run
 * elsewhere, and where functions begin. The bytes are a guest's: every read is within the given size. */
#ifndef STOCKADE_DECODE_H
#define STOCKADE_DECODE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#define DC_JUMP 5u /* bytes of jmp rel32 */
#define DC_MOST 5u /* instructions that are displaced at most: all but the last are shorter than the jump */

enum { /* why a site stays as it is; names in decode.pyx */
	DC_OK = 0,
	DC_UNDECODABLE, /* an instruction of the function is unknown to the decoder, or cut off */
	DC_MISALIGNED,  /* the instructions from the function's start do not lead to the site */
	DC_NO_SYSCALL,
	DC_SHORT,       /* the function has less than five bytes before it */
	DC_FIXED,       /* an instruction before it works only where it is, or is not known to work elsewhere */
	DC_BRANCH,      /* a branch of the function leads between the displaced instructions */
	DC_INDIRECT,    /* the function has jumps whose targets are not known */
};

struct dc_shape {
	uint32_t start; /* of the displaced instructions, which end at the site */
	uint32_t n;
	uint8_t len[DC_MOST];
};

static ZydisDecoder dc_decoder;

static inline int dc_init(void)
{
	return ZYAN_SUCCESS(ZydisDecoderInit(&dc_decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ? 0 : -1;
}

/* A conditional jump of two bytes, which elsewhere takes six. */
static inline int dc_short_jump(const ZydisDecodedInstruction *i)
{
	return i->length == 2 && (i->opcode & 0xf0) == 0x70 && i->meta.category == ZYDIS_CATEGORY_COND_BR;
}

/* Instructions that compute and move, and do the same at any address, if distances in them are set right. */
static inline int dc_movable(const ZydisDecodedInstruction *i)
{
	if (dc_short_jump(i))
		return 1;
	if (i->attributes & ZYDIS_ATTRIB_IS_RELATIVE && (i->raw.disp.size != 32 || i->address_width != 64))
		return 0;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVSX: case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_LEA: case ZYDIS_MNEMONIC_NOP: case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_SUB: case ZYDIS_MNEMONIC_NEG: case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC: case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_CDQE: case ZYDIS_MNEMONIC_CQO: case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_SETZ: case ZYDIS_MNEMONIC_SETNZ: case ZYDIS_MNEMONIC_CMOVZ: case ZYDIS_MNEMONIC_CMOVNZ:
		return 1;
	default:
		return 0;
	}
}

static inline int dc_decode(const uint8_t *code, uint32_t size, uint32_t at, ZydisDecodedInstruction *i)
{
	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&dc_decoder, NULL, code + at, size - at, i)) && i->length ? 0 : -1;
}

/* Does any branch in code[0, size) lead strictly between `low` and `high`? A DC_* answer. */
static inline int dc_branches(const uint8_t *code, uint32_t size, uint32_t low, uint32_t high)
{
	uint32_t at = 0;
	ZydisDecodedInstruction i;
	while (at < size) {
		if (dc_decode(code, size, at, &i))
			return DC_UNDECODABLE;
		at += i.length;
		switch (i.meta.category) {
		case ZYDIS_CATEGORY_COND_BR: case ZYDIS_CATEGORY_UNCOND_BR: case ZYDIS_CATEGORY_CALL:
			if (i.raw.imm[0].is_relative) {
				int64_t target = (int64_t)at + i.raw.imm[0].value.s;
				if (target > (int64_t)low && target < (int64_t)high)
					return DC_BRANCH;
			} else if (i.meta.category == ZYDIS_CATEGORY_UNCOND_BR && !(i.attributes & ZYDIS_ATTRIB_IS_RELATIVE)) {
				return DC_INDIRECT; /* jmp *x(%rip) leaves for another function */
			}
			break;
		default:
			break;
		}
	}
	return DC_OK;
}

/* How the site at `at` in a function's code can be displaced. code[0] is the function's first byte, size its length. */
static inline int dc_shape(const uint8_t *code, uint32_t size, uint32_t at, struct dc_shape *out)
{
	uint8_t length[8], movable[8]; /* of the last eight instructions */
	uint32_t where = 0, seen = 0, total = 0, n = 0;
	ZydisDecodedInstruction i;
	if (size < 2 || at > size - 2 || code[at] != 0x0f || code[at + 1] != 0x05)
		return DC_NO_SYSCALL;
	while (where < at) {
		if (dc_decode(code, size, where, &i))
			return DC_UNDECODABLE;
		length[seen & 7] = i.length;
		movable[seen & 7] = (uint8_t)dc_movable(&i);
		seen++;
		where += i.length;
	}
	if (where != at)
		return DC_MISALIGNED;
	while (total < DC_JUMP) {
		if (n == seen)
			return DC_SHORT;
		n++;
		if (!movable[(seen - n) & 7])
			return DC_FIXED;
		total += length[(seen - n) & 7];
	}
	out->start = at - total;
	out->n = n;
	for (uint32_t k = 0; k < n; k++)
		out->len[k] = length[(seen - n + k) & 7];
	return n == 1 ? DC_OK : dc_branches(code, size, out->start, at);
}

/* What is relative in the movable instruction at code[0]: the offset of a 32-bit distance to memory, -1: it is a short
 * jump, 0: nothing. */
static inline int dc_relative(const uint8_t *code, uint32_t size)
{
	ZydisDecodedInstruction i;
	if (dc_decode(code, size, 0, &i) || !(i.attributes & ZYDIS_ATTRIB_IS_RELATIVE))
		return 0;
	return dc_short_jump(&i) ? -1 : i.raw.disp.offset;
}

/* Is there, at any offset of text, what as a call or jump with a rel32 would lead strictly between `low` and `high`
 * (offsets in text)? Instructions are not decoded, so this sees more branches than there are, never fewer. */
static inline int dc_rel32(const uint8_t *text, uint64_t size, uint64_t low, uint64_t high)
{
	for (uint64_t at = 1; at + 4 <= size; at++) {
		int32_t rel;
		memcpy(&rel, text + at, 4);
		if (at + 4 + (uint64_t)(int64_t)rel - low - 1 < high - low - 1 &&
		    ((text[at - 1] & 0xfe) == 0xe8 || ((text[at - 1] & 0xf0) == 0x80 && at >= 2 && text[at - 2] == 0x0f)))
			return 1;
	}
	return 0;
}

static inline int dc_compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static inline uint64_t dc_get(const uint8_t *p, uint32_t n)
{
	uint64_t v = 0;
	memcpy(&v, p, n);
	return v;
}

/* Start and length pairs of the FDEs of an .eh_frame section that is linked at `vaddr`, sorted by start; only those whose
 * pointers are pc-relative with four bytes, as all compilers make them. `signal`: only of code that returns from signal
 * handlers (augmentation S). Returns the number, at most `room`. */
static inline uint32_t dc_fdes(const uint8_t *data, uint64_t size, uint64_t vaddr, int signal, uint64_t *out, uint32_t room)
{
	uint64_t at = 0;
	uint32_t n = 0;
	while (at + 8 <= size && n < room) {
		uint64_t length = dc_get(data + at, 4), id = dc_get(data + at + 4, 4), next = at + 4 + length, cie, p;
		if (length < 4 || length == 0xffffffff || next > size)
			break;
		if (id && length >= 12 && id <= at + 4) {
			cie = at + 4 - id; /* "zR…": the augmentation data begin with the pointer encoding, unless P or L stand before */
			if (cie + 20 <= size && data[cie + 8] == 1 && data[cie + 9] == 'z') {
				uint8_t encoding = 0;
				int wanted = !signal;
				const uint8_t *aug = data + cie + 10, *end = data + size;
				const uint8_t *q = aug;
				while (q < end && *q)
					wanted |= *q++ == 'S';
				q++; /* code alignment, data alignment, return address, length of the augmentation data: LEB128 */
				for (int skip = 0; skip < 4; skip++) {
					while (q < end && *q & 0x80)
						q++;
					q++;
				}
				for (; aug < end && *aug && q < end; aug++) {
					if (*aug == 'R') {
						encoding = *q;
						break;
					}
					if (*aug == 'L')
						q++;
					else if (*aug == 'P')
						q += (*q & 7) == 4 || (*q & 7) == 0 ? 9 : 5;
					else if (*aug != 'S' && *aug != 'B')
						break;
				}
				if (encoding == 0x1b && wanted) {
					p = at + 8;
					out[2 * n] = vaddr + p + (uint64_t)(int64_t)(int32_t)dc_get(data + p, 4);
					out[2 * n + 1] = dc_get(data + p + 4, 4);
					n++;
				}
			}
		}
		at = next;
	}
	qsort(out, n, 16, dc_compare);
	return n;
}

#endif
