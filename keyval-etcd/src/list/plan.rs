//! In which ranges a long list is read, several at a time: guesses, corrected by every answer.

use std::collections::VecDeque;

use keyval::{Key, KeyRange, Order};

use crate::list::scale::{Alphabets, common_length};

/// How many ranges may be asked for or wait ahead of the one that is asked for next.
const AHEAD: usize = 4;
/// How many may be asked for or wait in all, which are more where a guess was too wide.
const ALL: usize = 6;
/// How many keys of a page the scale is learned from.
const SAMPLE: usize = 64;

/// What of a list is asked for, has arrived, or is still to be read, in the order of the list.
///
/// The ranges lie side by side and cover the whole list, so every key is read exactly once; how
/// well the bounds are guessed only decides how fast. A range is guessed to hold most of a page:
/// from how densely the keys lie that were read, and from how many are left up to the end.
#[derive(Debug)]
pub(crate) struct Plan {
    order: Order,
    parts: VecDeque<Part>,
    alphabets: Alphabets,
    ids: u64,
}

/// A range of a list.
#[derive(Debug)]
enum Part {
    /// Asked for.
    Asked {
        id: u64,
        range: KeyRange,
        /// The rest from which it was cut off.
        of: Option<u64>,
    },
    /// Arrived, and not yet read.
    Arrived {
        id: u64,
    },
    Rest(Rest),
}

/// A range that is not asked for yet.
#[derive(Debug)]
struct Rest {
    id: u64,
    range: KeyRange,
    /// Where the stretch begins that was read or asked for before it.
    start: Key,
    /// How many keys were read of that stretch.
    seen: u64,
    /// How many keys there are, including the unanswered parts of the stretch.
    left: u64,
}

/// A range to be asked for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) range: KeyRange,
}

/// What comes next in the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// What has arrived as the answer to this.
    Arrived(u64),
    /// Something that has been or is to be asked for.
    Waiting,
    /// Nothing.
    End,
}

impl Plan {
    /// A plan for a range of which the first page, number 0, has been asked for.
    pub(crate) fn new(range: KeyRange, order: Order) -> Self {
        let first = Part::Asked {
            id: 0,
            range,
            of: None,
        };
        Self {
            order,
            parts: [first].into(),
            alphabets: Alphabets::default(),
            ids: 0,
        }
    }

    /// What to ask for next, in pages of so many keys; `None` if enough is under way.
    pub(crate) fn next(&mut self, page: usize) -> Option<Ask> {
        self.join_what_is_empty();
        let rest = |part: &Part| matches!(part, Part::Rest(_));
        let at = self.parts.iter().position(rest)?;
        let all = self.parts.iter().filter(|part| !rest(part)).count();
        // Whatever waits behind it, what comes next is asked for.
        if at > 0 && (at >= AHEAD || all >= ALL) {
            return None;
        }
        let Part::Rest(rest) = self.parts.remove(at)? else {
            return None;
        };
        let unanswered = self.unanswered(rest.id);
        let bound = rest.guess(&self.alphabets, self.order, page, unanswered);
        let id = self.new_id();
        let (range, of) = match bound {
            None => (rest.range, None),
            Some(bound) => {
                let (range, behind) = cut(&rest.range, bound, self.order);
                let of = Some(rest.id);
                let rest = Rest {
                    range: behind,
                    ..rest
                };
                self.parts.insert(at, Part::Rest(rest));
                (range, of)
            }
        };
        let ask = Ask {
            id,
            range: range.clone(),
        };
        self.parts.insert(at, Part::Asked { id, range, of });
        Some(ask)
    }

