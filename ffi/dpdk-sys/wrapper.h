/*
 * What the bindings are made from: the DPDK headers in use, and a small shim for what bindgen cannot
 * see in them. `build.rs` lists what is taken.
 */
#ifndef SLUICE_DPDK_WRAPPER_H
#define SLUICE_DPDK_WRAPPER_H

/* fopencookie(3), which carries DPDK's log into the process, is a GNU extension. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

/* DPDK asks that this one comes before everything else (pkg-config says `-include rte_config.h`). */
#include <rte_config.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/*
 * The fields of an mbuf sit in anonymous unions that differ from release to release, so they are
 * reached by offset. Static constants rather than macros: bindgen evaluates these.
 */
static const size_t SLUICE_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);
static const size_t SLUICE_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);
static const size_t SLUICE_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);
static const size_t SLUICE_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);
static const size_t SLUICE_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);
static const size_t SLUICE_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);
static const size_t SLUICE_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);
static const size_t SLUICE_MBUF_NEXT = offsetof(struct rte_mbuf, next);
static const size_t SLUICE_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload);

/* 64-bit flags: RTE_BIT64 and ULL shifts are lost on bindgen. */
static const uint64_t SLUICE_RX_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SLUICE_RX_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t SLUICE_RX_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SLUICE_RX_TCP_LRO = RTE_ETH_RX_OFFLOAD_TCP_LRO;
static const uint64_t SLUICE_TX_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SLUICE_TX_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t SLUICE_TX_TCP_TSO = RTE_ETH_TX_OFFLOAD_TCP_TSO;
static const uint64_t SLUICE_TX_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

static const uint64_t SLUICE_RSS_IP_TCP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;
static const uint64_t SLUICE_RSS_TCP = RTE_ETH_RSS_TCP;

static const uint64_t SLUICE_MBUF_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SLUICE_MBUF_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SLUICE_MBUF_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SLUICE_MBUF_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SLUICE_MBUF_ATTACHED = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
static const uint64_t SLUICE_MBUF_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t SLUICE_MBUF_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t SLUICE_MBUF_TX_TCP_SEG = RTE_MBUF_F_TX_TCP_SEG;
static const uint64_t SLUICE_MBUF_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t SLUICE_MBUF_TX_IPV6 = RTE_MBUF_F_TX_IPV6;

/* Position of the header lengths, and of the payload of a segment, in `tx_offload`. */
static const uint32_t SLUICE_MBUF_L2_LEN_SHIFT = RTE_MBUF_L2_LEN_OFS;
static const uint32_t SLUICE_MBUF_L3_LEN_SHIFT = RTE_MBUF_L3_LEN_OFS;
static const uint32_t SLUICE_MBUF_L4_LEN_SHIFT = RTE_MBUF_L4_LEN_OFS;
static const uint32_t SLUICE_MBUF_TSO_SEGSZ_SHIFT = RTE_MBUF_TSO_SEGSZ_OFS;

/* `rte_errno` and the lcore id are thread-local variables. */
static inline int sluice_errno(void) { return rte_errno; }
static inline unsigned int sluice_lcore_id(void) { return rte_lcore_id(); }

/* The link's fields moved into a union in 24.11. Returns what rte_eth_link_get_nowait returns. */
static inline int sluice_link_get(uint16_t port, uint32_t *speed_mbps, uint8_t *up)
{
	struct rte_eth_link link = {0};
	int ret = rte_eth_link_get_nowait(port, &link);
	*speed_mbps = link.link_speed;
	*up = link.link_status == RTE_ETH_LINK_UP;
	return ret;
}

#endif
