//! Every limit of the protocol, with its reason, and the relations between them.

/// Longest kvsname in bytes, without the terminating NUL (Slurm's `pmi.h`: `PMI_KVS_Get_name_length_max`).
pub const KVSNAME_MAX: usize = 256;

/// Longest job name in bytes: a kvsname less the room for `.<rank>.<serial>` of a created space.
pub const JOB_NAME_MAX: usize = KVSNAME_MAX - 2 * (1 + 10);

/// Longest key in bytes, without the terminating NUL (Slurm's libpmi announces 256).
pub const KEY_MAX: usize = 256;

/// Longest value in bytes, without the terminating NUL (Slurm's libpmi announces 1,024).
pub const VALUE_MAX: usize = 1024;

/// Largest process group. Beyond it the arrival set (one bit a rank) stops being small.
pub const SIZE_MAX: u32 = 1 << 24;

/// Bytes of a datagram before its body.
pub const HEADER_LEN: usize = 64;

/// Largest body off the host: with IPv6 and UDP headers (48) and ours (64) it stays below the 1,280 bytes
/// that every IPv6 path carries (RFC 8200, section 5).
pub const PATH_BODY_MAX: usize = 1136;

/// Largest body on loopback, whose MTU is 65,536: one datagram of this size costs about as much as three
/// of `PATH_BODY_MAX`, most of it system call and wake-up.
pub const LOOPBACK_BODY_MAX: usize = 32 * 1024;

/// Largest datagram anybody sends, and the size of every receive buffer.
pub const DATAGRAM_MAX: usize = HEADER_LEN + LOOPBACK_BODY_MAX;

/// Most rank ranges in one datagram; a node with more scattered arrivals sends several datagrams.
pub const RANGES_MAX: usize = 128;

/// Bytes of one rank range.
pub const RANGE_LEN: usize = 8;

/// Up to this size the bytes of an epoch are pushed with its release; beyond it nodes pull at their own pace.
pub const PUSH_MAX: u64 = 128 * 1024;

/// Most bytes pushed to all nodes together at one release: what a socket buffer may be expected to swallow.
pub const PUSH_TOTAL_MAX: u64 = 4 * 1024 * 1024;

/// Bytes a node has under way at once, in either direction, at first. Halved by each timeout.
pub const WINDOW_MAX: u64 = 64 * 1024;

/// The window never shrinks below this.
pub const WINDOW_MIN: u64 = 4 * 1024;

/// First retransmission, in microseconds: far above a round trip on a loaded cluster network, far below what
/// a person notices.
pub const RETRANSMIT_FIRST_US: u64 = 20_000;

/// What each further node adds to the first retransmission, in microseconds: all nodes speak at once, and the
/// server takes about so long for one. Without it, nodes in their thousands ask again while still in its queue.
pub const CROWD_US: u64 = 5;

/// The same while nodes pull: the server's time for the window of one node.
pub const CROWD_PULL_US: u64 = 150;

/// Slowest retransmission, in microseconds: also the longest time that a lost release can cost.
pub const RETRANSMIT_MAX_US: u64 = 1_000_000;

/// A node gives up when its server has not said a word for so long, in microseconds. A crashed server is
/// restarted within a second; a cable that is pulled for half a minute is survived.
pub const SILENCE_MAX_US: u64 = 60_000_000;

/// After so long a barrier is reported as stalled, with the ranks that are missing, in microseconds.
pub const STALL_US: u64 = 10_000_000;

/// The kernel of one end of a lifeline asks the other after so many seconds of silence on it. A thousand nodes make
/// five hundred small packets a second of that.
pub const LIFELINE_IDLE_S: u32 = 2;

/// Seconds between two such questions that go unanswered.
pub const LIFELINE_INTERVAL_S: u32 = 1;

/// Unanswered questions after which the other end's host is lost: a switch that stumbles loses fewer in a row.
pub const LIFELINE_PROBES: u32 = 5;

/// Longest time from a host's last sign of life until its lifeline breaks, in microseconds.
pub const LIFELINE_BREAK_US: u64 =
    (LIFELINE_IDLE_S + LIFELINE_PROBES * LIFELINE_INTERVAL_S) as u64 * 1_000_000;

