//! The front of ranges that are taken from their front.
//!
//! Deadlines, remembered requests and results that follow their model are read at the front and
//! forgotten there. Asking the store each time would walk past all that was forgotten and not yet
//! cleared away: the changes not kept yet, and whatever a store leaves behind of a removed key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::store::{Octets, Pair};

/// How many ranges have a window, and how much of a range it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowLimits {
    pub(super) windows_max: usize,
    pub(super) keys_max: usize,
}

/// Windows by the bytes of their range's prefix.
pub(super) struct Windows {
    by_prefix: BTreeMap<Vec<u8>, Window>,
    limits: WindowLimits,
    clock: u64,
}

/// All keys of the range up to `until`, and no others.
#[derive(Default)]
struct Window {
    keys: BTreeMap<Octets, Octets>,
    until: Until,
    used: u64,
}

#[derive(Default)]
enum Until {
    /// Nothing is known.
    #[default]
    Nowhere,
    /// Up to and with this key.
    Key(Octets),
    /// The whole range.
    End,
}

/// What a window knows.
pub(super) enum Seen {
    /// The next key, or that there is none.
    Next(Option<Pair>),
    /// Nothing before this key; what follows it is unknown. `None`: nothing at all is known.
    Continue(Option<Octets>),
    /// Nothing about this place.
    Unknown,
}

impl Windows {
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            by_prefix: BTreeMap::new(),
            limits,
            clock: 0,
        }
    }

    /// The first key of a range after another, as far as its window shows.
    pub(super) fn next(&mut self, within: &[u8], after: Option<&[u8]>) -> Seen {
        self.clock += 1;
        let clock = self.clock;
        let Some(window) = self.by_prefix.get_mut(within) else {
            return match after {
                None => Seen::Continue(None),
                Some(_) => Seen::Unknown,
            };
        };
        window.used = clock;
        let from = super::start(within, after);
        let mut keys = window
            .keys
            .range::<[u8], _>((from, std::ops::Bound::Unbounded));
        if let Some((key, record)) = keys.next() {
            return Seen::Next(Some((Arc::clone(key), Arc::clone(record))));
        }
        match &window.until {
            Until::End => Seen::Next(None),
            Until::Nowhere if after.is_none() => Seen::Continue(None),
            Until::Key(until) if after.is_none_or(|after| after <= &until[..]) => {
                if window.keys.len() < self.limits.keys_max {
                    Seen::Continue(Some(Arc::clone(until)))
                } else {
                    Seen::Unknown
                }
            }
            Until::Nowhere | Until::Key(_) => Seen::Unknown,
        }
    }

    /// Takes in the keys that follow where [`Seen::Continue`] said; `whole`: and no more follow.
    ///
    /// Another reader may have moved the window since: then they are not the next ones.
    pub(super) fn extend(
        &mut self,
        within: &[u8],
        from: Option<&[u8]>,
        found: &[Pair],
        whole: bool,
    ) {
        self.make_room(within);
        let window = self.by_prefix.entry(within.to_owned()).or_default();
        let at = match &window.until {
            Until::Nowhere => None,
            Until::Key(until) => Some(&until[..]),
            Until::End => return,
        };
        if at != from {
            return;
        }
        window.used = self.clock;
        window.keys.extend(found.iter().cloned());
        if whole {
            window.until = Until::End;
        } else if let Some((last, _)) = found.last() {
            window.until = Until::Key(Arc::clone(last));
        }
    }

    /// Takes in what becomes of a key.
    pub(super) fn change(&mut self, key: &Octets, record: Option<&Octets>) {
        let keys_max = self.limits.keys_max;
        for (within, window) in &mut self.by_prefix {
            if key.starts_with(within) && window.covers(key) {
                match record {
                    Some(record) => window.put(key, record, keys_max),
                    None => drop(window.keys.remove(key)),
                }
            }
        }
    }

    /// Gives up the window that was asked for longest ago.
    fn make_room(&mut self, within: &[u8]) {
        if self.by_prefix.len() < self.limits.windows_max || self.by_prefix.contains_key(within) {
            return;
        }
        let oldest = self.by_prefix.iter().min_by_key(|(_, window)| window.used);
        if let Some(oldest) = oldest.map(|(within, _)| within.clone()) {
            self.by_prefix.remove(&oldest);
        }
    }
}

impl Window {
    fn covers(&self, key: &[u8]) -> bool {
        match &self.until {
            Until::Nowhere => false,
            Until::Key(until) => key <= &until[..],
            Until::End => true,
        }
    }

    /// A window that grows beyond its limit shows less of the range.
    fn put(&mut self, key: &Octets, record: &Octets, keys_max: usize) {
        self.keys.insert(Arc::clone(key), Arc::clone(record));
        if self.keys.len() > keys_max {
            self.keys.pop_last();
            let last = self.keys.last_key_value();
            self.until = last.map_or(Until::Nowhere, |(key, _)| Until::Key(Arc::clone(key)));
        }
    }
}
