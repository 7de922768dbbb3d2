//! The faults of the soak: what goes wrong, for how long, and how it ends.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use keyval_tests::proxied::Proxied;
use keyval_tests::proxy::{Admit, Flow, Way};

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A member dies, and comes back with its data.
    Kill(usize),
    /// A member stops, and goes on.
    Pause(usize),
    /// The network before a member swallows bytes.
    Lose(usize, Way),
    /// The network before a member holds bytes back, and delivers them late.
    Hold(usize, Way),
    /// The network before a member is slow.
    Slow(usize),
    /// The network before a member delays everything.
    Delay(usize),
    /// All connections through one proxy are reset, and new ones refused.
    Refuse(usize),
    /// Connections to a member are accepted and closed at once.
    Close(usize),
    /// The machine of a member seems to have lost its power.
    Abandon(usize),
    /// All connections are reset in the middle of a frame.
    CutAmidFrames,
    /// Another member becomes the leader.
    MoveLeader(usize),
    /// Nobody reaches the store, it is written to all the same, and the history is compacted.
    LoseHistory,
}

impl Fault {
    /// Any of them, on any of the members.
    pub(crate) fn random(random: &mut Rng, members: usize) -> Self {
        let member = random.usize(..members);
        let way = match random.u8(..3) {
            0 => Way::ToServer,
            1 => Way::ToClient,
            _ => Way::Both,
        };
        match random.u8(..13) {
            0 | 1 => Self::Kill(member),
            2 => Self::Pause(member),
            3 => Self::Lose(member, way),
            4 => Self::Hold(member, way),
            5 => Self::Slow(member),
            6 => Self::Delay(member),
            7 => Self::Refuse(member),
            8 => Self::Close(member),
            9 => Self::Abandon(member),
            10 => Self::CutAmidFrames,
            11 => Self::MoveLeader(member),
            _ => Self::LoseHistory,
        }
    }

    /// Lets it begin. Blocks.
    pub(crate) fn begin(self, rig: &mut Proxied) {
        match self {
            Self::Kill(member) => rig.cluster.kill(member),
            Self::Pause(member) => rig.cluster.pause(member),
            Self::Lose(member, way) => rig.proxies[member].flow(way, Flow::Lose),
            Self::Hold(member, way) => rig.proxies[member].flow(way, Flow::Hold),
            Self::Slow(member) => {
                rig.proxies[member].flow(Way::Both, Flow::Slow { per_second: 4096 });
            }
            Self::Delay(member) => rig.proxies[member].flow(
                Way::Both,
                Flow::Delay {
                    fixed: Duration::from_millis(200),
                    random: Duration::from_millis(200),
                },
            ),
            Self::Refuse(member) => {
                rig.proxies[member].admit(Admit::Refuse);
                rig.proxies[member].cut();
            }
            Self::Close(member) => {
                rig.proxies[member].admit(Admit::Close);
                rig.proxies[member].cut();
            }
            Self::Abandon(member) => rig.proxies[member].abandon(),
            Self::CutAmidFrames => {
                for proxy in &rig.proxies {
                    proxy.flow(Way::Both, Flow::CutAfter { bytes: 700 });
                }
            }
            Self::MoveLeader(member) => {
                if rig.cluster.leader() != member {
                    rig.cluster.move_leader(member);
                }
            }
            Self::LoseHistory => {
                for proxy in &rig.proxies {
                    proxy.admit(Admit::Refuse);
                    proxy.cut();
                }
            }
        }
    }

    /// Ends it. Blocks until a member that was gone serves again.
    pub(crate) fn end(self, rig: &mut Proxied) {
        match self {
            Self::Kill(member) => rig.cluster.restart(member),
            Self::Pause(member) => rig.cluster.resume(member),
            _ => {}
        }
        for proxy in &rig.proxies {
            proxy.heal();
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(member) => write!(f, "member {member} is killed"),
            Self::Pause(member) => write!(f, "member {member} is stopped"),
            Self::Lose(member, way) => write!(f, "bytes of member {member} are lost ({way:?})"),
            Self::Hold(member, way) => write!(f, "bytes of member {member} are held ({way:?})"),
            Self::Slow(member) => write!(f, "the link of member {member} is slow"),
            Self::Delay(member) => write!(f, "the link of member {member} is delayed"),
            Self::Refuse(member) => write!(f, "member {member} is cut off and refuses"),
            Self::Close(member) => write!(f, "member {member} is cut off and closes at once"),
            Self::Abandon(member) => write!(f, "member {member} is gone without a word"),
            Self::CutAmidFrames => write!(f, "all connections are cut amid a frame"),
            Self::MoveLeader(member) => write!(f, "member {member} becomes the leader"),
            Self::LoseHistory => write!(f, "all are cut off and the history is compacted"),
        }
    }
}