    /// Notes an answer: the keys of a page in the order of the list, and how many there are in the
    /// range that was asked for. If that is more, what is behind the last is still to be read.
    pub(crate) fn arrived<'a>(
        &mut self,
        id: u64,
        keys: impl ExactSizeIterator<Item = &'a Key> + DoubleEndedIterator + Clone,
        count: u64,
        more: bool,
    ) {
        let asked = |part: &Part| matches!(part, Part::Asked { id: asked, .. } if *asked == id);
        let Some(at) = self.parts.iter().position(asked) else {
            return;
        };
        let arrived = std::mem::replace(&mut self.parts[at], Part::Arrived { id });
        let Part::Asked { range, of, .. } = arrived else {
            return;
        };
        let read = keys.len() as u64;
        for part in &mut self.parts {
            if let Part::Rest(rest) = part
                && Some(rest.id) == of
            {
                rest.left = rest.left.saturating_sub(count);
                rest.seen += count;
            }
        }
        let every = keys.len().div_ceil(SAMPLE).max(1);
        for key in keys.clone().step_by(every).chain(keys.clone().next_back()) {
            self.alphabets.learn(key);
        }
        let (mut keys, order) = (keys, self.order);
        if let (true, Some(first)) = (more, keys.next()) {
            let last = keys.next_back().unwrap_or(first);
            let bound = match order {
                Order::Ascending => last.successor(),
                Order::Descending => last.clone(),
            };
            let (_, range) = cut(&range, bound, order);
            let rest = Rest {
                id: self.new_id(),
                range,
                // A copy: the key may share the memory of a whole page.
                start: Key::from(first.as_bytes()),
                seen: read,
                left: count.saturating_sub(read).max(1),
            };
            if !rest.range.is_empty() {
                self.parts.insert(at + 1, Part::Rest(rest));
            }
        }
    }

    /// Plans a range anew of which no answer came: nothing is known of what it holds.
    pub(crate) fn put_back(&mut self, id: u64) {
        let rest = self.new_id();
        for part in &mut self.parts {
            if let Part::Asked {
                id: asked, range, ..
            } = part
                && *asked == id
            {
                let start = match self.order {
                    Order::Ascending => range.start(),
                    Order::Descending => range.end().unwrap_or(range.start()),
                };
                *part = Part::Rest(Rest {
                    id: rest,
                    start: start.clone(),
                    range: range.clone(),
                    seen: 0,
                    left: 1,
                });
                return;
            }
        }
    }

    /// What comes next in the list.
    pub(crate) fn front(&self) -> Front {
        match self.parts.front() {
            Some(Part::Arrived { id }) => Front::Arrived(*id),
            Some(_) => Front::Waiting,
            None => Front::End,
        }
    }

    /// Takes what has arrived and comes next out of the plan, to be read.
    pub(crate) fn take(&mut self) {
        if let Front::Arrived(_) = self.front() {
            self.parts.pop_front();
        }
    }

    /// Plans nothing more.
    pub(crate) fn end(&mut self) {
        self.parts.clear();
    }

    /// How many parts are asked for and not answered.
    pub(crate) fn asked(&self) -> usize {
        let asked = |part: &&Part| matches!(part, Part::Asked { .. });
        self.parts.iter().filter(asked).count()
    }

    /// How many parts that were cut off this rest are not answered.
    fn unanswered(&self, rest: u64) -> usize {
        let own = |part: &&Part| matches!(part, Part::Asked { of, .. } if *of == Some(rest));
        self.parts.iter().filter(own).count()
    }

    /// Joins a rest that is known to hold no key to the one behind it, to ask for both at once.
    fn join_what_is_empty(&mut self) {
        let mut at = 0;
        while at + 1 < self.parts.len() {
            let (Part::Rest(rest), Part::Rest(behind)) = (&self.parts[at], &self.parts[at + 1])
            else {
                at += 1;
                continue;
            };
            if rest.left > 0 {
                at += 1;
                continue;
            }
            let range = match self.order {
                Order::Ascending => with_start(&behind.range, rest.range.start()),
                Order::Descending => with_end(&behind.range, rest.range.end()),
            };
            self.parts.remove(at);
            if let Some(Part::Rest(joined)) = self.parts.get_mut(at) {
                joined.range = range;
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

impl Rest {
    /// Where a part of most of a page may end; `None` if the rest is no larger, or nothing can be
    /// guessed.
    fn guess(
        &self,
        alphabets: &Alphabets,
        order: Order,
        page: usize,
        unanswered: usize,
    ) -> Option<Key> {
        // Less than a page, so that a range which holds some more than others is still one page.
        let target = (page as f64 * 0.9).max(1.0);
        let expected = target * unanswered as f64;
        let left = self.left as f64 - expected;
        if left <= page as f64 {
            return None;
        }
        let (near, far) = match order {
            Order::Ascending => (self.range.start(), self.range.end()),
            Order::Descending => (self.range.end()?, Some(self.range.start())),
        };
        let common = far.map_or(0, |far| common_length(near.as_bytes(), far.as_bytes()));
        let scale = alphabets.scale(near, &self.start, common);
        let (from, start) = (scale.number(near), scale.number(&self.start));
        let to = far.map_or(scale.size(), |far| scale.number(far));
        let seen = from.abs_diff(start).max(1) as f64 / (self.seen as f64 + expected).max(1.0);
        let ahead = to.abs_diff(from) as f64 / left;
        // Where the two differ, the keys ahead lie either as the last ones do or evenly up to the
        // end, or somewhere in between: ask for ranges from the one size to the other.
        let (narrow, wide) = (seen.min(ahead), seen.max(ahead));
        let share = unanswered.min(AHEAD - 1) as f64 / (AHEAD - 1) as f64;
        let step = (narrow * (wide / narrow.max(f64::MIN_POSITIVE)).powf(share) * target) as u128;
        let bound = match order {
            Order::Ascending => from.checked_add(step.max(1)).filter(|bound| *bound < to),
            Order::Descending => from.checked_sub(step.max(1)).filter(|bound| *bound > to),
        };
        let bound = scale.key(bound?);
        let inside = bound > *self.range.start() && self.range.contains(&bound);
        inside.then_some(bound)
    }
}

/// Cuts a range in two: what comes first in this order, and what is behind it.
fn cut(range: &KeyRange, bound: Key, order: Order) -> (KeyRange, KeyRange) {
    let (low, high) = (range.ending_at(bound.clone()), range.starting_at(bound));
    match order {
        Order::Ascending => (low, high),
        Order::Descending => (high, low),
    }
}

fn with_start(range: &KeyRange, start: &Key) -> KeyRange {
    match range.end() {
        Some(end) => KeyRange::span(start, end),
        None => KeyRange::all().starting_at(start.clone()),
    }
}

fn with_end(range: &KeyRange, end: Option<&Key>) -> KeyRange {
    match end {
        Some(end) => KeyRange::span(range.start(), end),
        None => KeyRange::all().starting_at(range.start().clone()),
    }
}
