//! Atomics and cells whose every access a checker sees.
//!
//! They are as large as the real ones, and all zeroes is a value. The value lies in its place; what loom keeps of it lies
//! in a twin that is found by address ([`crate::twins`]). shuttle may switch before each access, and that is all.

use core::sync::atomic::{self as real, Ordering};

#[cfg(loom)]
use crate::twins::{self, Twin};

/// A fence.
pub fn fence(order: Ordering) {
    #[cfg(loom)]
    if crate::explore::is_active() {
        loom::sync::atomic::fence(order);
    }
    #[cfg(not(loom))]
    real::fence(order);
}

/// A fence for the compiler only.
pub fn compiler_fence(_: Ordering) {}

/// What an exchange of this order is that writes nothing.
#[cfg(loom)]
fn failing(order: Ordering) -> Ordering {
    match order {
        Ordering::Relaxed | Ordering::Release => Ordering::Relaxed,
        _ => Ordering::Acquire,
    }
}

/// Makes `$call` on `$atomic`: the real one, after a switch.
#[cfg(not(loom))]
macro_rules! access {
    ($self:ident, $order:expr, |$atomic:ident| $call:expr, |$result:ident| $value:expr) => {{
        crate::explore::point();
        let $atomic = &$self.0;
        $call
    }};
}

/// Makes `$call` on `$atomic`: the twin of `$self`. `$value` is what there is afterwards, if that is new.
#[cfg(loom)]
macro_rules! access {
    ($self:ident, $order:expr, |$atomic:ident| $call:expr, |$result:ident| $value:expr) => {{
        if crate::explore::is_active() {
            let twin = twins::of($self);
            if $order == Ordering::SeqCst {
                // loom knows sequential consistency of fences only: one before every such access orders them all.
                loom::sync::atomic::fence(Ordering::SeqCst);
            }
            let $atomic = twin.atomic();
            let $result = $call;
            if let Some(value) = $value {
                $self.0.store(value, Ordering::Relaxed);
                twin.set(value);
            }
            $result
        } else {
            let $atomic = &$self.0;
            $call
        }
    }};
}

macro_rules! atomic {
    ($name:ident $(<$generic:ident>)?, $word:ty, $zero:expr, $lock:expr) => {
        /// As `core`'s.
        #[repr(transparent)]
        pub struct $name $(<$generic>)? (real::$name $(<$generic>)?);

        #[allow(missing_docs, reason = "as core's")]
        impl $(<$generic: 'static>)? $name $(<$generic>)? {
            #[must_use]
            pub const fn new(value: $word) -> Self {
                Self(real::$name::new(value))
            }
            pub fn load(&self, order: Ordering) -> $word {
                access!(self, order, |atomic| atomic.load(order), |result| None)
            }
            pub fn store(&self, value: $word, order: Ordering) {
                access!(self, order, |atomic| atomic.store(value, order), |result| Some(value));
            }
            pub fn swap(&self, value: $word, order: Ordering) -> $word {
                // Whoever finds a lock taken takes it "again". loom does not order that before the owner's release, and then
                // reports races: there, what is as it shall be is not written.
                #[cfg(loom)]
                if let Some((from, to)) = Option::<($word, $word)>::from($lock)
                    && value == to
                {
                    match self.compare_exchange(from, to, order, failing(order)) {
                        Ok(before) => return before,
                        Err(before) if before == to => return before,
                        Err(_) => {}
                    }
                }
                access!(self, order, |atomic| atomic.swap(value, order), |result| Some(value))
            }
            pub fn compare_exchange(
                &self,
                from: $word,
                to: $word,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                access!(
                    self,
                    order,
                    |atomic| atomic.compare_exchange(from, to, order, failure),
                    |result| result.is_ok().then_some(to)
                )
            }
            pub fn compare_exchange_weak(
                &self,
                from: $word,
                to: $word,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                self.compare_exchange(from, to, order, failure)
            }
            pub fn get_mut(&mut self) -> &mut $word {
                #[cfg(loom)]
                twins::forget(self);
                self.0.get_mut()
            }
        }

        impl $(<$generic>)? core::fmt::Debug for $name $(<$generic>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $(<$generic>)? Default for $name $(<$generic>)? {
            fn default() -> Self {
                Self(real::$name::default())
            }
        }

        #[cfg(loom)]
        impl $(<$generic: 'static>)? Twin for $name $(<$generic>)? {
            type Atomic = loom::sync::atomic::$name $(<$generic>)?;
            type Word = $word;
            const ZERO: $word = $zero;
            fn word(&self) -> $word {
                self.0.load(Ordering::Relaxed)
            }
            fn twin(word: $word) -> Self::Atomic {
                loom::sync::atomic::$name::new(word)
            }
        }

        #[cfg(loom)]
        impl $(<$generic>)? Drop for $name $(<$generic>)? {
            fn drop(&mut self) {
                twins::forget(self);
            }
        }
    };
}

atomic!(AtomicBool, bool, false, Some((false, true)));
atomic!(AtomicU8, u8, 0, Some((0, 1)));
atomic!(AtomicU16, u16, 0, Some((0, 1)));
atomic!(AtomicU32, u32, 0, Some((0, 1)));
atomic!(AtomicU64, u64, 0, None);
atomic!(AtomicPtr<T>, *mut T, core::ptr::null_mut(), None);

macro_rules! arithmetic {
    ($name:ident, $word:ty: $($fetch:ident $apply:expr),*) => {
        #[allow(missing_docs, reason = "as core's")]
        impl $name {
            $(pub fn $fetch(&self, value: $word, order: Ordering) -> $word {
                let apply: fn($word, $word) -> $word = $apply;
                let _ = apply;
                access!(self, order, |atomic| atomic.$fetch(value, order), |result| Some(apply(result, value)))
            })*
            pub fn fetch_update(
                &self,
                order: Ordering,
                failure: Ordering,
                mut to: impl FnMut($word) -> Option<$word>,
            ) -> Result<$word, $word> {
                let mut now = self.load(failure);
                while let Some(next) = to(now) {
                    match self.compare_exchange_weak(now, next, order, failure) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }
        }
    };
}

arithmetic!(AtomicU8, u8: fetch_or |a, b| a | b);
arithmetic!(AtomicU32, u32: fetch_add u32::wrapping_add, fetch_sub u32::wrapping_sub, fetch_or |a, b| a | b, fetch_and |a, b| a & b, fetch_max u32::max);
arithmetic!(AtomicU64, u64: fetch_add u64::wrapping_add, fetch_sub u64::wrapping_sub, fetch_or |a, b| a | b, fetch_and |a, b| a & b, fetch_max u64::max);

/// As `core`'s. The checker looks for accesses at once of which one may write.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// As `core`'s.
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }
    /// Where the value is, for writing.
    pub fn get(&self) -> *mut T {
        #[cfg(loom)]
        twins::cell(self.0.get().addr(), twins::Access::Write);
        #[cfg(not(loom))]
        crate::explore::point();
        self.0.get()
    }
    /// Where the value is, for reading.
    pub fn read_ptr(&self) -> *const T {
        #[cfg(loom)]
        twins::cell(self.0.get().addr(), twins::Access::Read);
        #[cfg(not(loom))]
        crate::explore::point();
        self.0.get()
    }
}

#[cfg(loom)]
impl<T> Drop for UnsafeCell<T> {
    fn drop(&mut self) {
        twins::forget_cell(self.0.get().addr());
    }
}
