//! [`Line`]: a value with a cache line to itself.

use core::ops::Deref;

/// A value on 64-byte lines of its own: whoever writes it takes nothing else from other cores' caches. For parts of
/// an object; blocks that belong to a core are 128-byte aligned.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Line<T>(T);

impl<T> Line<T> {
    /// `value`, aligned.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Line<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
