/* Where lwIP asks the port: routes are the Sentry's table, sequence numbers are not to be guessed. */
#ifndef STOCKADE_LWIP_HOOKS_H
#define STOCKADE_LWIP_HOOKS_H
#include "lwip/ip_addr.h"
#include "lwip/netif.h"

struct netif *wire_route4(const ip4_addr_t *src, const ip4_addr_t *dest);
const ip4_addr_t *wire_gateway4(struct netif *netif, const ip4_addr_t *dest);
struct netif *wire_route6(const ip6_addr_t *src, const ip6_addr_t *dest);
const ip6_addr_t *wire_gateway6(struct netif *netif, const ip6_addr_t *dest);
struct tcp_pcb;
uint32_t wire_fin_wait(const struct tcp_pcb *pcb);
uint32_t wire_first_sequence(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port);

#ifdef TCP_FIN_WAIT_TIMEOUT /* tcp.c's, in tcp_slowtmr */
#undef TCP_FIN_WAIT_TIMEOUT
#define TCP_FIN_WAIT_TIMEOUT wire_fin_wait(pcb)
#endif

#define LWIP_HOOK_ETHARP_GET_GW(netif, dest) wire_gateway4(netif, dest)
#define LWIP_HOOK_IP6_ROUTE(src, dest) wire_route6(src, dest)
#define LWIP_HOOK_ND6_GET_GW(netif, dest) wire_gateway6(netif, dest)
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) wire_first_sequence(local, local_port, remote, remote_port)
#endif
