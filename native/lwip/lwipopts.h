/* How lwIP is built: one thread (the Sentry's dispatcher) drives it, timers and input included (port.c). */
#ifndef STOCKADE_LWIPOPTS_H
#define STOCKADE_LWIPOPTS_H

#define NO_SYS 1
#define LWIP_TIMERS 0
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_STATS 0
#define LWIP_NOASSERT_ON_ERROR 1

/* Memory is malloc's; what bounds it stands in port.c and in the sockets' buffers. */
#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8
#define MEM_SIZE (1 << 30)

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_ARP 1
#define LWIP_ETHERNET 1
#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_IGMP 1
#define LWIP_IPV6_MLD 1
#define LWIP_RAW 1
#define LWIP_TCP 1
#define LWIP_UDP 0 /* UDP is the Sentry's own (sentry/net/udp.py) */
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_DNS 0
#define LWIP_IPV6_DHCP6 0
#define IP_FORWARD 0
#define LWIP_IPV6_FORWARD 0
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_IPV6_NUM_ADDRESSES 8
#define MEMP_NUM_MLD6_GROUP 64
#define LWIP_NETIF_LOOPBACK 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_TX_SINGLE_PBUF 1
#define LWIP_NETIF_HWADDRHINT 1
#define ARP_QUEUEING 1
#define ARP_QUEUE_LEN 64
#define ARP_TABLE_SIZE 127
#define ETHARP_SUPPORT_STATIC_ENTRIES 1
#define LWIP_ND6_NUM_NEIGHBORS 64
#define LWIP_ND6_NUM_DESTINATIONS 64
#define MEMP_NUM_ND6_QUEUE 64
#define IP_REASS_MAX_PBUFS 512
#define MEMP_NUM_REASSDATA 64
#define IPV6_FRAG_COPYHEADER 1
#define LWIP_MULTICAST_TX_OPTIONS 1
#define IP_FRAG 1

#define TCP_MSS 8960
#define TCP_OVERSIZE 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 6
#define TCP_WND (2 << 20)
#define TCP_SND_BUF (2 << 20)
#define TCP_SND_QUEUELEN 16000
#define MEMP_NUM_TCP_SEG 16000
#define TCP_SNDLOWAT (1 << 18)
#define TCP_SNDQUEUELOWAT 8000
#define TCP_WND_UPDATE_THRESHOLD (256 << 10)
#define TCP_LISTEN_BACKLOG 0 /* port.c: make_room */
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_BYTES TCP_WND
#define TCP_OOSEQ_MAX_PBUFS 4000
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_KEEPALIVE 1
#define SO_REUSE 1
#define TCP_TMR_INTERVAL 50
#define LWIP_TCP_RTO_TIME 1000
#define TCP_MSL 30000UL
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1 /* TCP_LINGER2 */
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1

/* TCP's checksums are left to the link, as the host does (struct virtio_net_hdr); port.c verifies what was not. */
#define CHECKSUM_GEN_TCP 0
#define CHECKSUM_CHECK_TCP 0
#define LWIP_CHECKSUM_ON_COPY 0

#define LWIP_HOOK_FILENAME "hooks.h"
#define LWIP_HOOK_IP4_ROUTE_SRC(src, dest) wire_route4(src, dest) /* ip4.h wants to know before hooks.h is read */
#endif
