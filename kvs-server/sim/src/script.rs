//! What the ranks of a group do: programs of PMI calls, drawn from a seed.

use crate::checker::{Key, Micros};
use crate::dice::Dice;
use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};
use pmi_protocol::record::space_number;

/// One step of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Computes for a while.
    Think(Micros),
    /// `PMI_KVS_Put`.
    Put(Key, Vec<u8>),
    /// `PMI_KVS_Create`, which makes this space.
    Create(u64),
    /// `PMI_KVS_Destroy`.
    Destroy(u64),
    /// `PMI_KVS_Commit`.
    Commit,
    /// `PMI_Barrier`.
    Barrier,
    /// `PMI_Abort` with a code.
    Abort(i32),
    /// `PMI_Finalize`.
    Finalize,
}

/// The steps of one rank.
pub type Script = Vec<Op>;

/// What the ranks of a group have to do.
#[derive(Clone, Debug)]
pub struct Work {
    /// Number of ranks.
    pub size: u32,
    /// Number of barriers.
    pub barriers: u32,
    /// Most puts of a rank before a barrier.
    pub puts: u64,
    /// Longest value.
    pub value: usize,
    /// Does one rank finalize one barrier too early?
    pub early_leaver: bool,
    /// Does a rank abort?
    pub abort: bool,
    /// Longest time between two calls.
    pub pause: Micros,
}

/// A created space: nobody else may touch it before everybody can know it, or when it is being destroyed.
struct Space {
    number: u64,
    owner: u32,
    created: u32,
    destroyed: Option<u32>,
}

/// Draws a program for every rank.
pub fn draw(dice: &mut Dice, work: &Work) -> Vec<Script> {
    let spaces = draw_spaces(dice, work);
    let mut scripts: Vec<Script> =
        (0..work.size).map(|rank| draw_one(dice, work, &spaces, rank)).collect();
    let victim = dice.index(scripts.len());
    if work.early_leaver {
        leave_early(&mut scripts[victim]);
    }
    let aborter = dice.index(scripts.len());
    let (code, at) = (dice.between(1, 250) as i32, dice.draw());
    if work.abort {
        let script = &mut scripts[aborter];
        script.truncate((at % script.len() as u64) as usize);
        script.push(Op::Abort(code));
    }
    scripts
}

fn draw_spaces(dice: &mut Dice, work: &Work) -> Vec<Space> {
    let count = if work.barriers > 0 { dice.below(3) as u32 } else { 0 };
    let one = |serial| {
        let owner = dice.below(u64::from(work.size)) as u32;
        let created = dice.between(1, u64::from(work.barriers)) as u32;
        let destroyed = created + dice.between(1, 3) as u32;
        Space {
            number: space_number(owner, serial),
            owner,
            created,
            destroyed: (destroyed <= work.barriers && dice.chance(600)).then_some(destroyed),
        }
    };
    (0..count).map(one).collect()
}

fn draw_one(dice: &mut Dice, work: &Work, spaces: &[Space], rank: u32) -> Script {
    let mut script = Vec::new();
    for barrier in 1..=work.barriers {
        pause(dice, work, &mut script);
        draw_changes(dice, work, spaces, rank, barrier, &mut script);
        script.push(Op::Commit);
        if dice.chance(50) {
            script.push(draw_put(dice, work, 0, rank, barrier));
        }
        script.push(Op::Barrier);
    }
    pause(dice, work, &mut script);
    script.push(Op::Finalize);
    script
}

fn pause(dice: &mut Dice, work: &Work, script: &mut Script) {
    // One in a hundred is so long that the others' wait is reported as a stall.
    let long = if dice.chance(10) { 15_000_000 } else { 0 };
    script.push(Op::Think(long + dice.below(work.pause + 1)));
}

fn draw_changes(
    dice: &mut Dice,
    work: &Work,
    spaces: &[Space],
    rank: u32,
    barrier: u32,
    script: &mut Script,
) {
    for space in spaces.iter().filter(|space| space.owner == rank) {
        if space.created == barrier {
            script.push(Op::Create(space.number));
        } else if space.destroyed == Some(barrier) {
            script.push(Op::Destroy(space.number));
        }
    }
    let usable = |space: &&Space| {
        let known = space.created < barrier || (space.created == barrier && space.owner == rank);
        known && space.destroyed.is_none_or(|destroyed| barrier < destroyed)
    };
    let mut usable: Vec<u64> = spaces.iter().filter(usable).map(|space| space.number).collect();
    usable.push(0);
    for _ in 0..dice.between(0, work.puts) {
        let space = usable[dice.index(usable.len())];
        script.push(draw_put(dice, work, space, rank, barrier));
        if dice.chance(100) {
            script.push(Op::Commit);
        }
    }
}

fn draw_put(dice: &mut Dice, work: &Work, space: u64, rank: u32, barrier: u32) -> Op {
    let number = dice.below(64);
    let mut key = match dice.below(10) {
        0 => format!("shared{}", number % 4),
        1..=3 => format!("r{rank}-{}", number % 4),
        _ => format!("r{rank}-{barrier}-{number}"),
    }
    .into_bytes();
    if dice.chance(10) {
        key.resize(KEY_MAX, b'.');
    }
    let len = if dice.chance(20) { VALUE_MAX as u64 } else { dice.between(0, work.value as u64) };
    let least = if work.value == VALUE_MAX { VALUE_MAX as u64 / 2 } else { 0 };
    Op::Put((space, key), dice.text(len.max(least) as usize))
}

fn leave_early(script: &mut Script) {
    if let Some(last) = script.iter().rposition(|op| *op == Op::Barrier) {
        script.truncate(last);
        script.push(Op::Finalize);
    }
}
