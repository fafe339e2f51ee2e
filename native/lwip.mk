# Builds lwIP (source fetched by scripts/deps.sh) with the options of lwip/lwipopts.h and its port to the Sentry, as
# build/native/liblwip.a for sentry/net/lwip.pyx.
CC = gcc
OUT = ../build/native
STOCKADE_CACHE ?= ../.cache
LWIP = $(STOCKADE_CACHE)/lwip/src
CFLAGS = -std=gnu11 -O2 -g0 -fPIC -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wall -Wno-unused-variable \
	-Wno-unused-but-set-variable -D_GNU_SOURCE -Ilwip -I$(LWIP)/include
NAMES = def inet_chksum init ip mem memp netif pbuf raw stats sys tcp tcp_in tcp_out timeouts \
	ipv4/etharp ipv4/icmp ipv4/igmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag \
	ipv6/ethip6 ipv6/icmp6 ipv6/inet6 ipv6/ip6 ipv6/ip6_addr ipv6/ip6_frag ipv6/mld6 ipv6/nd6
OBJECTS = $(NAMES:%=$(OUT)/lwip/%.o) $(OUT)/lwip/ethernet.o $(OUT)/lwip/port.o $(OUT)/lwip/paths.o $(OUT)/lwip/mtu.o
HEADERS = lwip/lwipopts.h lwip/hooks.h lwip/port.h lwip/paths.h lwip/mtu.h lwip/arch/cc.h lwip.mk

all: $(if $(wildcard $(LWIP)/core/tcp.c),$(OUT)/liblwip.a)

$(OUT)/lwip/%.o: $(LWIP)/core/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

# TCP's segments may be larger than a packet (mtu.c: wire_whole4), so they go around lwIP's fragmentation.
$(OUT)/lwip/tcp_out.o: CFLAGS += -Dip4_output_if=wire_whole4 -Dip6_output_if=wire_whole6

$(OUT)/lwip/ethernet.o: $(LWIP)/netif/ethernet.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(OUT)/lwip/port.o $(OUT)/lwip/paths.o $(OUT)/lwip/mtu.o: $(OUT)/lwip/%.o: lwip/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -Wextra -c -o $@ $<

$(OUT)/liblwip.a: $(OBJECTS)
	@rm -f $@
	ar rcs $@ $(OBJECTS)

clean:
	rm -rf $(OUT)/lwip $(OUT)/liblwip.a

.PHONY: all clean
