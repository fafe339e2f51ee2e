/* The packet stack as the Sentry's binding (sentry/net/lwip.pyx) uses it: lwIP behind packet descriptors. All calls come
 * from one thread. Addresses are 4 or 16 bytes in network order, ports and lengths in host order, errors negative errno. */
#ifndef STOCKADE_LWIP_PORT_H
#define STOCKADE_LWIP_PORT_H
#include <stdint.h>

struct tcp_pcb;

/* Which IPv4 datagrams may be cut into fragments on their way: all; those larger than the path carries; none; none, and what is
 * known of the path does not count (IP_PMTUDISC_*). */
enum { CUT_ALL, CUT_LARGE, CUT_NEVER, CUT_PROBE };

/* What the stack tells. `arg` is the connection's or the listener's. */
struct wire_calls {
    void (*connected)(void *arg);
    void (*data)(void *arg, const char *data, long length, int more); /* more: another piece follows at once */
    void (*fin)(void *arg);
    void (*room)(void *arg);
    void (*failed)(void *arg, int error); /* the connection is gone; 0: as both ends wanted it */
    int (*full)(void *listener); /* no more connections for now */
    /* A connection at a listener: the arg of the new one, or NULL to refuse it. */
    void *(*accepted)(void *listener, struct tcp_pcb *pcb, const uint8_t *local, const uint8_t *remote, int length, int port, int link);
    /* A datagram or message of `protocol`: 1 if somebody took it (UDP: a socket has it). */
    int (*message)(int protocol, const char *header, int header_length, const char *data, long length, const uint8_t *source,
                   const uint8_t *host, int address_length, int ttl, int tos, int link);
};

void wire_start(const struct wire_calls *calls);
int wire_add_link(int index, int fd, const uint8_t *mac, int mtu);
int wire_add_address(int index, const uint8_t *address, int length, int bits);
int wire_add_route(const uint8_t *network, int length, int bits, int index, const uint8_t *gateway);
int wire_add_neighbour(int index, const uint8_t *address, const uint8_t *mac);
int wire_group(int index, const uint8_t *group, int length, int join);
int wire_poll(int index, int frames); /* frames read; 0: there are none, -errno: the link is gone */
int wire_tick(int count);             /* 50 ms have passed, `count` ticks in all; 0: nothing needs the next one soon */
void wire_age(int seconds);            /* nothing ticked for so long */
void wire_limit(long pending);        /* bytes received and not read, of all sockets: much of it stops further data */
int wire_send(int protocol, const char *data, long length, const uint8_t *source, const uint8_t *host, int address_length,
              int ttl, int tos, int link, int cut); /* cut: CUT_*, of IPv4 */
int wire_send_udp(const char *data, long length, const uint8_t *source, int source_port, const uint8_t *host, int port,
                  int address_length, int ttl, int tos, int link, int cut);

struct tcp_pcb *wire_connect(void *arg, const uint8_t *local, int local_port, const uint8_t *remote, int port, int length, int link, int *error);
struct tcp_pcb *wire_listen(void *arg, const uint8_t *local, int length, int port);
long wire_write(struct tcp_pcb *pcb, const char *data, long length, int more);
long wire_writable(struct tcp_pcb *pcb);
long wire_unsent(struct tcp_pcb *pcb);
void wire_took(struct tcp_pcb *pcb, long count);
void wire_shutdown(struct tcp_pcb *pcb);
void wire_detach(struct tcp_pcb *pcb, int reset);
void wire_forget(struct tcp_pcb *pcb); /* closed by both ends: the rest is the stack's */
void wire_stop_listening(struct tcp_pcb *pcb);
void wire_configure(struct tcp_pcb *pcb, int nodelay, int keepalive, int idle, int interval, int count, int ttl, int tos);
long wire_rtt(struct tcp_pcb *pcb); /* microseconds */
uint32_t wire_acknowledged(struct tcp_pcb *pcb); /* the last sequence number that was */
void wire_flush(struct tcp_pcb *pcb); /* send what is held back */
/* IP_MTU_DISCOVER, TCP_QUICKACK (as long as it is set), TCP_LINGER2 (s, negative: none, 0: as usual). */
void wire_manner(struct tcp_pcb *pcb, int may_be_cut, int prompt, int linger);
int wire_path_mtu(const uint8_t *host, int length, int mtu); /* mtu: of the link */
int wire_learn_mtu(const uint8_t *host, int mtu); /* "fragmentation needed": 1 if that is less than before */
void wire_too_big(const uint8_t *source, int port, const uint8_t *host, int peer, uint32_t sequence, int mtu); /* the same, of a TCP segment */
/* A neighbour: where to look for the next one, or -1: there are no more. at: 0, then what the last call said; state: NUD_*. */
int wire_neighbour(int at, int *link, uint8_t *address, int *length, uint8_t *mac, int *state);
int wire_resolved(const uint8_t *host, int length, int link); /* does the next hop answer? */
#endif
