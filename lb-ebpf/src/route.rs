//! Asking the kernel's routes.
#![allow(unsafe_code, reason = "a helper of the kernel's")]

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_UNSUPP_LWT,
        bpf_fib_lookup as Question, xdp_md,
    },
    helpers::generated::bpf_fib_lookup,
};
use lb_ebpf::{
    family::NETWORK_OFFSET,
    headers::{ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6},
    ingress::Ingress,
    packet::Packet,
    tables::Way,
};

/// `AF_INET` and `AF_INET6` of Linux.
const INET: u8 = 2;
const INET6: u8 = 10;

/// Where a packet is to go by the host's routes and neighbours: see
/// [`Tables::route`](lb_ebpf::tables::Tables::route).
///
/// The kernel answers such questions since 4.18, and says "not forwarded" of what
/// is for itself or has no route.
#[inline(always)]
pub(crate) fn route(context: *mut xdp_md, packet: &Packet<'_>, ingress: Ingress, source: [u64; 2]) -> Option<Way> {
    let mut place = Place { words: [0; 8] };
    // SAFETY: integers and unions of integers, of which zero is a value.
    let question = unsafe { &mut place.question };
    question.ifindex = ingress.ifindex();
    if packet.view::<Ethernet>(0)?.ethertype == ETHERTYPE_IPV6 {
        let ip = packet.view::<Ipv6>(NETWORK_OFFSET)?;
        question.family = INET6;
        question.l4_protocol = ip.next_header;
        question.__bindgen_anon_1.tot_len = u16::from_be(ip.payload_length).wrapping_add(size_of::<Ipv6>() as u16);
        let destination = ip.destination;
        question.__bindgen_anon_3.ipv6_src = words(source);
        question.__bindgen_anon_4.ipv6_dst = words(destination);
    } else {
        let ip = packet.view::<Ipv4>(NETWORK_OFFSET)?;
        question.family = INET;
        question.l4_protocol = ip.protocol;
        question.__bindgen_anon_1.tot_len = u16::from_be(ip.total_length);
        question.__bindgen_anon_3.ipv4_src = source[0] as u32;
        question.__bindgen_anon_4.ipv4_dst = ip.destination;
    }
    // SAFETY: the context is the program's own; the question is as long as it is
    // said to be, and all of it has values.
    let answer = unsafe { bpf_fib_lookup(context.cast(), &raw mut place.question, size_of::<Question>() as i32, 0) };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            // SAFETY: eight words of any bits.
            let words = unsafe { place.words };
            // The last twelve bytes are our address and the next hop's.
            let (to, from) = (words[7] & !0xffff, words[6] >> 32 << 16 | words[7] << 48);
            Some(Way { ifindex: (words[1]) as u32, to, from })
        }
        BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED | BPF_FIB_LKUP_RET_UNSUPP_LWT => Some(Way::default()),
        _ => None,
    }
}

/// The kernel's question in words: a part of it lies where no register can be
/// loaded from at once.
#[repr(C)]
union Place {
    question: Question,
    words: [u64; 8],
}

const _: () = assert!(size_of::<Question>() == 64 && core::mem::offset_of!(Question, ifindex) == 8);
const _: () = assert!(core::mem::offset_of!(Question, smac) == 52 && core::mem::offset_of!(Question, dmac) == 58);

/// An IPv6 address in the words the kernel's structure has.
#[inline(always)]
const fn words(address: [u64; 2]) -> [u32; 4] {
    [address[0] as u32, (address[0] >> 32) as u32, address[1] as u32, (address[1] >> 32) as u32]
}
