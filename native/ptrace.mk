# Builds the ptrace platform's seed, a static executable without libc, and a header that carries it
# as bytes: the Sentry runs it from a memfd, so that it needs no file.
CC = gcc
OUT = ../build/native
CFLAGS = -std=gnu11 -Os -g0 -Wall -Wextra -ffreestanding -nostdlib -mgeneral-regs-only -fno-stack-protector \
	-fno-pic -fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns

all: $(OUT)/ptrace_seed.h

$(OUT)/ptrace_seed: ptrace_seed.c ptrace_abi.h ptrace.mk
	@mkdir -p $(OUT)
	$(CC) $(CFLAGS) -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro -s -o $@ ptrace_seed.c

$(OUT)/ptrace_seed.h: $(OUT)/ptrace_seed
	(echo 'static const unsigned char tr_seed[] = {'; od -An -v -tu1 $< | sed 's/ *\([0-9][0-9]*\)/\1,/g'; echo '};') >$@.new
	mv $@.new $@

clean:
	rm -f $(OUT)/ptrace_seed $(OUT)/ptrace_seed.h

.PHONY: all clean
