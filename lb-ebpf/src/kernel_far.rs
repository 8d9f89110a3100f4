//! The far calls as global functions: the verifier goes through each of them
//! once, whoever calls it.
#![allow(unreachable_pub, reason = "the linker is to find them")]
#![allow(unsafe_code, reason = "entry points that the verifier looks at by themselves, and their raw context")]

use aya_ebpf::bindings::xdp_md;
use lb_common::atomic::opaque;
use lb_ebpf::{
    far::{self, Call},
    packet::Packet,
};

use crate::maps::Maps;

/// Declares a function for each call, and the choice among them.
macro_rules! functions {
    ($($name:ident = $call:ident,)+) => {
        $(
            #[doc = concat!("[`Call::", stringify!($call), "`].")]
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(context: *mut xdp_md, a: u64, b: u64, c: u64, d: u64) -> u64 {
                // Callers would pass anything for what is not used, and the
                // verifier wants to see what was declared.
                let context = opaque(context as u64) as *mut xdp_md;
                let arguments = [opaque(a), opaque(b), opaque(c), opaque(d)];
                // SAFETY: the context is what the kernel called the program
                // with; the caller does not use its cursor meanwhile.
                let mut packet = unsafe { Packet::of(context) };
                far::run(Call::$call, &mut packet, &Maps { context, is_near: false }, arguments)
            }
        )+

        /// Carries a call out.
        #[inline(always)]
        pub(crate) fn call(context: *mut xdp_md, call: Call, arguments: [u64; 4]) -> u64 {
            let [a, b, c, d] = arguments;
            match call {
                $(Call::$call => $name(context, a, b, c, d),)+
            }
        }
    };
}

functions! {
    far_attend4 = Attend4,
    far_attend6 = Attend6,
    far_begin4 = Begin4,
    far_begin6 = Begin6,
    far_find_record4 = FindRecord4,
    far_find_record6 = FindRecord6,
    far_choose4 = Choose4,
    far_choose6 = Choose6,
    far_choose_new4 = ChooseNew4,
    far_choose_new6 = ChooseNew6,
    far_write_record4 = WriteRecord4,
    far_write_record6 = WriteRecord6,
    far_heard4 = Heard4,
    far_heard6 = Heard6,
    far_open4 = Open4,
    far_open6 = Open6,
    far_claim_back4 = ClaimBack4,
    far_claim_back6 = ClaimBack6,
    far_claim_forward4 = ClaimForward4,
    far_claim_forward6 = ClaimForward6,
    far_draw4 = Draw4,
    far_draw6 = Draw6,
    far_write_session4 = WriteSession4,
    far_write_session6 = WriteSession6,
    far_admit = Admit,
    far_direct4 = Direct4,
    far_direct6 = Direct6,
    far_refuse4 = Refuse4,
    far_refuse6 = Refuse6,
    far_icmp4 = Icmp4,
    far_icmp6 = Icmp6,
    far_icmp_find4 = IcmpFind4,
    far_icmp_find6 = IcmpFind6,
    far_icmp_to_client4 = IcmpToClient4,
    far_icmp_to_client6 = IcmpToClient6,
    far_icmp_to_member4 = IcmpToMember4,
    far_icmp_to_member6 = IcmpToMember6,
    far_icmp_by_table4 = IcmpByTable4,
    far_icmp_by_table6 = IcmpByTable6,
    far_later4 = Later4,
    far_later6 = Later6,
    far_remember4 = Remember4,
    far_remember6 = Remember6,
    far_remember_back4 = RememberBack4,
    far_remember_back6 = RememberBack6,
    far_too_big4 = TooBig4,
    far_too_big6 = TooBig6,
    far_wrap4 = Wrap4,
    far_wrap6 = Wrap6,
    far_complete = Complete,
    far_lower_mss = LowerMss,
    far_sctp_ports = SctpPorts,
    far_extensions = Extensions,
    far_arp = Arp,
    far_neighbour = Neighbour,
    far_advert4 = Advert4,
    far_advert6 = Advert6,
    far_dnat_origin4 = DnatOrigin4,
    far_dnat_origin6 = DnatOrigin6,
    far_dnat_back4 = DnatBack4,
    far_dnat_back6 = DnatBack6,
    far_untag = Untag,
    far_tag = Tag,
    far_retag = Retag,
    far_trace = Trace,
    far_trace_begin = TraceBegin,
}
