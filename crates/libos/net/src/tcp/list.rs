//! Connections of one listener, oldest first; each is in one list at most.

/// No connection.
pub(super) const NONE: u32 = u32::MAX;

/// The neighbours of one in its list.
#[derive(Clone, Copy)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) previous: u32,
}

/// Where connections keep their links.
pub(super) trait Linked {
    fn links(&mut self, index: u32) -> Option<&mut Links>;
}

pub(super) struct List {
    pub(super) first: u32,
    last: u32,
    pub(super) len: usize,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }

    pub(super) fn push(&mut self, all: &mut impl Linked, index: u32) {
        let last = core::mem::replace(&mut self.last, index);
        match all.links(last) {
            Some(links) => links.next = index,
            None => self.first = index,
        }
        if let Some(links) = all.links(index) {
            *links = Links { next: NONE, previous: last };
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, all: &mut impl Linked, index: u32) {
        let Some(&mut Links { next, previous }) = all.links(index) else { return };
        match all.links(previous) {
            Some(links) => links.next = next,
            None => self.first = next,
        }
        match all.links(next) {
            Some(links) => links.previous = previous,
            None => self.last = previous,
        }
        self.len -= 1;
    }
}