/// A barrier ends with an error when it has waited so long for a node that is lost, in microseconds: nodes that stand
/// in it are heard of at least once in that time.
pub const LOST_GRACE_US: u64 = 2_000_000;

/// A node that has no lifeline opens no more than one in this time, in microseconds: a firewall may be in the way.
pub const LIFELINE_RENEW_US: u64 = 5_000_000;

/// Most connections to the server that no node has claimed. More are closed at once: whoever made them.
pub const UNCLAIMED_MAX: usize = 256;

/// How long a connection may stay unclaimed, in microseconds: a few retransmissions of the datagram that claims it.
pub const UNCLAIMED_US: u64 = 5_000_000;

/// After so much silence of the server a node tries whether its host is there, in microseconds: a server that lives
/// answers each retransmission.
pub const SERVER_DOUBT_US: u64 = 3_000_000;

/// After so much silence of a server whose host does not answer either, a node gives up, in microseconds.
pub const SERVER_LOST_US: u64 = 12_000_000;

/// Longest text of a fault or an abort message.
pub const TEXT_MAX: usize = 512;

/// Longest host name (`HOST_NAME_MAX` is 64 on Linux; a FQDN has at most 253 characters).
pub const HOST_MAX: usize = 255;

/// Bytes of a record before its key.
pub const RECORD_HEADER_LEN: usize = 16;

/// Largest record of an up-log.
pub const RECORD_MAX: usize = RECORD_HEADER_LEN + KEY_MAX + VALUE_MAX;

/// Default ceiling of a log: a million ranks with 256 bytes each.
pub const LOG_CEILING_DEFAULT: u64 = 256 * 1024 * 1024;

/// Largest ceiling of a log: the board's index keeps offsets in 32 bits.
pub const LOG_CEILING_MAX: u64 = (1 << 32) - (1 << 20);

/// Smallest ceiling that can be asked for: below it not even the server's own records fit.
pub const LOG_CEILING_MIN: u64 = 4 * 1024;

const _: () = {
    assert!(JOB_NAME_MAX >= 128, "job names of schedulers fit");
    assert!(PATH_BODY_MAX >= RANGES_MAX * RANGE_LEN, "all ranges fit a path-safe datagram");
    assert!(PATH_BODY_MAX as u64 <= PUSH_MAX, "what one datagram carries is pushed");
    assert!(PATH_BODY_MAX >= TEXT_MAX + HOST_MAX, "texts fit a path-safe datagram");
    assert!(LOOPBACK_BODY_MAX + HEADER_LEN + 48 <= 65_535, "a UDP datagram carries it");
    assert!(WINDOW_MIN as usize >= PATH_BODY_MAX, "the smallest window carries a datagram");
    assert!(WINDOW_MAX >= LOOPBACK_BODY_MAX as u64, "the first window carries a loopback datagram");
    assert!(PUSH_MAX <= PUSH_TOTAL_MAX, "one node is always pushed to");
    assert!(RETRANSMIT_FIRST_US < RETRANSMIT_MAX_US);
    assert!(RETRANSMIT_MAX_US < STALL_US && STALL_US < SILENCE_MAX_US);
    assert!(RETRANSMIT_MAX_US * 5 / 4 < LOST_GRACE_US, "whoever stands in a barrier is heard of");
    assert!(LIFELINE_BREAK_US + LOST_GRACE_US < STALL_US, "a crash is told of before a stall");
    assert!(RETRANSMIT_MAX_US * 5 / 4 < UNCLAIMED_US && UNCLAIMED_US < LIFELINE_BREAK_US);
    assert!(RETRANSMIT_MAX_US * 5 / 4 < SERVER_DOUBT_US, "a server that lives is not doubted");
    assert!(
        SERVER_DOUBT_US + LIFELINE_BREAK_US < SERVER_LOST_US && SERVER_LOST_US < SILENCE_MAX_US
    );
    assert!(LOG_CEILING_DEFAULT <= LOG_CEILING_MAX && LOG_CEILING_MAX < u32::MAX as u64);
    assert!(KEY_MAX <= u16::MAX as usize && VALUE_MAX <= u32::MAX as usize);
};
