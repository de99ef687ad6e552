"""Protocols, queueing disciplines and other extensions of the network stack that modules register, 6.1."""

from __future__ import annotations

from kmem.kapi.registry import registers

registers(
    "net/core/rtnetlink.c",
    "void rtnl_af_register(struct rtnl_af_ops *ops)",
    "void rtnl_af_unregister(struct rtnl_af_ops *ops)",
)
registers(
    "net/core/dev.c",
    "void dev_add_offload(struct packet_offload *po)",
    "void dev_remove_offload(struct packet_offload *po)",
)
registers("net/core/dev.c", "void dev_add_pack(struct packet_type *pt)", "void dev_remove_pack(struct packet_type *pt)")
registers(
    "net/ipv4/protocol.c",
    "int inet_add_protocol(const struct net_protocol *prot, unsigned char protocol)",
    "int inet_del_protocol(const struct net_protocol *prot, unsigned char protocol)",
    which=1,
)
registers(
    "net/ipv4/protocol.c",
    "int inet_add_offload(const struct net_offload *prot, unsigned char protocol)",
    "int inet_del_offload(const struct net_offload *prot, unsigned char protocol)",
    which=1,
)
registers(
    "net/ipv6/protocol.c",
    "int inet6_add_protocol(const struct inet6_protocol *prot, unsigned char protocol)",
    "int inet6_del_protocol(const struct inet6_protocol *prot, unsigned char protocol)",
    which=1,
)
registers(
    "net/ipv6/protocol.c",
    "int inet6_add_offload(const struct net_offload *prot, unsigned char protocol)",
    "int inet6_del_offload(const struct net_offload *prot, unsigned char protocol)",
    which=1,
)
registers(
    "net/ipv4/af_inet.c",
    "void inet_register_protosw(struct inet_protosw *p)",
    "void inet_unregister_protosw(struct inet_protosw *p)",
)
registers(
    "net/ipv6/af_inet6.c",
    "int inet6_register_protosw(struct inet_protosw *p)",
    "void inet6_unregister_protosw(struct inet_protosw *p)",
)
registers(
    "net/ipv4/tcp_ulp.c",
    "int tcp_register_ulp(struct tcp_ulp_ops *ulp)",
    "void tcp_unregister_ulp(struct tcp_ulp_ops *ulp)",
    twice=17,
)
registers(
    "net/ipv4/tcp_cong.c",
    "int tcp_register_congestion_control(struct tcp_congestion_ops *ca)",
    "void tcp_unregister_congestion_control(struct tcp_congestion_ops *ca)",
    twice=17,
)
registers(
    "net/sched/sch_api.c",
    "int register_qdisc(struct Qdisc_ops *qops)",
    "void unregister_qdisc(struct Qdisc_ops *qops)",
    twice=17,
)
registers(
    "net/sched/cls_api.c",
    "int register_tcf_proto_ops(struct tcf_proto_ops *ops)",
    "void unregister_tcf_proto_ops(struct tcf_proto_ops *ops)",
    twice=17,
)
registers(
    "net/sched/ematch.c",
    "int tcf_em_register(struct tcf_ematch_ops *ops)",
    "void tcf_em_unregister(struct tcf_ematch_ops *ops)",
    twice=17,
)
registers(
    "net/core/lwtunnel.c",
    "int lwtunnel_encap_add_ops(const struct lwtunnel_encap_ops *ops, unsigned int num)",
    "int lwtunnel_encap_del_ops(const struct lwtunnel_encap_ops *ops, unsigned int encap_type)",
    which=1,
)
registers(
    "net/xfrm/xfrm_state.c",
    "int xfrm_register_type(const struct xfrm_type *type, unsigned short family)",
    "void xfrm_unregister_type(const struct xfrm_type *type, unsigned short family)",
)
registers(
    "net/xfrm/xfrm_state.c",
    "int xfrm_register_type_offload(const struct xfrm_type_offload *type, unsigned short family)",
    "void xfrm_unregister_type_offload(const struct xfrm_type_offload *type, unsigned short family)",
)
registers(
    "net/xfrm/xfrm_state.c",
    "void xfrm_register_km(struct xfrm_mgr *km)",
    "void xfrm_unregister_km(struct xfrm_mgr *km)",
)
registers(
    "net/xfrm/xfrm_policy.c",
    "int xfrm_policy_register_afinfo(const struct xfrm_policy_afinfo *afinfo, int family)",
    "void xfrm_policy_unregister_afinfo(const struct xfrm_policy_afinfo *afinfo)",
)
registers(
    "net/netfilter/nf_log.c",
    "int nf_log_register(u8 pf, struct nf_logger *logger)",
    "void nf_log_unregister(struct nf_logger *logger)",
    which=1,
)
registers(
    "net/netfilter/nf_sockopt.c",
    "int nf_register_sockopt(struct nf_sockopt_ops *reg)",
    "void nf_unregister_sockopt(struct nf_sockopt_ops *reg)",
    twice=16,
)
registers(
    "net/ipv4/xfrm4_protocol.c",
    "int xfrm4_protocol_register(struct xfrm4_protocol *handler, unsigned char protocol)",
    "int xfrm4_protocol_deregister(struct xfrm4_protocol *handler, unsigned char protocol)",
)
registers(
    "net/ipv6/xfrm6_protocol.c",
    "int xfrm6_protocol_register(struct xfrm6_protocol *handler, unsigned char protocol)",
    "int xfrm6_protocol_deregister(struct xfrm6_protocol *handler, unsigned char protocol)",
)
registers(
    "net/core/sock_diag.c",
    "int sock_diag_register(const struct sock_diag_handler *hndl)",
    "void sock_diag_unregister(const struct sock_diag_handler *hndl)",
    twice=16,
)
